#!/bin/bash
# oss_fuzz_test.sh: runs build.sh in a clean directory as OSS-Fuzz runs it, for address, undefined and coverage, and then
# each binary for some seconds over its seed corpus. The flags are those of OSS-Fuzz's base-builder, but for libc++.
set -euo pipefail

clang=$(command -v clang-19 || true)
if [ -z "$clang" ]; then
  echo "SKIPPED: clang-19 is not installed"
  exit 0
fi

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

ubsan=array-bounds,bool,builtin,enum,function,integer-divide-by-zero,null,object-size,return
ubsan=$ubsan,returns-nonnull-attribute,shift,signed-integer-overflow,unreachable,vla-bound,vptr
declare -A sanitizer_flags=(
  [address]="-fsanitize=address -fsanitize-address-use-after-scope"
  [undefined]="-fsanitize=$ubsan,unsigned-integer-overflow -fno-sanitize-recover=$ubsan"
  [coverage]=""
)
declare -A coverage_flags=(
  [address]=-fsanitize=fuzzer-no-link
  [undefined]=-fsanitize=fuzzer-no-link
  [coverage]="-fprofile-instr-generate -fcoverage-mapping -pthread -Wl,--no-as-needed -Wl,-ldl -Wl,-lm -Wno-unused-command-line-argument"
)
export UBSAN_OPTIONS=silence_unsigned_overflow=1:print_stacktrace=1

# run DIRECTORY NAME: the binary, as OSS-Fuzz's run_fuzzer starts it.
run() {
  local seeds=$TEST_TMPDIR/seeds flags=()
  rm -rf "$seeds"
  mkdir "$seeds"
  (cd "$seeds" && python3 -m zipfile -e "$1/$2_seed_corpus.zip" .)
  [ -n "$(ls "$seeds")" ] || fail "$2: an empty seed corpus"
  if [ -e "$1/$2.dict" ]; then flags+=("-dict=$1/$2.dict"); fi
  "$1/$2" -max_total_time=2 -timeout=60 -rss_limit_mb=2560 -print_final_stats=1 "${flags[@]}" "$seeds" \
    >"$TEST_TMPDIR/log" 2>&1 || {
    cat "$TEST_TMPDIR/log"
    fail "$2 found something"
  }
  grep number_of_executed_units "$TEST_TMPDIR/log" | sed "s/^/  $2 /"
}

for SANITIZER in address undefined coverage; do
  export SANITIZER SRC=$TEST_TMPDIR/$SANITIZER/src OUT=$TEST_TMPDIR/$SANITIZER/out WORK=$TEST_TMPDIR/$SANITIZER/work
  mkdir -p "$SRC/hz4" "$OUT" "$WORK"
  cp -RL fuzz hz4 testdata "$SRC/hz4/"
  CFLAGS="-O1 -fno-omit-frame-pointer -gline-tables-only -Wno-error -DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION"
  CFLAGS="$CFLAGS ${sanitizer_flags[$SANITIZER]} ${coverage_flags[$SANITIZER]}"
  export CFLAGS CXXFLAGS=$CFLAGS CC=clang-19 CXX=clang++-19 LIB_FUZZING_ENGINE=-fsanitize=fuzzer
  echo "$SANITIZER"
  "$SRC/hz4/fuzz/oss-fuzz/build.sh"
  export LLVM_PROFILE_FILE=$OUT/%m.profraw
  for source in "$SRC"/hz4/fuzz/*_fuzzer.cc; do
    name=$(basename "$source" .cc)
    [ -x "$OUT/$name" ] || fail "$name is not in \$OUT"
    run "$OUT" "$name"
  done
  if [ "$SANITIZER" = coverage ]; then
    [ -n "$(ls "$OUT"/*.profraw)" ] || fail "no profile was written"
  fi
  rm -rf "$SRC" "$OUT" "$WORK"
done
