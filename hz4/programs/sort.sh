#!/bin/bash
# sort, with its threads and with files, and uniq, join, comm, cut, paste, shuf, factor of coreutils
set -eu
awk 'BEGIN {
  for (i = 0; i < 60000; i++)
    printf "%d word-%d %x %s\n", i * 7919 % 100003, i * 31 % 1009, i * 2654435761 % 4294967296,
           substr("abcdefgh", i % 8 + 1)
}' >rows
for options in '' -n '-k2,2 -k1,1nr' '-u -k3' '-R --random-source=/dev/zero -k4' '-V -r -k2' '-S 1M --batch-size=8' \
  '-S 2M --compress-program=gzip'; do
  # shellcheck disable=SC2086 # words
  echo "$options: $(sort --parallel=2 $options rows | sha256sum)"
done
sort -k1,1 rows >sorted
sort -c -k1,1 sorted && echo "in order"
cut -d' ' -f2 rows | sort | uniq -c | sort -k1,1nr -k2 | head -n 5
tac sorted | sort -k1,1 -m - sorted | sha256sum
join -o 1.2,2.3 <(head -n 20000 sorted) <(tail -n +10000 sorted | head -n 20000) | sha256sum
comm -3 <(sort rows) <(sort rows | sed '1~100s/$/x/') | sha256sum
paste -d: <(cut -c1-9 rows) <(rev rows) | fold -w 50 | fmt -w 70 | sha256sum
shuf --random-source=rows -n 20000 rows | sha256sum
seq 1000000007 1000000507 | factor | sha256sum
split -n l/7 --filter='wc -l' rows | sort
od -An -tx4 -w64 rows | sha256sum
