#!/bin/sh
# deterministic_test.sh REPLAY CORPUS: two processes that run the same inputs do the same, step by step and address by
# address, threads and all: so a crash replays. (Where the kernel puts mappings is no choice of the input's: setarch -R.)
set -eu

if ! setarch -R true 2>/dev/null; then
  echo "SKIPPED: addresses cannot be kept from being random here"
  exit 0
fi
for run in 1 2; do
  FUZZ_DIGEST=1 setarch -R "$1" "$2" >"$TEST_TMPDIR/$run"
done
inputs=$(grep -c '^digest' "$TEST_TMPDIR/1")
[ "$inputs" -ge 20 ]
[ "$(grep '^digest' "$TEST_TMPDIR/1" | sort -u | wc -l)" -gt $((inputs / 2)) ] # it tells inputs apart
diff "$TEST_TMPDIR/1" "$TEST_TMPDIR/2"
echo "$inputs inputs, twice the same"
