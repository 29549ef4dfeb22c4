#!/bin/bash
# rsync: 2,000 files copied, changed and copied again by deltas, compressed, with hard links, deletions and a dry run
set -eu
mkdir from
seq 1 40000 | split -l 20 -a 3 - from/file.
mkdir -p from/a/b/c
seq 1 300000 >from/a/b/c/large
find from -name '*c' -type f -exec ln {} {}.hard \;
sum() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum) | sha256sum; }
run() { rsync -aH --no-owner --no-group --stats "$@" | grep -E 'files|Matched|Literal'; }
run from/ to
sum to
sed -i '1000,1010d; s/77777/seven/' from/a/b/c/large
rm from/file.aa?
mkdir new
seq 1 50000 >from/new
run --delete --checksum --no-whole-file --block-size=1000 from/ to
sum to
run -z --zc=zstd --link-dest="$PWD/to" from/ linked
run -z --zc=zlibx --no-whole-file --inplace --ignore-times from/ linked
sum linked
rsync -an --delete --itemize-changes --exclude='*.hard' --filter='- /new' from/ empty/ | sort | sha256sum
rsync -a --only-write-batch=batch from/ other
mkdir other
rsync -a --read-batch=batch other/
sum other
