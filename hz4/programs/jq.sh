#!/bin/bash
# jq: a document of 10,000 objects is made, sorted, grouped, rewritten and read again
set -eu
jq -nc '[range(10000) | {id: ., number: (. * 7919 % 100003), word: "word-\(. * 31 % 1009)", list: [range(. % 9)]}]' \
  >rows.json
sha256sum <rows.json
jq . rows.json | sha256sum
jq -c 'group_by(.word) | map({word: .[0].word, count: length, sum: (map(.number) | add)}) | .[:5], length' rows.json
jq -S 'map(del(.list) | .word |= (ascii_upcase | gsub("-"; "=") | ltrimstr("W"))) | unique_by(.word)' rows.json |
  sha256sum
jq -c '[paths(type == "number")] | length' rows.json
jq -r 'sort_by(.number)[] | [.id, .word, (.list | tostring)] | @csv' rows.json | sha256sum
jq --stream -c 'select(length == 2)' rows.json | sha256sum
jq -c 'reduce .[] as $row ({}; .[$row.word] += [$row.id]) | to_entries | map(.value | length) | max' rows.json
jq -R -s 'split("},{") | map(length) | add' rows.json
head -c 100000 rows.json | jq . 2>&1 >/dev/null | tail -n 1
