#!/bin/sh
# bazel run //fuzz:soak -- [seconds] [directory]: every fuzzer for so many seconds (60), one after the other.
#
# The directory ($TMPDIR/hz4-soak) keeps corpora, logs, crashers and report.txt; another run goes on from there.
# Exits with 1 when a fuzzer found something.
set -eu

seconds=${1:-60}
cd "${BUILD_WORKING_DIRECTORY:-.}"
work=${2:-${TMPDIR:-/tmp}/hz4-soak}
mkdir -p "$work"
work=$(cd "$work" && pwd)
cd "$BUILD_WORKSPACE_DIRECTORY"

engines=$(sed -n 's/^    name = "\(.*_fuzzer\)",$/\1/p' fuzz/BUILD)
targets=
for name in $engines; do
  targets="$targets //fuzz:${name}_engine"
done
# shellcheck disable=SC2086 # a list of words
./bazelw build --config=fuzz $targets
bin=$(./bazelw info --config=fuzz bazel-bin)/fuzz

# The last number after a word in a libFuzzer log.
last() {
  sed -n "s/.*$1 *\([0-9][0-9]*\).*/\1/p" "$2" | tail -n 1
}

status=0
report=$work/report.txt
printf '%-22s %12s %8s %8s %8s\n' fuzzer executions coverage corpus result | tee "$report"
for name in $engines; do
  mkdir -p "$work/$name"
  log=$work/$name.log
  result=ok
  "$bin/${name}_engine" -max_total_time="$seconds" -timeout=60 -rss_limit_mb=3000 -print_final_stats=1 \
    -artifact_prefix="$work/$name-" "$work/$name" "testdata/$name" >"$log" 2>&1 || result=FAILED
  [ $result = ok ] || status=1
  printf '%-22s %12s %8s %8s %8s\n' "$name" "$(last number_of_executed_units: "$log")" "$(last cov: "$log")" \
    "$(last corp: "$log")" $result | tee -a "$report"
  [ $result = ok ] || grep -E 'check failed|^hz4: |ERROR: |Test unit written' "$log" | tee -a "$report"
done
echo "in $report"
exit $status
