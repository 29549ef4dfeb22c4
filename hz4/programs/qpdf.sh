#!/bin/bash
# qpdf: a document of 300 pages is repaired, linearized, split, merged, encrypted, turned to JSON and checked
set -eu
# No cross-reference table: qpdf makes one.
awk 'BEGIN {
  print "%PDF-1.5\n1 0 obj << /Type /Catalog /Pages 2 0 R >> endobj"
  printf "2 0 obj << /Type /Pages /Count 300 /Kids ["
  for (i = 0; i < 300; i++) printf "%d 0 R ", 10 + 2 * i
  print "] /MediaBox [0 0 200 200] >> endobj"
  for (i = 0; i < 300; i++) {
    text = ""
    for (k = 0; k <= i % 40; k++) text = text sprintf("%d %d m %d %d l S\n", k, i, (k * 7919) % 200, (i * 31) % 200)
    printf "%d 0 obj << /Type /Page /Parent 2 0 R /Contents %d 0 R >> endobj\n", 10 + 2 * i, 11 + 2 * i
    printf "%d 0 obj << /Length %d >> stream\n%sendstream endobj\n", 11 + 2 * i, length(text), text
  }
  print "trailer << /Root 1 0 R /Size 700 >>\n%%EOF"
}' >raw.pdf
run() { qpdf --deterministic-id --warning-exit-0 --no-warn "$@"; }
run raw.pdf --compress-streams=y --object-streams=generate compressed.pdf
run compressed.pdf --linearize linear.pdf
run linear.pdf --qdf --normalize-content=y plain.pdf
run compressed.pdf --split-pages=25 part-%d.pdf
run --empty --pages part-*.pdf raw.pdf 1-50:even linear.pdf z-1 -- merged.pdf
run merged.pdf --rotate=+90:1-20 --overlay raw.pdf --to=1-5 -- --recompress-flate --compression-level=9 turned.pdf
run turned.pdf --json=2 --json-stream-data=inline turned.json
for file in compressed linear plain merged turned; do
  echo "$file $(sha256sum <$file.pdf) $(qpdf --show-npages $file.pdf)"
  qpdf --check $file.pdf | wc -l
done
sha256sum <turned.json
qpdf --encrypt user owner 256 -- merged.pdf secret.pdf
run --password=user --decrypt secret.pdf open.pdf
qdf() { run --qdf --force-version=1.7 "$1" -; }
cmp <(qdf open.pdf) <(qdf merged.pdf)
