#!/usr/bin/env bash
# Builds the command line, the plugin and its host for Windows, runs all of it under Wine, and holds it to what the same
# commit does on Linux: tests/windows.sh [--dev] [--suite]
#
# --dev    builds without optimisation across crates, with debug assertions: the plugin aborts when `process` allocates
# --suite  runs the test suite under Wine too
#
# Installs nothing. Needs the Rust target x86_64-pc-windows-gnu, MinGW-w64 (gcc and g++), wine64 and xvfb; on Debian:
#     rustup target add x86_64-pc-windows-gnu
#     apt-get install gcc-mingw-w64-x86-64-posix g++-mingw-w64-x86-64-posix wine wine64 xvfb xauth x11-utils imagemagick
# Ends with 0 if all held.
set -euo pipefail
cd "$(dirname "$0")/.."

profile=release suite=
for argument in "$@"; do
    case $argument in
        --dev) profile=dev ;;
        --suite) suite=1 ;;
        *) echo "tests/windows.sh: expected --dev or --suite, found $argument" >&2; exit 2 ;;
    esac
done

target=x86_64-pc-windows-gnu
lacks=
for program in python3 x86_64-w64-mingw32-gcc x86_64-w64-mingw32-g++ x86_64-w64-mingw32-dlltool wine wineserver xvfb-run xwininfo import identify; do
    command -v "$program" >/dev/null || lacks="$lacks $program"
done
[ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] || lacks="$lacks rust-std($target)"
[ -z "$lacks" ] || { echo "tests/windows.sh: missing:$lacks" >&2; exit 1; }

out=$(cargo metadata --format-version 1 --no-deps --offline | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
work=$out/wine
# Where the processor multiplies in bf16, a last bit that the two systems' libraries of functions round differently
# becomes another sound of the same kind: what is compared is made with all digits.
export AUDIODIFF_ISA=avx2
rm -rf "$work"
mkdir -p "$work"
# A Windows of its own, without what asks to be downloaded, and without entries in this system's menus.
export WINEPREFIX="$work/prefix" WINEDEBUG=-all
export WINEDLLOVERRIDES="mscoree=;mshtml=;winemenubuilder.exe="
trap 'wineserver --kill || true' EXIT
wine wineboot --init >/dev/null 2>&1
# Rust's standard library asks this part of Windows for random numbers; Wine has it since version 9.
prng=$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll
if [ ! -e "$prng" ]; then
    x86_64-w64-mingw32-gcc -x c -shared -o "$prng" - -ladvapi32 <<'C'
#include <stddef.h>
__declspec(dllimport) unsigned char __stdcall SystemFunction036(void *into, unsigned long size);
__declspec(dllexport) int __stdcall ProcessPrng(void *into, size_t size) { return SystemFunction036(into, size); }
C
fi

say() { printf '== %s\n' "$*"; }
fail() { echo "tests/windows.sh: $*" >&2; exit 1; }

say "build ($profile)"
folder=$profile
[ "$profile" = dev ] && folder=debug
release=()
[ "$profile" = dev ] || release=(--release)
cargo build --workspace --locked --profile "$profile"
cargo build --workspace --locked --profile "$profile" --target "$target"
cargo xtask bundle --locked "${release[@]}"
mv "$out/bundled" "$work/linux"
cargo xtask bundle --locked "${release[@]}" --target "$target"
mv "$out/bundled" "$work/windows"

here=$out/$folder/audiodiff
host=$out/$folder/audiodiff-host
there() { wine "$out/$target/$folder/audiodiff.exe" "$@"; }
# A VST3 makes a hidden window, on whatever screen there is.
host_there() { xvfb-run -a wine "$out/$target/$folder/audiodiff-host.exe" "$@"; }
ls -l "$out/$target/$folder"/audiodiff.exe "$work"/windows/audiodiff.clap

say "sounds from the command line"
cd "$work"
for class in kick hat_closed bass cymbal; do
    "$here" -q render --class "$class" --seed 7 -o "linux-$class.wav"
    there -q render --class "$class" --seed 7 -o "windows-$class.wav"
    "$host" compare "linux-$class.wav" "windows-$class.wav" --within 1e-4
done
there -q render --init windows-kick.wav --strength 0.4 --seed 1 -o varied.flac

say "odd paths"
# A path of 300 characters, letters of other alphabets, both separators, a drive, the prefix that turns Windows' own
# reading of paths off.
long='C:\sounds\'$(printf 'a very long name %02d\\' $(seq 14))
for path in 'C:\sounds\Größe 太鼓 ☂\kick.wav' 'C:/sounds/forward/kick.wav' 'Z:kick-z.wav' "${long}kick.wav" \
    '\\?\C:\sounds\verbatim\kick.wav' '.\here\..\here.wav'; do
    there -q render --class kick --seed 7 -o "$path"
    there -q render --init "$path" --strength 0.3 --seed 1 -o 'C:\again.wav'
done
for file in "prefix/drive_c/sounds/Größe 太鼓 ☂/kick.wav" prefix/drive_c/sounds/forward/kick.wav here.wav; do
    cmp "$file" windows-kick.wav || fail "$file: expected the sound of seed 7"
done
for path in 'C:\sounds\a?b.wav' 'nul.wav' 'Q:\x.wav'; do
    if there -q render --class kick --seed 7 -o "$path" 2>said; then fail "$path was written"; fi
    grep -Fq "${path%\\*}" said || fail "$path: the refusal does not name it: $(cat said)"
done
there render --class kick --seed 7 -n 2 -o 'C:\many\k.wav' | tr -d '\r' >said
grep -Fq 'C:\many\k-02.wav' said || fail "expected the path as it was given, found $(cat said)"

say "check and train"
mkdir -p set/kick set/kick-2
for seed in 1 2 3 4; do
    "$here" -q render --class kick --seed $seed -o "set/kick/$seed.wav"
    "$here" -q render --class snare --seed $seed -o "set/kick-2/$seed.wav"
done
# Sounds that may not be written are read.
chmod a-w set/kick/*.wav
# As Excel saves it on Windows.
{
    printf '\xef\xbb\xbfpath,label\r\n'
    for seed in 1 2 3 4; do printf 'kick\\%s.wav,deep\r\nkick-2\\%s.wav,high\r\n' $seed $seed; done
} >set/labels.csv
for run in "$here" there; do
    if [ "$run" = there ]; then prefix=windows; else prefix=linux; fi
    "$run" check set --labels set/labels.csv --json | tr -d '\r' >"$prefix-check.json"
    # Twice: the second time it goes on.
    "$run" -q train set --labels set/labels.csv --from none --preset nano --steps 10 --seed 3 -o "$prefix-run"
    "$run" -q train set --labels set/labels.csv --from none --preset nano --steps 20 --seed 3 -o "$prefix-run"
    "$run" -q render --model "$prefix-run/model.safetensors" --class deep --no-trim --seed 1 -o "$prefix-learnt.wav"
done
sed 's/\\\\/\//g' windows-check.json | cmp - linux-check.json
"$host" compare linux-learnt.wav windows-learnt.wav --within 1e-4

learn() { there -q train set --labels set/labels.csv --from none --preset nano --steps 20 --seed 3 -o locked-run; }
learn &
until [ -e locked-run/.lock ]; do sleep 0.5; done
if learn 2>said; then fail "two trainings worked in one run folder"; fi
grep -q 'another training' said || fail "expected another training to be named, found $(cat said)"
wait $!

say "the plugin"
for kind in clap vst3; do
    "$host" play "linux/audiodiff.$kind" --wav "linux-$kind.wav" --save "linux-$kind.state"
    host_there play "windows/audiodiff.$kind" --wav "windows-$kind.wav" --save "windows-$kind.state"
    "$host" compare "linux-$kind.wav" "windows-$kind.wav" --within 1e-4
    # A project goes from one system to the other: its sounds are in it.
    "$host" play "linux/audiodiff.$kind" --open "windows-$kind.state" --wav "linux-$kind-opened.wav"
    host_there play "windows/audiodiff.$kind" --open "linux-$kind.state" --wav "windows-$kind-opened.wav"
    "$host" compare "windows-$kind.wav" "linux-$kind-opened.wav" --within 1e-6
    "$host" compare "linux-$kind.wav" "windows-$kind-opened.wav" --within 1e-6
done
"$host" compare windows-clap.wav windows-vst3.wav

say "its window"
# Wine draws what OpenGL shows into a window of X's own, the only one of that size that has no name.
cat >watch.sh <<'SH'
wine "$2" play "windows/audiodiff.$1" --window 20 &
until ! kill -0 $! 2>/dev/null; do
    for id in $(xwininfo -root -tree | grep '(has no name): ()  1200x760' | grep -o '0x[0-9a-f]*' | head -n 1); do
        import -window "$id" now.png && [ "$(identify -format %k now.png)" -gt 1000 ] && mv now.png "window-$1.png"
    done 2>/dev/null
    sleep 2
done
wait $!
SH
for kind in clap vst3; do
    xvfb-run -a -s "-screen 0 1400x1000x24" bash watch.sh "$kind" "$out/$target/$folder/audiodiff-host.exe"
    [ -s "window-$kind.png" ] || fail "window-$kind.png: expected a picture with more than 1000 colours, found none"
done

cd "$OLDPWD"
if [ "$profile" = release ]; then
    say "the archive"
    archive=$(cargo xtask package archive --target "$target" | tail -n 1)
    python3 -m zipfile -e "$archive" "$work/unpacked"
    cd "$work"/unpacked/*
    wine audiodiff.exe -q render --class kick --seed 7 -o kick.wav
    cmp kick.wav "$work/windows-kick.wav"
    wine audiodiff-standalone.exe --help >/dev/null
    for kind in clap vst3; do
        host_there play "audiodiff.$kind" --wav "$kind.wav"
        cmp "$kind.wav" "$work/windows-$kind.wav"
    done
    cd "$OLDPWD"
fi

if [ -n "$suite" ]; then
    say "the suite"
    # But what builds a program of its own, for this Windows has no cargo; what looks for a sound card, for helpers of Wine,
    # which that starts, keep hold of its output; and a folder of so many files that Wine, which looks through all their
    # names for each, needs hours.
    # The runner by a file's word: tests that run the program heed that of the environment, where there is none.
    cargo test --workspace --locked --target "$target" --config "target.$target.runner='wine'" --no-fail-fast -- \
        --skip a_program_of_ten_lines_renders_and_one_trains --skip the_live_example_plays_or_says_that_it_cannot \
        --skip a_folder_of_fifty_thousand_files_is_read_whole
fi
say "good"
