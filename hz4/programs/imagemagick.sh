#!/bin/bash
# imagemagick: pictures drawn, blurred, turned, quantized and compared, in 2 threads, and written in 6 formats
set -eu
export MAGICK_THREAD_LIMIT=2
convert -size 320x240 gradient:red-blue -swirl 90 -fill white -draw 'circle 100,100 150,120 line 0,0 300,200' one.miff
convert -size 320x240 plasma:fractal -seed 7 -modulate 100,50 miff:- >/dev/null
convert one.miff \( +clone -flip -blur 0x4 \) -compose multiply -composite -resize 150% -rotate 13 -sharpen 0x1 two.miff
convert one.miff two.miff -append -colors 64 -dither FloydSteinberg three.miff
convert one.miff -virtual-pixel tile -distort Perspective '0,0 10,20 320,0 300,5 0,240 0,230 320,240 310,200' four.miff
for file in one two three four; do
  for format in png jpg gif bmp pgm tga; do convert $file.miff -strip $file.$format; done
  identify -format '%f %m %wx%h %# %k\n' $file.miff $file.jpg $file.gif $file.pgm
done
compare -metric AE one.miff four.miff null: 2>&1 || echo " status $?"
convert -delay 5 one.miff four.miff -morph 5 -layers optimize animation.gif
identify -format '%T %# ' animation.gif
