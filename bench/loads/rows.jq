# Grouping, rewriting, sorting and printing of 4,000 objects.
(group_by(.word) | map({word: .[0].word, count: length, sum: (map(.number) | add)}) | .[:5]),
(map(.word |= (ascii_upcase | gsub("-"; "="))) | unique_by(.word) | length),
(sort_by(.number) | map(tojson | length) | add),
(reduce .[] as $row ({}; .[$row.word] += [$row.id]) | map_values(length) | add)
