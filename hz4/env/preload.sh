#!/bin/sh
# preload.sh <libhz4.so> <program> [arguments]: runs the program with hz4 preloaded.
set -eu
LD_PRELOAD=$(realpath "$1")
export LD_PRELOAD
shift
exec "$@"
