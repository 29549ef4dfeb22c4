#!/bin/sh
# preload.sh <libhz4.so> [<library>.so ...] <program> [arguments]: runs the program with hz4, and then the others, preloaded.
set -eu
libraries=
while [ "${1%.so}" != "$1" ]; do
  libraries=$libraries:$(realpath "$1")
  shift
done
LD_PRELOAD=${libraries#:}
export LD_PRELOAD
exec "$@"
