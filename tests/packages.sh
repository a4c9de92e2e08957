#!/bin/sh
# Installs each package in a folder where nothing of audiodiff is, makes a sound there, and removes it again:
#
#     tests/packages.sh target/packages
#
# The Debian package and the archive go into a fresh Debian 12, made by mmdebstrap; the wheel into a fresh environment of
# `python3`. Kinds that are not in the folder are passed over, and named. Needs root for the Debian.
set -eu

packages=$(realpath "${1:?packages.sh: expected the folder of packages}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
    echo "packages.sh: $*" >&2
    exit 1
}

# Whether a file is a WAV with more than a tenth of a second in it.
sounds() {
    [ "$(head -c 4 "$1")" = RIFF ] && [ "$(wc -c < "$1")" -gt 10000 ] || fail "$1: expected a sound"
}

# The one file of a kind, for this processor where it is for one; nothing if there is none.
of_kind() {
    found=$(find "$packages" -maxdepth 1 -name "$1")
    case $found in
        "") echo "no $1 in $packages" >&2 ;;
        *"
"*) fail "$packages: expected one $1, found several" ;;
        *) echo "$found" ;;
    esac
}

arch=$(uname -m)
deb=$(of_kind "audiodiff_*_$(dpkg --print-architecture).deb")
archive=$(of_kind "audiodiff-*-$arch-unknown-linux-gnu.tar.gz")
wheel=$(of_kind "audiodiff-*-*linux_*$arch.whl")

if [ -n "$deb$archive" ]; then
    root=$work/root
    mmdebstrap --quiet --variant=apt --skip=cleanup/apt/lists bookworm "$root"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    inside() { chroot "$root" env HOME=/root DEBIAN_FRONTEND=noninteractive "$@"; }
    # None of these may lack a library.
    whole() {
        for file in "$@"; do
            # A window's libraries are looked for when it opens; all others are named.
            if inside ldd "$file" | grep "not found"; then fail "$file lacks a library"; fi
        done
    }
fi

if [ -n "$deb" ]; then
    cp "$deb" "$root/tmp/audiodiff.deb"
    inside apt-get install -y -qq --no-install-recommends /tmp/audiodiff.deb > "$work/log" || { cat "$work/log" >&2; exit 1; }
    rm "$root/tmp/audiodiff.deb"
    inside audiodiff --version --verbose
    inside audiodiff render --quiet -o /tmp/kick.wav --class kick
    sounds "$root/tmp/kick.wav"
    whole /usr/bin/audiodiff-standalone /usr/lib/clap/audiodiff.clap "/usr/lib/vst3/audiodiff.vst3/Contents/$arch-linux/audiodiff.so"
    # Its window's libraries are there, and a screen is all that it lacks.
    ! inside env -i HOME=/tmp /usr/bin/audiodiff-standalone 2> "$work/log" || fail "audiodiff-standalone runs without a screen"
    grep -q 'XOpenDisplay() failed' "$work/log" || { cat "$work/log" >&2; exit 1; }
    for file in usr/share/bash-completion/completions/audiodiff usr/share/man/man1/audiodiff-standalone.1.gz \
        usr/share/man/man1/audiodiff-train.1.gz usr/share/doc/audiodiff/THIRD-PARTY.txt usr/share/doc/audiodiff/book/index.html \
        usr/share/icons/hicolor/scalable/apps/audiodiff-standalone.svg; do
        [ -f "$root/$file" ] || fail "the package installs no $file"
    done
    inside apt-get purge -y -qq audiodiff > /dev/null
    left=$(find "$root" -xdev -name '*audiodiff*' -not -path "$root/tmp/*" -not -path "$root/var/log/*")
    [ -z "$left" ] || fail "removing leaves $left"
    echo "deb: installed, heard, removed; $(wc -c < "$deb") bytes"
fi

if [ -n "$archive" ]; then
    inside apt-get install -y -qq --no-install-recommends libasound2 > /dev/null
    tar -xzf "$archive" -C "$root/opt"
    at=/opt/$(basename "$archive" .tar.gz)
    inside "$at/audiodiff" render --quiet -o /tmp/snare.wav --class snare
    sounds "$root/tmp/snare.wav"
    whole "$at/audiodiff-standalone" "$at/audiodiff.clap"
    inside "$at/audiodiff" --version
    for file in README.md THIRD-PARTY.txt book/index.html; do
        [ -f "$root/$at/$file" ] || fail "the archive holds no $file"
    done
    echo "archive: unpacked and heard; $(wc -c < "$archive") bytes"
fi

if [ -n "$wheel" ]; then
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet --no-index "$wheel"
    "$work/venv/bin/audiodiff" render --quiet -o "$work/hat.wav" --class hat_closed
    sounds "$work/hat.wav"
    terms=$(find "$work/venv/lib" -name THIRD-PARTY.txt)
    grep -q '^symphonia ' "$terms" || fail "the wheel names no terms of others"
    "$work/venv/bin/pip" uninstall --quiet --yes audiodiff
    [ ! -e "$work/venv/bin/audiodiff" ] || fail "uninstalling leaves the program"
    echo "wheel: installed, heard, removed; $(wc -c < "$wheel") bytes"
fi
