#!/bin/sh
# Makes the README's picture of the window: plugin/picture.sh models/window.png
#
# Runs the instrument without a host on a screen of its own. Needs xvfb, xdotool, imagemagick and Mesa's software
# renderer (libgl1-mesa-dri).
set -eu

picture=$1
cargo build --release --package audiodiff-plugin --features standalone --bin audiodiff-standalone
program=${CARGO_TARGET_DIR:-target}/release/audiodiff-standalone
folder=${TMPDIR:-/tmp}/audiodiff-picture
# A project of its own, not the user's.
export LIBGL_ALWAYS_SOFTWARE=1 XDG_CONFIG_HOME="$folder" XDG_DATA_HOME="$folder"
# By then, all pads have their sounds. The window alone, at the size it opens with.
xvfb-run -a -s "-screen 0 1080x700x24" sh -c '
    "$1" --backend dummy & program=$!
    sleep 20
    xdotool mousemove 1 699
    sleep 5
    import -window root "$2"
    kill $program' sh "$program" "$picture"
