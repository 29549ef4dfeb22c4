#!/bin/bash
# ghostscript: a PostScript program that draws 12 pages, rendered to rasters, made into PDF, and that rendered again
set -eu
cat >pages.ps <<'PS'
%!PS
/Times-Roman findfont 14 scalefont setfont
1 1 12 {
  /page exch def
  0 5 500 {
    /i exch def
    i 500 div 0.3 page 12 div setrgbcolor i 50 moveto 250 400 i 3 mul 100 500 i sub 700 curveto stroke
  } for
  0 1 40 { /n exch def 50 760 n 17 mul sub moveto page 10 string cvs show ( page, line ) show n 10 string cvs show } for
  gsave 300 300 translate page 10 mul rotate 0 0 100 0 360 arc clip
  0 0 moveto 200 200 lineto 30 setlinewidth stroke grestore
  /d 2000 dict def 0 1 1999 { d exch dup 100 string cvs exch 20 string exch pop put } for
  showpage
} for
PS
gs=(gs -q -dNOPAUSE -dBATCH -dSAFER -r50)
for device in ppmraw pgmraw pbmraw png16m jpeg bmp256; do
  "${gs[@]}" -sDEVICE=$device -sOutputFile=page-%02d.$device pages.ps
  cat page-*.$device | sha256sum
done
"${gs[@]}" -dNumRenderingThreads=2 -dBandHeight=50 -dMaxBitmap=10000 -sDEVICE=ppmraw -sOutputFile=- pages.ps | sha256sum
"${gs[@]}" -sDEVICE=pdfwrite -sOutputFile=pages.pdf pages.ps
"${gs[@]}" -sDEVICE=ppmraw -sOutputFile=- pages.pdf | sha256sum
"${gs[@]}" -sDEVICE=txtwrite -sOutputFile=- pages.pdf | sha256sum
