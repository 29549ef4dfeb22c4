#!/bin/bash
# For workloads that start a server: on a free port of the loopback, stopped with the workload. The workload defines
# serve(), which ends in the exec of the server on port $port, in the foreground.

server=
port=
trap 'if [[ -n $server ]]; then kill -KILL "$server" 2>/dev/null; fi' EXIT
trap 'exit 1' HUP INT TERM

# Some servers refuse to be root, or become somebody else, which a sandbox does not allow. Where root cannot be another
# user in a namespace of its own, there is no test of them.
skip_if_only_root() {
  if (($(id -u) == 0)) && ! unshare --user --map-user=1000 true 2>unshare.log; then
    echo "SKIPPED: root cannot become another user here: $(<unshare.log)"
    exit 0
  fi
}

exec_unprivileged() {
  if (($(id -u) == 0)); then
    exec unshare --user --map-user=1000 "$@"
  fi
  exec "$@"
}

# Whether it is our server, and not another, that listens on $port.
listens() {
  local inode
  inode=$(awk -v address="$(printf '0100007F:%04X' "$port")" '$2 == address && $4 == "0A" { print $10 }' /proc/net/tcp)
  [[ -n $inode && $(find "/proc/$server/fd" -lname "socket:\[$inode\]" 2>/dev/null) ]]
}

# Ports are tried until the server can have one.
start_server() {
  for _ in {1..20}; do
    port=$((20000 + RANDOM % 12000))
    serve >>server.log 2>&1 &
    server=$!
    while kill -0 "$server" 2>/dev/null; do
      if listens; then
        if [[ -n ${LD_PRELOAD:-} ]] && ! grep -qF "$LD_PRELOAD" "/proc/$server/maps"; then
          echo 'LD_PRELOAD had no effect on the server' >&2
          exit 1
        fi
        return
      fi
      sleep 0.05
    done
    wait "$server" || true
    server=
  done
  cat server.log >&2
  exit 1
}

# stop_server <signal>: prints how it ended, and hands what it said to the runner, which looks for complaints of hz4.
stop_server() {
  local status=0
  kill -"$1" "$server"
  wait "$server" || status=$?
  server=
  cat server.log >&2
  echo "server status $status"
}
