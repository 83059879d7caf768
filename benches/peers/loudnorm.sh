#!/usr/bin/env bash
# ffmpeg's loudnorm as its documentation advises: measure, then normalise with what was measured.  loudnorm.sh IN OUT LUFS dBTP
# The filter works at 192 kHz, so the rate of the input has to be set again.
set -euo pipefail
goal="I=$3:TP=$4:LRA=11"
measured=$(ffmpeg -hide_banner -nostdin -nostats -i "$1" -af "loudnorm=$goal:print_format=json" -f null - 2>&1 | sed -n '/^{/,/^}/p')
figure() { sed -n "s/.*\"$1\" : \"\([^\"]*\)\".*/\1/p" <<<"$measured"; }
rate=$(ffprobe -v error -select_streams a:0 -show_entries stream=sample_rate -of csv=p=0 "$1")
known="measured_I=$(figure input_i):measured_TP=$(figure input_tp):measured_LRA=$(figure input_lra)"
known+=":measured_thresh=$(figure input_thresh):offset=$(figure target_offset)"
ffmpeg -y -v error -nostdin -i "$1" -af "loudnorm=$goal:linear=true:$known" -ar "$rate" -c:a pcm_s16le "$2"
