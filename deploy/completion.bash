# bash completion for senetd(8). The options are read from senetd --help, so that they are those
# of the senetd that is installed.
_senetd()
{
    local cur prev words cword
    _init_completion -n : || return
    local senetd=${words[0]} command=serve word
    for word in "${words[@]:1:cword-1}"; do
        case $word in
            serve | classify | bench | profile | plot | health) command=$word && break ;;
        esac
    done
    case $prev in
        --weights | --labels | --config | --images | --classes | --output | -o | --port-file | --*-file | --*-dir | --tls-*)
            _filedir
            return
            ;;
        --kernels)
            COMPREPLY=($(compgen -W 'avx512 avx2 neon blas ref' -- "$cur"))
            return
            ;;
        --listen | --admin-listen)
            COMPREPLY=($(compgen -W '127.0.0.1:8080 [::1]:8080 :8080' -- "$cur"))
            __ltrim_colon_completions "$cur"
            return
            ;;
        --check | --check-config | --print-config | --json | --help | --version) ;;
        --*)
            # A choice's words stand where others have their argument's name: text|json.
            local choices
            choices=$("$senetd" --help 2>/dev/null |
                awk -v flag="$prev" '$1 == flag && $2 ~ /[|]/ { gsub(/[|]/, " ", $2); print $2 }')
            COMPREPLY=($(compgen -W "$choices" -- "$cur"))
            return
            ;;
    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W '$("$senetd" --help 2>/dev/null | grep -oE -- "--[a-z][a-z0-9-]*" |
            sort -u)' -- "$cur"))
    elif [[ $command == classify || $command == plot ]]; then
        _filedir
    elif [[ $command == health ]]; then
        COMPREPLY=($(compgen -W 'ready live' -- "$cur"))
    else
        COMPREPLY=($(compgen -W 'serve classify bench profile plot health' -- "$cur"))
    fi
} && complete -F _senetd senetd
