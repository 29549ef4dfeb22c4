#!/bin/bash
# ffmpeg: test pictures and tones filtered, encoded by 2 threads with 4 codecs, decoded and hashed
set -eu
run() { ffmpeg -hide_banner -loglevel error -nostdin -threads 2 "$@"; }
exact=(-fflags +bitexact -flags:v +bitexact -flags:a +bitexact)
source=(-f lavfi -i testsrc2=size=320x240:rate=25:duration=1 -f lavfi -i sine=frequency=440:duration=1)

for codec in mpeg4 mpeg2video ffv1 vp8; do
  case $codec in vp8) encoder=libvpx ;; *) encoder=$codec ;; esac
  run "${source[@]}" -c:v "$encoder" -threads 2 -b:v 500k -g 10 -c:a pcm_s16le "${exact[@]}" -y out.mkv
  echo "$codec $(sha256sum <out.mkv)"
  run -i out.mkv -map 0 -f streamhash -
done
run "${source[@]}" -filter_complex '[0:v]split=3[a][b][c];[b]hflip,boxblur=3[d];[c]scale=160:120,rotate=0.3[e];
  [a][d]blend=all_mode=average[f];[f][e]overlay=20:20,format=yuv420p[v];[1:a]aecho,atempo=1.3,volume=0.5[x]' \
  -map '[v]' -map '[x]' "${exact[@]}" -f framemd5 - | sha256sum
run "${source[@]}" -map 1:a -c:a flac "${exact[@]}" -f flac - | sha256sum
run "${source[@]}" -map 1:a -c:a ac3 "${exact[@]}" -f ac3 - | sha256sum
ffprobe -loglevel error -of json -show_packets -show_streams out.mkv | sha256sum
