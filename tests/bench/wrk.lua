-- wrk.lua PHOTO - posts one photo over and over; sums up the stages that Server-Timing tells.
-- Prints one JSON object: what server.py reads.

local threads = {}

function setup(thread)
    table.insert(threads, thread)
end

function init(args)
    local file = assert(io.open(args[1], "rb"))
    wrk.method = "POST"
    wrk.body = file:read("*a")
    wrk.headers["Content-Type"] = "image/jpeg"
    file:close()
    stages, answers, failures = 0, 0, 0
end

function response(status, headers, body)
    if status ~= 200 then
        failures = failures + 1
        return
    end
    local timing = headers["Server-Timing"] or ""
    for name, ms in timing:gmatch("(%w+);dur=([%d.]+)") do
        if name == "decode" or name == "preprocess" or name == "infer" then
            stages = stages + tonumber(ms)
        end
    end
    answers = answers + 1
end

function done(summary, latency, requests)
    local sum, count, bad = 0, 0, 0
    for _, thread in ipairs(threads) do
        sum = sum + thread:get("stages")
        count = count + thread:get("answers")
        bad = bad + thread:get("failures")
    end
    local errors = summary.errors
    io.write(string.format(
        '{"answers":%d,"failures":%d,"seconds":%.4f,"p50_ms":%.3f,"p99_ms":%.3f,"mean_ms":%.3f,"stages_mean_ms":%.3f}\n',
        count, bad + errors.connect + errors.read + errors.write + errors.timeout,
        summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
        latency.mean / 1e3, count > 0 and sum / count or 0))
end
