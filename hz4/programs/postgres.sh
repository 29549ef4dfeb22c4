#!/bin/bash
# postgres, its cluster made by initdb, under pgbench with 8 clients; then queries that sort, join and aggregate
set -eu
# shellcheck source=hz4/programs/server.sh
. "$(dirname "$0")/server.sh"
skip_if_only_root

(exec_unprivileged initdb -D "$PWD/data" -U postgres -A trust -E UTF8 --no-locale --no-sync >initdb.log)

serve() {
  exec_unprivileged postgres -D "$PWD/data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
    -c fsync=off -c max_parallel_workers_per_gather=2 -c jit=off -c timezone=UTC
}
start_server
export PGHOST=127.0.0.1 PGPORT=$port PGUSER=postgres PGDATABASE=postgres

query() { psql -XAtq -v ON_ERROR_STOP=1 "$@"; }

pgbench -i -q -s 2 2>pgbench.log
# Its output is rates, which vary. Which of two transactions is first varies too, their sum does not.
for protocol in simple extended prepared; do
  pgbench -n -c 8 -j 2 -t 150 -M "$protocol" --random-seed=1 >pgbench.log 2>&1 || cat pgbench.log >&2
  grep -E 'actually processed|failed' pgbench.log
done
query -c 'SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers),
                 (SELECT sum(bbalance) FROM pgbench_branches), count(*), sum(delta) FROM pgbench_history'

query <<'SQL'
CREATE TABLE words AS
  SELECT i AS id, i::bigint * 7919 % 100003 AS number, md5(i::text) AS word, repeat(md5((i % 99)::text), i % 40) AS data
  FROM generate_series(1, 60000) AS i;
CREATE INDEX ON words(word);
CREATE INDEX ON words USING gin (to_tsvector('simple', word));
ANALYZE words;
SELECT count(*), sum(number), md5(string_agg(word, ',' ORDER BY word)) FROM words;
SET work_mem = '64kB';
SELECT md5(string_agg(data, '' ORDER BY data, id)) FROM words;
SELECT count(*), sum(a.id) FROM words a JOIN words b ON b.number = a.number + 1 JOIN words c ON c.id = b.id % 1000 + 1;
SET work_mem = '64MB';
SELECT left(word, 1), count(DISTINCT data), max(number), percentile_disc(0.5) WITHIN GROUP (ORDER BY number)
  FROM words GROUP BY 1 ORDER BY 1;
SELECT md5(json_agg(w ORDER BY id)::text), md5(jsonb_object_agg(word, data)::text) FROM words w WHERE id < 20000;
SELECT count(*) FROM words WHERE word ~ '^(a|b)[0-9]+(c.*d)?' OR regexp_replace(word, '[a-f]', '', 'g') LIKE '%7777%';
WITH RECURSIVE t(n, s) AS (SELECT 1, 'x' UNION ALL SELECT n + 1, s || n FROM t WHERE n < 2000)
  SELECT md5(max(s)) FROM t;
SELECT sum(rank) FROM (SELECT rank() OVER (PARTITION BY id % 100 ORDER BY number) FROM words) AS ranks;
CREATE FUNCTION lengths() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE total bigint := 0; list text[] := '{}'; w record;
BEGIN
  FOR w IN SELECT word FROM words ORDER BY id LIMIT 3000 LOOP
    list := list || w.word;
    total := total + length(w.word);
  END LOOP;
  RETURN total + array_length(list, 1);
END $$;
SELECT lengths();
UPDATE words SET data = data || word WHERE id % 3 = 0;
DELETE FROM words WHERE id % 7 = 0;
VACUUM FULL words;
SELECT count(*), md5(string_agg(data, '' ORDER BY id)) FROM words;
SQL
query -c 'COPY (SELECT * FROM words ORDER BY id) TO STDOUT' | sha256sum
# Where rows are in a table depends on who was first: sorted.
pg_dump -t words -t pgbench_branches -t pgbench_tellers | grep -vE '^(--|[\\])' | sort | sha256sum
stop_server INT
