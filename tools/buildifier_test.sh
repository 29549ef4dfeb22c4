#!/bin/sh
# BUILD files and their like are as buildifier writes them, and it has no objection to them.
#
# It looks at the whole source tree, where the link to its MODULE.bazel leads: a BUILD file can be data only if its
# package exports it.
set -eu

tree=$(dirname "$(readlink -f MODULE.bazel)")
PATH=$PATH:$tree/node_modules/.bin
if ! command -v buildifier >/dev/null; then
  echo "SKIPPED: buildifier is not installed (npm install --no-save @bazel/buildifier)"
  exit 0
fi

cd "$tree"
if ! buildifier -r --mode=check --lint=warn .; then
  echo "buildifier -r . writes them anew; what it then still says is to be mended by hand" >&2
  exit 1
fi
