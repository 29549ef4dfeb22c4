#!/bin/bash
# sqlite3: 100,000 rows, an index, updates and deletes, a vacuum; with a file and in memory.
set -eu
cat >rows.sql <<'SQL'
.bail on
CREATE TABLE words(id INTEGER PRIMARY KEY, number INTEGER, word TEXT, data BLOB);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
INSERT INTO words SELECT i, (i * 7919) % 100003, printf('word-%d-%s', (i * 31) % 1009, hex(i * 2654435761)),
                         zeroblob(i % 97) FROM n;
COMMIT;
CREATE INDEX by_word ON words(word, number);
SELECT count(*), sum(number), sum(length(word)), sum(length(data)) FROM words;
SELECT substr(word, 1, 8) AS start, count(*), max(number) FROM words GROUP BY start ORDER BY start LIMIT 20;
UPDATE words SET word = word || upper(word), data = zeroblob(id % 1999) WHERE id % 10 = 0;
DELETE FROM words WHERE id % 3 = 0;
SELECT count(*), sum(number), sum(length(word)), sum(length(data)) FROM words;
SELECT a.id, b.id FROM words a JOIN words b ON b.number = a.number + 1 WHERE a.id < 3000 ORDER BY a.id, b.id LIMIT 20;
SELECT sum(length(list)) FROM (SELECT group_concat(word) AS list FROM words GROUP BY number % 13);
VACUUM;
PRAGMA integrity_check;
SELECT count(*), total(number), min(word), max(word) FROM words;
SELECT json_group_array(number) FROM (SELECT number FROM words ORDER BY word LIMIT 100);
SQL
sqlite3 rows.db <rows.sql
sha256sum <rows.db
sqlite3 rows.db .dump | sha256sum
sqlite3 :memory: <rows.sql | sha256sum
