#!/bin/bash
# perl: hashes, sorting, strings that grow and shrink, regular expressions, and children.
set -eu
export PERL_HASH_SEED=0
perl "$(dirname "$0")/perl_workload.pl"
