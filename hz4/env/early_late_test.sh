#!/bin/bash
# early_late_test.sh <libhz4.so> <program> <early library>: the program alone, with a preloaded library before it, and
# the program's hz4 under a preloaded one.
set -u
library=$(realpath "$1") program=$2 early=$(realpath "$3")
expected=$'main done\nlast destructor done'

run() {
  local output
  output=$(LD_PRELOAD=$1 "$program") || { echo "FAILED with LD_PRELOAD=$1: status $?"; exit 1; }
  [[ $output == "$expected" ]] || { echo "FAILED with LD_PRELOAD=$1: $output"; exit 1; }
}

output=$("$program") && [[ $output == "$expected" ]] || { echo "FAILED: $output"; exit 1; }
run "$early"
# A static library's hz4 and a preloaded one in one process: the program's names win.
run "$library $early"
run "$early $library"

# hz4 only preloaded, under programs of the system whose libraries allocate in constructors.
for command in "/bin/true" "/bin/bash -c true" "/usr/bin/env true" "/bin/sh -c :"; do
  # shellcheck disable=SC2086 # a command and its arguments
  LD_PRELOAD="$early $library" $command || { echo "FAILED: $command"; exit 1; }
done
echo PASSED
