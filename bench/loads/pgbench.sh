# The load on postgres, whose socket is in the working directory: tables, transactions of 8 clients, and queries that
# sort, join and aggregate. What is printed is the same each time; pgbench's rates are not.
export PGHOST="$PWD" PGUSER=postgres
pgbench -i -q -s 1 2>pgbench.log
for more in '-M simple -t 100' '-M prepared -t 100' '-S -M extended -t 500'; do
  pgbench -n -c 8 -j 2 --random-seed=1 $more >pgbench.log 2>&1 || cat pgbench.log >&2
  grep -E 'actually processed|failed' pgbench.log
done
psql -XAtq -v ON_ERROR_STOP=1 <<'SQL'
CREATE TEMP TABLE words AS
  SELECT i AS id, i::bigint * 7919 % 100003 AS number, md5(i::text) AS word FROM generate_series(1, 40000) AS i;
SELECT count(*), md5(string_agg(word, ',' ORDER BY word)) FROM words;
SELECT count(*), sum(a.id) FROM words a JOIN words b ON b.number = a.number + 1;
SELECT md5(jsonb_object_agg(word, number)::text) FROM words;
SELECT sum(n), max(first) FROM (SELECT count(*) AS n, min(word) AS first FROM words GROUP BY number % 20011) AS groups;
SQL
