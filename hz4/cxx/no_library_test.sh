#!/bin/sh
# no_library_test.sh <libhz4.so> <program>: operator new fails where there is no C++ library: one line, and the end.
set -u
library=$(realpath "$1")
expected="hz4: operator new: no memory, and no C++ library to throw std::bad_alloc"
message=$(LD_PRELOAD=$library "$2" - 2>&1)
status=$?
if [ "$status" -ne 134 ] || [ "$message" != "$expected" ]; then
  echo "FAILED: status $status, '$message'"
  exit 1
fi
echo PASSED
