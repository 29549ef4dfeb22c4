#!/bin/bash
# python3, with its own small-object allocator above malloc and without it.
set -eu
here=$(dirname "$0")
export PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1
python3 "$here/python_workload.py"
PYTHONMALLOC=malloc python3 "$here/python_workload.py"
