#!/bin/bash
# zstd: levels, threads, long distances, a dictionary that is trained, patches
set -eu
seq 1 100000 >data
cat "$ROOT"/hz4/*.[ch] >>data
sha256sum <data
for options in --fast=5 -1 '-3 -T2' '-9 -T2 -B256KiB' '-12 --long=27' '-19 --single-thread' '--ultra -22' \
  '--adapt=min=3,max=3 -T1'; do
  # shellcheck disable=SC2086 # words
  zstd -q $options -c data >data.zst
  echo "$options: $(sha256sum <data.zst) $(zstd -q -dc data.zst | sha256sum)"
done
split -l 200 -a 4 data part.
zstd -q --train part.* --maxdict=30000 -o dictionary
sha256sum <dictionary
zstd -q -r --rm -D dictionary part.*
cat part.*.zst | sha256sum
zstd -q -d -c -D dictionary part.*.zst | sha256sum
sed 's/77/seventy-seven/' data >changed
zstd -q --patch-from=data changed -o patch.zst
zstd -q -d --patch-from=data patch.zst -c | cmp - changed && echo "patched"
head -c 10000 data.zst | zstd -q -dc >out 2>message || echo "status $? $(<message)"
