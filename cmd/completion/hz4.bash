# bash completion for hz4(1)

_hz4() {
  local word=${COMP_WORDS[COMP_CWORD]} last=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]} i
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    COMPREPLY=($(compgen -W 'run doctor stats top report profile --help --version' -- "$word"))
    return
  fi
  if [[ $command == run ]]; then
    # Behind the program all is the program's.
    for ((i = 2; i < COMP_CWORD; i++)); do
      case ${COMP_WORDS[i]} in
        -o | --option | -l | --library) [[ ${COMP_WORDS[i + 1]} == '=' ]] || ((i++)) ;;
        '=' | :) ((i++)) ;;  # bash takes NAME=VALUE for three words
        -*) ;;
        *)
          if declare -F _command_offset >/dev/null; then
            _command_offset "$i"
          else
            COMPREPLY=($(compgen -f -- "$word"))
          fi
          return
          ;;
      esac
    done
  fi
  [[ $last == '=' && ${COMP_WORDS[COMP_CWORD - 2]} == --* ]] && last=${COMP_WORDS[COMP_CWORD - 2]}
  case $last in
    -o | --option)
      if [[ $command == run ]]; then
        compopt -o nospace
        COMPREPLY=($(compgen -S = -W "$(hz4-options 2>/dev/null | sed -n 's/^HZ4_\([A-Z_]*\).*/\L\1/p')" -- "$word"))
      else
        COMPREPLY=($(compgen -f -- "$word"))
      fi
      return
      ;;
    -l | --library | -r | --root | '=' | :)
      COMPREPLY=($(compgen -f -- "$word"))
      return
      ;;
    -s | --sample)
      if [[ $command == profile ]]; then
        COMPREPLY=($(compgen -W 'inuse_space inuse_objects alloc_space alloc_objects held_space' -- "$word"))
        return
      fi
      ;;
  esac
  case $command:$word in
    *:-*) COMPREPLY=($(compgen -W "$(hz4 "$command" --help 2>/dev/null | grep -o -- '--[a-z][a-z-]*')" -- "$word")) ;;
    run:*) COMPREPLY=($(compgen -c -- "$word")) ;;
    doctor:* | stats:* | top:*)
      COMPREPLY=($(compgen -W "$(cd /proc && printf '%s ' [0-9]*)" -- "$word"))
      [[ $command == doctor ]] && COMPREPLY+=($(compgen -c -- "$word"))
      ;;
    *) COMPREPLY=($(compgen -f -- "$word")) ;;
  esac
}
complete -o filenames -F _hz4 hz4
