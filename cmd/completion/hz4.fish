# fish completion for hz4(1)

complete -c hz4 -n __fish_use_subcommand -f -a 'run doctor stats top report profile' -l help -l version
complete -c hz4 -n '__fish_seen_subcommand_from run' -xa '(__fish_complete_subcommand --fcs-skip=2)'
complete -c hz4 -n '__fish_seen_subcommand_from run' -s o -l option -x \
  -a "(hz4-options 2>/dev/null | string lower | string replace -rf '^hz4_([a-z_]*).*' '\$1=')"
complete -c hz4 -n '__fish_seen_subcommand_from doctor stats top' -xa '(__fish_complete_pids)'
complete -c hz4 -n '__fish_seen_subcommand_from report profile' -F
