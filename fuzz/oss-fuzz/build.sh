#!/bin/sh
# OSS-Fuzz's build step, with plain compilers. Reads SRC OUT CC CXX CFLAGS CXXFLAGS LIB_FUZZING_ENGINE, and optionally
# WORK. Makes in $OUT for each fuzzer of fuzz/BUILD: NAME, NAME_seed_corpus.zip, and NAME.dict and NAME.options if there
# are such.
# shellcheck disable=SC2086 # the variables of flags are lists of words
set -eu

cd "$SRC/hz4"
work=${WORK:-$OUT/../work}/hz4
mkdir -p "$work/common" "$OUT"

c_flags="-std=c11 -D_GNU_SOURCE -I. -fno-builtin-malloc -fno-builtin-calloc -fno-builtin-realloc -fno-builtin-free"
cxx_flags="-std=c++17 -I."

# compile SOURCE OBJECT
compile() {
  case $1 in
    *.c) $CC $CFLAGS $c_flags -c "$1" -o "$2" ;;
    *) $CXX $CXXFLAGS $cxx_flags -c "$1" -o "$2" ;;
  esac
}

# All modules but libc's and C++'s names and the kernel. Each fuzzer links the kernel that it includes.
for file in hz4/*.c; do
  case $file in
    hz4/shim.c | hz4/operators*.c | hz4/sys_linux.c) ;;
    *) compile "$file" "$work/common/$(basename "$file" .c).o" ;;
  esac
done
compile fuzz/heap_driver.cc "$work/common/heap_driver.o"
compile hz4/sys_linux.c "$work/sys_linux.o"
compile hz4/test/sys_fake.c "$work/sys_fake.o"
rm -f "$work/libhz4.a"
ar rcs "$work/libhz4.a" "$work"/common/*.o

fuzzers=$(sed -n 's/^    name = "\(.*_fuzzer\)",$/\1/p' fuzz/BUILD)
for name in $fuzzers; do
  kernel=sys_linux
  if grep -q '"fuzz/hostile.h"' "fuzz/$name.cc"; then
    kernel=sys_fake
  fi
  compile "fuzz/$name.cc" "$work/$name.o"
  $CXX $CXXFLAGS "$work/$name.o" "$work/$kernel.o" "$work/libhz4.a" $LIB_FUZZING_ENGINE -lpthread -ldl -o "$OUT/$name"
  python3 -m zipfile -c "$OUT/${name}_seed_corpus.zip" "testdata/$name"/*
  for kind in dict options; do
    if [ -e "fuzz/$name.$kind" ]; then
      cp "fuzz/$name.$kind" "$OUT/"
    fi
  done
done
