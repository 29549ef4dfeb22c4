#!/bin/sh
# bazel run //fuzz:NAME -- [libFuzzer's arguments]: builds NAME with --config=fuzz and runs it where the caller stands.
# Without a file or directory among the arguments it starts from testdata/NAME and keeps what it finds to itself.
set -eu

name=$1
shift
cd "$BUILD_WORKSPACE_DIRECTORY"
# Caches that are the threads': which CPUs a thread runs on is the kernel's choice, and no input's.
export HZ4_FRONT="${HZ4_FRONT:-1}"
./bazelw build --config=fuzz "//fuzz:${name}_engine"
engine=$(./bazelw info --config=fuzz bazel-bin)/fuzz/${name}_engine
flags=$(fuzz/flags.sh "$name")
seeds=$PWD/testdata/$name
cd "${BUILD_WORKING_DIRECTORY:-.}"

for argument; do
  case $argument in
    -*) ;;
    *)
      # shellcheck disable=SC2086 # words
      exec "$engine" $flags "$@"
      ;;
  esac
done
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
# shellcheck disable=SC2086 # words
"$engine" -artifact_prefix="$name-" $flags "$@" "$found" "$seeds"
