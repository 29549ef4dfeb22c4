#!/bin/sh
# ClusterFuzzLite builds as OSS-Fuzz does.
set -eu

exec "$SRC/hz4/fuzz/oss-fuzz/build.sh"
