#!/bin/sh
# Installs what building and testing audiodiff needs and this machine lacks: compilers of C and C++, ALSA's headers,
# Python and an X server without a screen for tests, Rust. With --mpi also what the feature `mpi` needs: Open MPI, and
# libclang, by which its headers are read. With --page also what making and testing the page for browsers needs: Rust's
# target for WebAssembly, and a browser with its driver, Chromium where there is no Chrome (Ubuntu has it as a snap alone).
# With --standalone also what building the instrument as a program of its own needs, and so packages: JACK's headers.
#
# For Debian, Ubuntu and their relatives. Does nothing where nothing is missing.
set -eu

mpi='' page='' standalone=''
for argument in "$@"; do
    case $argument in
        --mpi) mpi=1 ;;
        --page) page=1 ;;
        --standalone) standalone=1 ;;
        *)
            echo "setup.sh: expected nothing, --mpi, --page or --standalone, found $argument" >&2
            exit 2
            ;;
    esac
done

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install() {
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

missing=
{ command -v cc && command -v c++; } >/dev/null || missing="$missing build-essential"
command -v pkg-config >/dev/null || missing="$missing pkg-config"
command -v python3 >/dev/null || missing="$missing python3"
command -v Xvfb >/dev/null || missing="$missing xvfb"
if ! command -v pkg-config >/dev/null || ! pkg-config --exists alsa; then
    missing="$missing libasound2-dev"
fi
if [ -n "$mpi" ]; then
    command -v mpirun >/dev/null || missing="$missing openmpi-bin"
    command -v mpicc >/dev/null || missing="$missing libopenmpi-dev"
    # The link that only libclang's package for building has, of any version, in Debian and its relatives: the libraries
    # beside it, libclang-cpp.so.14 or libclang.so.1, come with other packages and lack the headers that it brings.
    ls -L /usr/lib/llvm-*/lib/libclang.so >/dev/null 2>&1 || missing="$missing libclang-dev"
fi
if [ -n "$standalone" ]; then
    { command -v pkg-config && pkg-config --exists jack; } >/dev/null || missing="$missing libjack-jackd2-dev"
fi
if [ -n "$page" ]; then
    { command -v google-chrome || command -v chromium; } >/dev/null || missing="$missing chromium"
    command -v chromedriver >/dev/null || missing="$missing chromium-driver"
fi
# shellcheck disable=SC2086 # one word a package
[ -z "$missing" ] || install $missing

# The distribution's own compiler is often too old; rustup's stub answers only once it has a toolchain.
PATH="$HOME/.cargo/bin:$PATH"
new_enough() {
    version=$(cargo --version 2>/dev/null | cut -d ' ' -f 2)
    [ -n "$version" ] && [ "$(printf '%s\n' 1.89 "$version" | sort -V | head -n 1)" = 1.89 ]
}
if ! new_enough; then
    command -v rustup >/dev/null || install rustup || {
        echo "setup.sh: rustup could not be installed; install Rust 1.89 or newer by hand, then try again" >&2
        exit 1
    }
    rustup update stable
    rustup default stable
fi
[ -z "$page" ] || rustup target add wasm32-unknown-unknown
