#!/bin/bash
# tar: archives of 2,400 names in three formats, incremental, transformed, updated, and taken apart
set -eu
mkdir -p tree
seq 1 16000 | split -l 20 -a 3 - tree/file.
find tree -name '*a' -exec ln {} {}.hard \; -exec ln -s {} {}.soft \;
mkdir -p "tree/$(seq -s_ 1 40)/deep"
seq 1 100000 >"tree/$(seq -s_ 1 40)/deep/large"
truncate -s 3M tree/sparse
echo end >>tree/sparse

# shellcheck disable=SC2054 # one word: u=rwX,go=rX
list=(--sort=name --mtime=@1600000000 --owner=user:1 --group=group:2 --mode=u=rwX,go=rX)
for options in '--format=gnu --sparse' '--format=oldgnu --sparse' \
  '--format=posix --pax-option=delete=atime,delete=ctime,exthdr.name=%d/%f'; do
  format=${options#--format=}
  format=${format%% *}
  # shellcheck disable=SC2086 # words
  tar -c "${list[@]}" $options -f "$format.tar" tree
  sha256sum <"$format.tar"
  tar -tvf "$format.tar" | sha256sum
  mkdir "$format"
  tar --no-same-owner -xf "$format.tar" -C "$format" --transform='s/file/moved/' --exclude='*b.soft'
  (cd "$format" && find . -type f -print0 | sort -z | xargs -0 sha256sum) | sha256sum
done 2>&1
tar -df gnu.tar 2>&1 | grep -cE 'Uid differs|Mod time differs'
tar --delete -f gnu.tar tree/sparse
tar -rf gnu.tar "${list[@]}" tree/sparse
tar -Af gnu.tar posix.tar
tar -tf gnu.tar | sha256sum
tar -c --listed-incremental=snapshot tree | wc -c
echo changed >tree/file.aab
tar -c --listed-incremental=snapshot tree | tar -t | grep -v '/$'
tar -I zstd -cf tree.tar.zst "${list[@]}" tree
tar -tf tree.tar.zst | wc -l
