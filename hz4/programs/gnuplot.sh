#!/bin/bash
# gnuplot: surfaces, fits, histograms and 20,000 points, drawn to SVG, PostScript and text
set -eu
seq 1 20000 | awk '{ print $1, $1 * 7919 % 1009, sin($1 / 500) + ($1 * 31 % 97) / 100 }' >data
cat >script.gp <<'GP'
set print "-"
set fit quiet logfile "fit.log"
f(x) = a * sin(x / b) + c
a = 0.8; b = 490.0; c = 0.4
fit f(x) "data" using 1:3 via a, b, c
print sprintf("%.6f %.6f %.6f", a, b, c)
stats "data" using 2:3 name "s" nooutput
print sprintf("%d %.6f %.6f", s_records, s_mean_y, s_correlation)
set samples 500; set isosamples 60; set dgrid3d 30, 30
do for [name in "svg postscript fig"] {
  set terminal name; set output name
  plot "data" using 1:3 with dots, "" using 1:2 smooth csplines, f(x) with filledcurves, \
       "" using 2:(1) smooth frequency with boxes
  splot sin(x) * cos(y) with pm3d, "data" every 50 using 1:2:3 with lines
}
array A[2000]
do for [i = 1:2000] { A[i] = sprintf("%d-%s", i, i > 1 ? A[i - 1] : ""); if (strlen(A[i]) > 300) { A[i] = "" } }
print strlen(A[700]), " ", words(A[3])
GP
gnuplot script.gp
for name in svg postscript fig; do grep -v Date $name | sha256sum; done
