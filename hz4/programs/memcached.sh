#!/bin/bash
# memcached with 4 threads: 8 clients set, append, change, fetch and delete values of up to 500 KB
set -eu
# shellcheck source=hz4/programs/server.sh
. "$(dirname "$0")/server.sh"
skip_if_only_root
serve() { exec_unprivileged memcached -l 127.0.0.1 -p "$port" -U 0 -t 4 -m 512; }
start_server
python3 "$(dirname "$0")/memcached_workload.py" "$port"
stop_server TERM
