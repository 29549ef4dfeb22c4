#!/bin/bash
# Runs a workload plain and with hz4 preloaded, and compares its output and exit status.
#
#   compare_test.sh <libhz4.so> <workload.sh> <program>...
#
# The workload runs both times in an empty directory of the same path, with $ROOT naming the directory that the test
# was started in. It must succeed, and print something that does not vary from run to run, or one line "SKIPPED: why".
# A program that is not installed skips the test. HZ4_ variables of the test's environment apply to the preloaded run.
set -u

library=$(realpath "$1") || exit 1
workload=$(realpath "$2") || exit 1
shift 2

# The system's programs before a user's own: those may be scripts around the program that is meant. Servers are in
# /usr/sbin, and Debian keeps each version of postgres in a directory of its own.
shopt -s nullglob
postgres=(/usr/lib/postgresql/*/bin)
export PATH="/usr/bin:/bin:/usr/sbin${postgres:+:${postgres[-1]}}:$PATH"
export LC_ALL=C TZ=UTC
ROOT=$PWD
export ROOT
scratch=$(mktemp -d "${TEST_TMPDIR:-/tmp}/programs.XXXXXX") || exit 1
job=

clean_up() {
  if [[ -n $job ]]; then kill -KILL -- "-$job" 2>/dev/null; fi
  rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

fail() {
  echo "FAILED: $*"
  exit 1
}

skip() {
  echo "SKIPPED: $*"
  exit 0
}

for program in "$@"; do
  command -v "$program" >/dev/null || skip "$program is not installed"
done

# A library that cannot be preloaded is only a warning of the dynamic linker. So ask it where malloc and free went.
for program in "$@"; do
  rm -f "$scratch"/bindings.*
  LD_PRELOAD=$library LD_BIND_NOW=1 LD_DEBUG=bindings LD_DEBUG_OUTPUT=$scratch/bindings \
    "$program" --version >/dev/null 2>&1
  for symbol in malloc free; do
    cat "$scratch"/bindings.* 2>/dev/null |
      grep -qF -e "to $library [0]: normal symbol \`$symbol'" ||
      fail "$program does not take $symbol from $library when it is preloaded"
  done
done

# run <name> [VARIABLE=value...]: leaves <name>.out, <name>.err and <name>.status. The job has its own process group,
# so that nothing of it outlives the test.
run() {
  local name=$1
  shift
  rm -rf "$scratch/work"
  mkdir -p "$scratch/work/home"
  set -m
  (
    cd "$scratch/work" || exit 1
    exec env HOME="$scratch/work/home" TMPDIR="$scratch/work" "$@" bash "$workload"
  ) >"$scratch/$name.out" 2>"$scratch/$name.err" </dev/null &
  job=$!
  set +m
  wait "$job"
  echo $? >"$scratch/$name.status"
  kill -KILL -- "-$job" 2>/dev/null
  job=
}

show() {
  echo "--- $1: status $(<"$scratch/$1.status"), the end of its stdout and stderr:"
  tail -n 20 "$scratch/$1.out" "$scratch/$1.err"
}

unset LD_PRELOAD
run plain
if [[ $(<"$scratch/plain.status") != 0 || ! -s $scratch/plain.out ]]; then
  show plain
  fail "the workload does not even work without hz4"
fi

if [[ $(<"$scratch/plain.out") == 'SKIPPED: '* ]]; then skip "$(sed 's/^SKIPPED: //' "$scratch/plain.out")"; fi

run hz4 LD_PRELOAD="$library"
if grep -E '^hz4:|ERROR: ld\.so:' "$scratch/hz4.err"; then
  show hz4
  fail "hz4 or the dynamic linker complained"
fi
if ! cmp -s "$scratch/plain.status" "$scratch/hz4.status"; then
  show hz4
  fail "the exit status differs"
fi
diff -u "$scratch/plain.out" "$scratch/hz4.out" | head -n 40
if ((PIPESTATUS[0] != 0)); then
  show hz4
  fail "the output differs"
fi

# The versions of Debian's packages, which know files by the name of the time before /bin was a link.
version() {
  local path package
  path=$(realpath "$(command -v "$1")")
  package=$(dpkg-query -S "$path" "${path#/usr}" 2>/dev/null | head -n 1)
  dpkg-query -W -f '${Package} ${Version}' "${package%: *}" 2>/dev/null || echo "$1, not of a package"
}

echo "PASSED: $(version "$1"); $(sed -n '2s/^# //p' "$workload"); $(wc -l <"$scratch/plain.out") lines of output" \
  "are the same$(env | sed -n 's/^HZ4_/, HZ4_/p' | tr -d '\n')"
