#!/bin/sh
# Rebuilds the sounds the shipped model was trained on.
#
#     models/build-data.sh OUT [PACKAGES]
#
# OUT is a new folder: OUT/LABEL/*.wav and *.flac, OUT/manifest.csv (what came from whom, on which terms)
# and OUT/LICENSES/. PACKAGES is a folder of packages fetched before; what it lacks is fetched into it
# (600 MB). Without it they go to a temporary folder and are forgotten.
#
# Needs cargo, npm and, for apt-get and dpkg-deb, Debian or a relative of it. Nothing is installed and no
# rights are needed. Unpacked, the packages take 1.2 GB below TMPDIR.
set -eu

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: $0 OUT [PACKAGES]" >&2
    exit 2
fi
models=$(cd "$(dirname "$0")" && pwd)
out=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
packages=${2:-$work/packages}
unpacked=$work/unpacked
mkdir -p "$packages" "$unpacked"

# Prints the one file of PACKAGES that matches, fetching it with the rest of the arguments if there is none.
fetched() {
    pattern=$1
    shift
    if [ -z "$(find "$packages" -maxdepth 1 -name "$pattern")" ]; then
        (cd "$packages" && "$@" >&2)
    fi
    find "$packages" -maxdepth 1 -name "$pattern" | sort | tail -n 1
}

# Fetch and unpack, all into one tree.
for name in fluid-soundfont-gm fluid-soundfont-gs musescore-general-soundfont-lossless exadrums hydrogen-drumkits; do
    deb=$(fetched "${name}_*.deb" apt-get download "$name")
    dpkg-deb -x "$deb" "$unpacked"
done
archive=$(fetched 'supersonic-scsynth-samples-0.84.2.tgz' npm pack supersonic-scsynth-samples@0.84.2)
tar -xzf "$archive" -C "$unpacked"

# Whatever release the packages came from: the sounds inside are those the model learned.
if ! (cd "$unpacked" && sha256sum --check --quiet --strict "$models/data/SHA256SUMS") >&2; then
    echo "$0: these packages hold other sounds than the model was trained on" >&2
    exit 1
fi

cargo run --quiet --locked --manifest-path "$models/data/Cargo.toml" -- \
    collect --unpacked "$unpacked" --out "$out"
