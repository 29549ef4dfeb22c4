# Arrays, strings that grow, substitutions.
{ key = ($1 * 7919) % 100003; words[key] = words[key] " " $1; count[$1 % 1000][key % 50]++ }
$1 % 5 == 0 { delete words[int($1 / 5)] }
END {
  for (i in count) for (j in count[i]) total += count[i][j]
  for (key in words) { changed += gsub(/[0-9]7/, "<&>", words[key]); size += length(words[key]) }
  print length(words), total, changed, size
}
