#!/bin/bash
# redis-server on a free loopback port, under redis-benchmark and then under commands whose answers are known.
set -eu
# shellcheck source=hz4/programs/server.sh
. "$(dirname "$0")/server.sh"

serve() {
  exec redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no --dir "$PWD" --daemonize no
}
start_server

cli() { redis-cli -h 127.0.0.1 -p "$port" "$@"; }

# Its output is rates, which vary.
redis-benchmark -h 127.0.0.1 -p "$port" -q -n 20000 -c 20 -r 1000 -d 200 \
  -t ping,set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,lrange_100,mset >/dev/null
redis-benchmark -h 127.0.0.1 -p "$port" -q -n 10000 -c 20 -r 10000 -P 16 -d 3000 -t set,get,lpush >/dev/null
echo "benchmark done"
cli flushall

awk 'BEGIN {
  for (i = 0; i < 5000; i++) {
    print "SET", "key:" i, "value-" i * 7919
    print "APPEND", "text:" i % 50, "some-more-text-" i
    print "HSET", "hash:" i % 30, "field" i, i * 3
    print "RPUSH", "list:" i % 20, i
    print "ZADD", "scores", (i * 31) % 1009, "member" i
    print "SADD", "set:" i % 10, i % 777
    if (i % 3 == 0) print "DEL", "key:" int(i / 2)
    if (i % 5 == 0) print "LPOP", "list:" (i + 7) % 20
  }
}' | cli >answers.txt
sha256sum <answers.txt
cli dbsize
for i in {0..49}; do cli get "text:$i"; done | sha256sum
for i in {0..29}; do cli hgetall "hash:$i" | sort; done | sha256sum
for i in {0..19}; do cli lrange "list:$i" 0 -1; done | sha256sum
for i in {0..9}; do cli smembers "set:$i" | sort; done | sha256sum
cli zrange scores 0 -1 withscores | sha256sum
cli sort list:3 limit 0 10 desc
cli eval 'local t = {} for i = 1, 5000 do t[i] = redis.call("GET", "key:" .. (i - 1)) or "-" end
          return redis.sha1hex(table.concat(t, ","))' 0
cli info keyspace | tr -d '\r' | sed -n 's/,avg_ttl.*//p'
cli info memory | grep -c '^used_memory:[1-9]'

# The child that writes a snapshot is a fork of the busy server.
cli config set dbfilename rows.rdb
cli save
cli debug reload >/dev/null 2>&1 || true # only where the server's configuration allows it
cli dbsize
cli flushall
cli dbsize
stop_server TERM
