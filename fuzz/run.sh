#!/bin/sh
# bazel run //fuzz:NAME -- [libFuzzer's arguments]: builds NAME with --config=fuzz and runs it where the caller stands.
# Without a file or directory among the arguments it starts from testdata/NAME and keeps what it finds to itself.
set -eu

name=$1
shift
cd "$BUILD_WORKSPACE_DIRECTORY"
./bazelw build --config=fuzz "//fuzz:${name}_engine"
engine=$(./bazelw info --config=fuzz bazel-bin)/fuzz/${name}_engine
seeds=$PWD/testdata/$name
cd "${BUILD_WORKING_DIRECTORY:-.}"

for argument; do
  case $argument in
    -*) ;;
    *) exec "$engine" "$@" ;;
  esac
done
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
"$engine" -artifact_prefix="$name-" "$@" "$found" "$seeds"
