# options.awk - senetd --help (first file) and senetd.8.in (second) to senetd.8: in place of the
# line @OPTIONS@ come the options of --help, so that the page cannot fall behind the program.
function quote(text) {
    gsub(/\\/, "\\e", text)
    gsub(/-/, "\\-", text)
    return text
}
FNR == NR {
    if ($0 ~ /^  --[a-z0-9-]+ +[^ ]+ +[^ ]/) {
        help = $0
        sub(/^  --[a-z0-9-]+ +[^ ]+ +/, "", help)
        options = options ".TP\n.BI " quote($1) " \" " quote($2) "\"\n" quote(help) "\n"
    }
    next
}
/^@OPTIONS@$/ {
    printf "%s", options
    next
}
{
    gsub(/@VERSION@/, version)
    print
}
