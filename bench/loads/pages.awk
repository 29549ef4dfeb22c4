# A PDF of 1,700 pages, without a cross-reference table: qpdf makes one.
BEGIN {
  pages = 1700
  print "%PDF-1.5\n1 0 obj << /Type /Catalog /Pages 2 0 R >> endobj"
  printf "2 0 obj << /Type /Pages /Count %d /Kids [", pages
  for (i = 0; i < pages; i++) printf "%d 0 R ", 10 + 2 * i
  print "] /MediaBox [0 0 200 200] >> endobj"
  for (i = 0; i < pages; i++) {
    text = ""
    for (k = 0; k <= i % 40; k++) text = text sprintf("%d %d m %d %d l S\n", k, i, (k * 7919) % 200, (i * 31) % 200)
    printf "%d 0 obj << /Type /Page /Parent 2 0 R /Contents %d 0 R >> endobj\n", 10 + 2 * i, 11 + 2 * i
    printf "%d 0 obj << /Length %d >> stream\n%sendstream endobj\n", 11 + 2 * i, length(text), text
  }
  printf "trailer << /Root 1 0 R /Size %d >>\n%%%%EOF\n", 11 + 2 * pages
}
