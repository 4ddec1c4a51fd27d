# bash completion for senetd(8). Commands and options are read from senetd --help, so that they are
# those of the senetd that is installed.
_senetd()
{
    local cur prev words cword
    _init_completion -n : || return
    local senetd=${words[0]} command= word help commands
    help=$("$senetd" --help 2>/dev/null) || return
    commands=$(sed -nE 's/^  senetd \[?([a-z]+).*/\1/p' <<<"$help" | sort -u)
    for word in "${words[@]:1:cword-1}"; do
        grep -qxF -- "$word" <<<"$commands" && command=$word && break
    done
    # What the option before takes: --help has its name behind it, PATH or text|json; switches stand
    # there alone.
    local takes=
    case $prev in
        -o) takes=PATH ;;
        --*)
            takes=$(awk -v flag="$prev" '$1 == flag && $2 ~ /^[A-Z]+(:[A-Z]+)?$|[|]/ { print $2 }' \
                <<<"$help")
            ;;
    esac
    case $takes in
        PATH | FILE)
            _filedir
            return
            ;;
        DIR)
            _filedir -d
            return
            ;;
        HOST:PORT)
            COMPREPLY=($(compgen -W '127.0.0.1:8080 [::1]:8080 :8080' -- "$cur"))
            __ltrim_colon_completions "$cur"
            return
            ;;
        NAME)
            COMPREPLY=($(compgen -W 'amx avx512 avx2 neon portable blas ref' -- "$cur"))
            return
            ;;
        *'|'*)
            COMPREPLY=($(compgen -W "${takes//|/ }" -- "$cur"))
            return
            ;;
        ?*) return ;;
    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W '$(grep -oE -- "--[a-z][a-z0-9-]*" <<<"$help" | sort -u)' -- "$cur"))
    elif [[ $command == health ]]; then
        COMPREPLY=($(compgen -W 'ready live' -- "$cur"))
    elif [[ -z $command ]]; then
        COMPREPLY=($(compgen -W "$commands" -- "$cur"))
    elif grep -q "^  senetd $command .*FILE" <<<"$help"; then
        _filedir
    fi
} && complete -F _senetd senetd
