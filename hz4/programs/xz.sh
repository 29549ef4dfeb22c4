#!/bin/bash
# xz: compressed and decompressed by 1 and 2 threads, at levels, with filters, in small memory
set -eu
seq 1 100000 >data
cat "$ROOT"/hz4/*.[ch] >>data
sha256sum <data
for options in -0 -3 '-6 -T2' '-6 -T2 --block-size=300KiB' '--lzma2=preset=9e,dict=8MiB' '--format=lzma -2' \
  '--x86 --lzma2=preset=1' '--check=sha256 --delta=dist=4 --lzma2=preset=2'; do
  # shellcheck disable=SC2086 # words
  xz $options -c data >data.xz
  echo "$options: $(sha256sum <data.xz) $(xz -T2 -dc data.xz | sha256sum)"
done
xz -6 -T2 --block-size=300KiB -c data >data.xz
xz --robot -lvv data.xz
head -c 100000 data.xz | xz -dc >out 2>message || echo "status $? $(<message)"
xz --memlimit-decompress=1MiB -dc data.xz >out 2>message || echo "status $? $(<message)"
