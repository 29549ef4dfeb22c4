#!/bin/bash
# bash: arrays, strings that grow, patterns, functions that recurse, subshells, pipes, traps
set -eu
declare -A words
list=()
for ((i = 0; i < 8000; i++)); do
  words[$((i * 7919 % 1009))]+="$i "
  list+=("item-$((i * 31 % 997))")
  if ((i % 3 == 0)); then unset "list[$((i / 2))]"; fi
done
echo "${#words[@]} ${#list[@]}"
for key in "${!words[@]}"; do echo "$key ${words[$key]}"; done | sort | sha256sum
printf '%s\n' "${list[@]}" | sha256sum

text=
for ((i = 0; i < 3000; i++)); do text+="word$i,"; done
text=${text//word1/WORD-ONE}
text=${text^^}
IFS=, read -ra parts <<<"$text"
echo "${#text} ${#parts[@]} ${parts[1234]} ${text:5000:20} ${text##*,W}"
[[ $text =~ (WORD-ONE[0-9]+),(WORD2[0-9]*) ]] && echo "${BASH_REMATCH[@]}"

fibonacci() {
  if (($1 < 2)); then result=$1; return; fi
  local -i sum
  fibonacci $(($1 - 1)); sum=$result
  fibonacci $(($1 - 2)); result=$((sum + result))
}
fibonacci 14
echo "$result"

for i in {1..40}; do
  (
    for j in {1..50}; do eval "v$j=\$((j * i))"; done
    set | grep '^v[0-9]'
  ) &
done | sort | sha256sum
while read -r line; do
  mapfile -t lines < <(seq "$line")
  echo "${#lines[@]} ${lines[*]: -1}"
done < <(seq 1 20) | sha256sum
diff <(seq 1 2000) <(seq 2 2001) || echo "differ: $?"
trap 'echo "signal"' USR1
for i in 1 2 3; do kill -USR1 $$; done
