#!/bin/sh
# Installs what building audiodiff needs and this machine lacks: a C compiler, ALSA's headers, Rust.
#
# For Debian, Ubuntu and their relatives. Does nothing where nothing is missing.
set -eu

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install() {
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

missing=
command -v cc >/dev/null || missing="$missing build-essential"
command -v pkg-config >/dev/null || missing="$missing pkg-config"
if ! command -v pkg-config >/dev/null || ! pkg-config --exists alsa; then
    missing="$missing libasound2-dev"
fi
# shellcheck disable=SC2086 # one word a package
[ -z "$missing" ] || install $missing

if ! command -v cargo >/dev/null && [ ! -x "$HOME/.cargo/bin/cargo" ]; then
    install rustup || {
        echo "setup.sh: this release has no rustup package; install Rust 1.88 or newer, then try again" >&2
        exit 1
    }
    rustup default stable
fi
