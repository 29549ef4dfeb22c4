#!/bin/bash
# gawk: arrays of 100,000 keys, sorting, substitutions, arrays of arrays, bignums
set -eu
seq 1 100000 | gawk '
  { key = ($1 * 7919) % 100003; words[key] = words[key] " " $1; count[$1 % 1000][key % 50]++ }
  $1 % 5 == 0 { delete words[int($1 / 5)] }
  $1 % 1000 == 0 { text = text sprintf("%s-%x,", $1, $1 * 31) }
  END {
    PROCINFO["sorted_in"] = "@ind_num_asc"
    for (key in words) {
      sum = (sum * 31 + length(words[key])) % 1000003
      printf "%s:%s\n", key, words[key] | "sha256sum"
    }
    close("sha256sum")
    print length(words), sum, asort(words, sorted), sorted[1], sorted[length(sorted)]
    for (i in count) for (j in count[i]) total += count[i][j]
    print total, gsub(/[0-9]+-/, "<&>", text), length(text), toupper(substr(text, 1, 60)), split(text, parts, /[,<>]+/)
    print gensub(/([a-f]+)([0-9]+)/, "\\2\\1", "g", substr(text, 1, 300))
  }'
gawk -M 'BEGIN { f = 1; for (i = 1; i <= 1000; i++) f *= i; print f; print 7 ^ 3000 % 1000007 }' | sha256sum
