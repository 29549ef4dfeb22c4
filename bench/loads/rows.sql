-- Rows, an index, joins, texts that are built up, updates and deletes, in memory.
CREATE TABLE words(id INTEGER PRIMARY KEY, number INTEGER, word TEXT, data BLOB);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)
INSERT INTO words SELECT i, (i * 7919) % 200003, printf('word-%d-%s', (i * 31) % 1009, hex(i * 2654435761)),
                         zeroblob(i % 197) FROM n;
COMMIT;
CREATE INDEX by_word ON words(word, number);
SELECT substr(word, 1, 8) AS start, count(*), max(number) FROM words GROUP BY start ORDER BY start LIMIT 20;
UPDATE words SET word = word || upper(word), data = zeroblob(id % 1999) WHERE id % 7 = 0;
DELETE FROM words WHERE id % 3 = 0;
SELECT a.id, b.id FROM words a JOIN words b ON b.word = a.word AND b.id > a.id ORDER BY a.id, b.id LIMIT 20;
SELECT sum(length(list)) FROM (SELECT group_concat(word) AS list FROM words GROUP BY number % 1013);
SELECT sum(json_array_length(list)) FROM (SELECT json_group_array(word) AS list FROM words GROUP BY number % 113);
VACUUM;
SELECT count(*), total(number), min(word), max(word) FROM words;
