#!/bin/bash
# gcc: hz4's own sources, compiled to the same objects.
set -eu
shopt -s nullglob
mkdir hz4
cp -L "$ROOT"/hz4/*.[ch] hz4
for source in hz4/*.c; do
  gcc -std=c11 -D_GNU_SOURCE -O2 -w -I. -c "$source" -o "${source%.c}.o"
  sha256sum "${source%.c}.o"
done
