#!/bin/sh
# Rebuilds the sounds the shipped model was trained on.
#
#     models/build-data.sh [--partial] OUT [PACKAGES]
#
# OUT is a new folder: OUT/LABEL/*.wav and *.flac, OUT/manifest.csv (what came from whom, on which terms; its
# groups are the instruments, for `audiodiff train --labels`), OUT/CARD.md (what the model card says of it) and
# OUT/LICENSES/. OUT-held-out is another, of the sources that no training sees. PACKAGES is a folder of packages
# and repositories fetched before; what it lacks is fetched into it (about 1 GB). Without it they go to a
# temporary folder and are forgotten.
#
# What cannot be fetched is named, and nothing is made; with --partial the rest is made without it.
#
# Needs cargo, git, npm and, for apt-get and dpkg-deb, Debian or a relative of it. Nothing is installed and no
# rights are needed. Unpacked, the packages take 1.2 GB below TMPDIR.
set -eu

partial=
if [ "${1-}" = --partial ]; then
    partial=--partial
    shift
fi
if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: $0 [--partial] OUT [PACKAGES]" >&2
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
packages=$(cd "$packages" && pwd)

# Prints the one file of PACKAGES that matches, fetching it with the rest of the arguments if there is none.
fetched() {
    pattern=$1
    shift
    if [ -z "$(find "$packages" -maxdepth 1 -name "$pattern")" ]; then
        (cd "$packages" && "$@" >&2) || echo "$0: cannot fetch $pattern" >&2
    fi
    find "$packages" -maxdepth 1 -name "$pattern" | sort | tail -n 1
}

# Fetch and unpack, all into one tree.
for name in fluid-soundfont-gm fluid-soundfont-gs musescore-general-soundfont-lossless exadrums hydrogen-drumkits; do
    deb=$(fetched "${name}_*.deb" apt-get download "$name")
    [ -z "$deb" ] || dpkg-deb -x "$deb" "$unpacked"
done
archive=$(fetched 'supersonic-scsynth-samples-0.84.2.tgz' npm pack supersonic-scsynth-samples@0.84.2)
[ -z "$archive" ] || tar -xzf "$archive" -C "$unpacked"

# Of each repository the commit of the table, and of it the files whose sums we know.
repository() {
    tree=$packages/github.com/$1
    if [ "$(git -C "$tree" rev-parse --verify --quiet HEAD 2>&1)" != "$2" ]; then
        git init --quiet "$tree"
        git -C "$tree" sparse-checkout set --no-cone --stdin
        git -C "$tree" config remote.origin.url "https://github.com/$1"
        git -C "$tree" fetch --quiet --depth 1 --filter=blob:none origin "$2" &&
            git -C "$tree" checkout --quiet --detach FETCH_HEAD
    fi
}
ln -s "$packages/github.com" "$unpacked/github.com"
tail -n +2 "$models/data/repositories.tsv" | while IFS='	' read -r _ name commit _; do
    # As patterns: from the root, and `[`, `*`, `?`, `!` and `\` as themselves.
    sed -n "s|^[0-9a-f]*  github.com/$name/|/|p" "$models/data/SHA256SUMS" | sed 's/[][*?!\\]/\\&/g' |
        repository "$name" "$commit" || echo "$0: cannot fetch $name" >&2
done

# Whatever release the packages came from: the sounds inside are those the model learned.
sums=$models/data/SHA256SUMS
if ! (cd "$unpacked" && sha256sum --check --quiet --strict ${partial:+--ignore-missing} "$sums") >&2; then
    echo "$0: these packages lack sounds that the model was trained on, or hold others" >&2
    exit 1
fi

cargo run --quiet --locked --manifest-path "$models/data/Cargo.toml" -- \
    collect $partial --unpacked "$unpacked" --out "$out" --held-out "$out-held-out"
