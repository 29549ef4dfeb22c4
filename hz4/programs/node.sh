#!/bin/bash
# node: buffers, worker threads, zlib and crypto on the thread pool, streams, an HTTP server, child processes
set -eu
node --expose-gc --max-old-space-size=256 "$(dirname "$0")/node_workload.js"
