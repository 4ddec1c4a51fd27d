-- wrk.lua BODY TYPE - posts the file BODY over and over under that Content-Type; collects the stages
-- that Server-Timing tells. Prints one JSON object, which load.py reads.

local threads = {}

function setup(thread)
    table.insert(threads, thread)
end

function init(args)
    local file = assert(io.open(args[1], "rb"))
    wrk.method = "POST"
    wrk.body = file:read("*a")
    wrk.headers["Content-Type"] = args[2]
    file:close()
    stages, answers, failures = {}, 0, 0
end

function response(status, headers, body)
    if status ~= 200 then
        failures = failures + 1
        return
    end
    answers = answers + 1
    local timing = headers["Server-Timing"]
    if timing then
        local sum = 0
        for name, ms in timing:gmatch("(%w+);dur=([%d.]+)") do
            if name == "decode" or name == "preprocess" or name == "infer" then
                sum = sum + tonumber(ms)
            end
        end
        stages[#stages + 1] = sum
    end
end

function done(summary, latency, requests)
    local all, count, bad = {}, 0, 0
    for _, thread in ipairs(threads) do
        for _, sum in ipairs(thread:get("stages")) do
            all[#all + 1] = sum
        end
        count = count + thread:get("answers")
        bad = bad + thread:get("failures")
    end
    table.sort(all)
    local errors = summary.errors
    io.write(string.format(
        '{"answers":%d,"failures":%d,"seconds":%.4f,"p50_ms":%.3f,"p99_ms":%.3f,"stages_p50_ms":%.3f}\n',
        count, bad + errors.connect + errors.read + errors.write + errors.timeout,
        summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
        #all > 0 and all[math.floor(#all / 2) + 1] or 0))
end
