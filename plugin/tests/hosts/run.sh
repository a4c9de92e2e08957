#!/bin/sh
# Plays the bundles in hosts: plugin/tests/hosts/run.sh [FOLDER]
#
# FOLDER is where the bundles are, target/bundled unless told otherwise. Makes a Python environment beside
# them with the packages pedalboard and dawdreamer; needs python3-venv, xvfb, openbox, xdotool and
# imagemagick. Ardour 7 plays too if it is installed. Ends with 0 if all held.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
bundles=$(cd "${1:-target/bundled}" && pwd)
work=$bundles/hosts
mkdir -p "$work"

python=$work/venv/bin/python
[ -x "$python" ] || python3 -m venv "$work/venv"
"$python" -m pip install --quiet pedalboard==0.9.26 dawdreamer==0.9.0 mido numpy

echo "== CLAP"
python3 "$here/clap.py" "$bundles/audiodiff.clap"
echo "== VST3 in pedalboard"
"$python" "$here/vst3_pedalboard.py" "$bundles/audiodiff.vst3"
echo "== VST3 in DawDreamer"
# This host asks for its window's frame when it closes one, and is ended by X if the window manager was quicker.
for attempt in 1 2 3 4 5; do
    if xvfb-run -a -s "-screen 0 1280x900x24" sh -c 'openbox & sleep 1; "$@"' sh \
        "$python" "$here/vst3_dawdreamer.py" "$bundles/audiodiff.vst3" "$work/window.png" >"$work/dawdreamer.log" 2>&1
    then
        grep '^loaded\|^good' "$work/dawdreamer.log"
        break
    fi
    grep -q X_QueryTree "$work/dawdreamer.log" && [ "$attempt" -lt 5 ] || { cat "$work/dawdreamer.log"; exit 1; }
done

if ! command -v ardour7-lua >/dev/null; then
    echo "== Ardour 7 is not installed"
    exit
fi
echo "== VST3 in Ardour"
ardour=$work/ardour
rm -rf "$ardour"
# Its own home: Ardour scans for plugins and keeps what it found.
export HOME="$ardour/home" XDG_CONFIG_HOME="$ardour/home/config" XDG_CACHE_HOME="$ardour/home/cache"
mkdir -p "$HOME/.vst3" "$XDG_CONFIG_HOME/ardour7/scripts"
ln -s "$bundles/audiodiff.vst3" "$HOME/.vst3/"
cp "$here/ardour_notes.lua" "$XDG_CONFIG_HOME/ardour7/scripts/"
libraries=$(dirname "$(find /usr/lib /opt -name ardour-vst3-scanner 2>/dev/null | head -n 1)")
LD_LIBRARY_PATH=$libraries "$libraries/ardour-vst3-scanner" -q -f "$HOME/.vst3/audiodiff.vst3"

ardour7-lua "$here/ardour.lua" "$ardour"
# Ardour renders what its session marks as its range, which its scripts cannot set: here 8 s.
range='<Location id="99001" name="session" start="a0" end="a2257920000" flags="IsSessionRange"/>'
sed -i "s|<Locations/>|<Locations>$range</Locations>|" "$ardour/session/session.ardour"
ardour7-export -b float -o "$ardour/first.wav" "$ardour/session" session
ardour7-lua "$here/ardour.lua" "$ardour"
ardour7-export -b float -o "$ardour/second.wav" "$ardour/session" session
"$python" - "$ardour/first.wav" "$ardour/second.wav" <<'PYTHON'
import sys
import numpy as np
import pedalboard.io


def read(path):
    with pedalboard.io.AudioFile(path) as file:
        return file.read(file.frames)


first, second = map(read, sys.argv[1:])
notes = np.abs(first[:, :4 * 48000]).max(0).reshape(16, -1).max(1)
assert (notes > 0.01).all(), f"some of the notes are silent: {notes}"
assert (first == second).all(), f"opened again it differs by {np.abs(first - second).max()}"
PYTHON
echo "good; a session that was opened again renders the same"
