#!/bin/bash
# nginx with 2 workers under wrk: files, gzip, SSI, rewriting, and a proxy to itself; then answers compared
set -eu
# shellcheck source=hz4/programs/server.sh
. "$(dirname "$0")/server.sh"
skip_if_only_root

mkdir -p files logs
seq 1 100000 >files/large.txt
seq 1 300 >files/small.txt
printf 'start <!--#include virtual="/small.txt" --><!--#include virtual="/proxy/small.txt" --> end' >files/page.shtml

# The proxy's port is known when the server starts.
serve() {
  sed "s/PORT/$port/" >nginx.conf <<'CONF'
daemon off;
worker_processes 2;
pid nginx.pid;
error_log stderr warn;
events { worker_connections 512; }
http {
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  server {
    listen 127.0.0.1:PORT;
    root files;
    gzip on;
    gzip_types *;
    location / { ssi on; }
    location /proxy/ { proxy_pass http://127.0.0.1:PORT/; proxy_set_header X-Long "$request_uri$request_id"; }
    location /rewritten/ { rewrite ^/rewritten/(.*)$ /$1 last; }
    location /named { return 200 "$arg_name $http_x_header\n"; }
  }
}
CONF
  exec_unprivileged nginx -e stderr -p "$PWD/" -c nginx.conf
}
start_server
url=http://127.0.0.1:$port

# wrk prints rates, which vary, and lines about errors, which must not be there. A slow answer is none.
for path in small.txt page.shtml proxy/large.txt rewritten/small.txt; do
  wrk -t 2 -c 24 -d 1 --timeout 60 -H 'Accept-Encoding: gzip' "$url/$path" >wrk.txt
  echo "$path: errors: $(grep -E 'errors|Non-2xx' wrk.txt || true)"
done

fetch() { curl -sS --fail-with-body -w '%{http_code} %{content_type}\n' "$@"; }
for path in small.txt large.txt page.shtml proxy/large.txt proxy/proxy/proxy/page.shtml rewritten/small.txt; do
  fetch "$url/$path" | sha256sum
  fetch --compressed "$url/$path" | sha256sum
done
fetch -H "X-Header: $(seq -s, 1 900)" "$url/named?name=some-name"
fetch -r 1000-2000,5000-5100 "$url/large.txt" | grep -avE '^--|boundary=' | sha256sum
fetch "$url/none" || true
stop_server QUIT
