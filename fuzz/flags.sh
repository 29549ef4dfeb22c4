#!/bin/sh
# flags.sh NAME: the libFuzzer flags that NAME.dict and NAME.options stand for, one a line. From the workspace's root.
set -eu

if [ -e "fuzz/$1.dict" ]; then
  echo "-dict=$PWD/fuzz/$1.dict"
fi
if [ -e "fuzz/$1.options" ]; then
  sed -n 's/^\([a-z_]*\) *= *\([^ ]*\)$/-\1=\2/p' "fuzz/$1.options"
fi
