#!/bin/bash
# deepbind_test.sh <libhz4.so> <program> <library>: hz4 preloaded, and a library that is bound to libc's malloc. Each
# with its own is fine; a block of libc's heap that comes to hz4's free or realloc is libc's to free; one that libc mapped
# by itself is named, and not damage.
set -u
hz4=$(realpath "$1") program=$2 library=$(realpath "$3")
ulimit -c 0

fail() {
  echo "FAILED: $*"
  exit 1
}

for how in none cross cross_realloc; do
  output=$(LD_PRELOAD=$hz4 "$program" "$library" "$how" 2>&1) || fail "$how: status $?: $output"
  [[ $output == 0x*$'\n'done ]] || fail "$how: $output"
done

output=$(LD_PRELOAD=$hz4 "$program" "$library" cross_mapped 2>&1)
status=$?
pointer=${output%%$'\n'*}
[[ $status == 134 ]] || fail "status $status instead of SIGABRT's: $output"
[[ $output == "$pointer"$'\n'"hz4: free of a pointer that is not allocated: $pointer"* ]] || fail "$output"
echo PASSED
