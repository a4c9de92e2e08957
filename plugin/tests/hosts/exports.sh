#!/bin/sh
# Opens exported kits in other programs: plugin/tests/hosts/exports.sh [FOLDER]
#
# FOLDER is where the kits are written, target/exports unless told otherwise. Needs python3 with numpy. Plays the SFZ in
# sfizz_render, and installs and plays the drumkit in Hydrogen's h2cli, as far as these are installed; SFIZZ_RENDER may
# name the first. Ends with 0 if all held.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-target/exports}
rm -rf "$folder"
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
EXPORTS=$folder cargo test --workspace --lib -- --ignored a_kit_is_written_for_other_programs

sfizz=${SFIZZ_RENDER:-sfizz_render}
if command -v "$sfizz" >/dev/null; then
    echo "== SFZ in sfizz"
    python3 "$here/exports.py" notes "$folder/notes.mid"
    "$sfizz" --sfz "$folder/SFZ/Exported/Exported.sfz" --midi "$folder/notes.mid" --wav "$folder/sfizz.wav" \
        --samplerate 44100 --quality 3
    python3 "$here/exports.py" compare "$folder/sfizz.wav" "$folder/Folder of WAVs/Exported"
else
    echo "== sfizz is not installed"
fi

if command -v h2cli >/dev/null; then
    echo "== drumkit in Hydrogen"
    # Its own home: Hydrogen installs kits there.
    export HOME="$folder/home" QT_QPA_PLATFORM=offscreen
    mkdir -p "$HOME"
    kit=$folder/Hydrogen/Exported.h2drumkit
    h2cli -c "$kit" >"$folder/h2.log" 2>&1 || { cat "$folder/h2.log"; exit 1; }
    grep -q "is valid" "$folder/h2.log" || { cat "$folder/h2.log"; exit 1; }
    h2cli -i "$kit" >>"$folder/h2.log" 2>&1
    python3 "$here/exports.py" song "$HOME/.hydrogen/data/drumkits/Exported" "$folder/keys.h2song"
    h2cli -s "$folder/keys.h2song" -o "$folder/hydrogen.wav" -r 44100 -b 24 >>"$folder/h2.log" 2>&1
    python3 "$here/exports.py" compare "$folder/hydrogen.wav" "$folder/Folder of WAVs/Exported"
else
    echo "== Hydrogen is not installed"
fi
