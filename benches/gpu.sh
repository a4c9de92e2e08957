#!/bin/sh
# Measures a GPU of NVIDIA's: whether it computes what the processor does, how fast, and beside PyTorch.
#
#     benches/gpu.sh [--device cpu] [--quick] [--minutes 8] [BINARY [OUT.jsonl]]
#
# BINARY is benches/gpu.rs, built beforehand on a machine with CUDA's toolkit (docs/figures.md says how); without one it
# is built here. OUT, target/gpu.jsonl by default, gets a line of JSON for each result as soon as it is there, so that
# the script may be stopped at any moment. The parts come in the order of their importance, each in a time box of its
# own; what would begin after the last minute is left out. PyTorch is used where PYTHON (python3) has it, and CUDA's
# libraries are taken from its wheels where the system has none. `--device cpu --quick` tries the script without a GPU.
set -u

cd "$(dirname "$0")/.." || exit 1
device=cuda quick='' minutes=8
while :; do
    case "${1-}" in
        --device) device=$2 && shift 2 ;;
        --quick) quick=--quick && shift ;;
        --minutes) minutes=$2 && shift 2 ;;
        -*) echo "gpu.sh: expected --device, --quick or --minutes, found $1" >&2 && exit 2 ;;
        *) break ;;
    esac
done
binary=${1-} out=${2-target/gpu.jsonl} python=${PYTHON:-python3}
mkdir -p "$(dirname "$out")" && : >"$out" || exit 1

# The folders of the libraries in PyTorch's wheels.
wheels=$("$python" -c 'import glob, nvidia
print(":".join(d for p in nvidia.__path__ for d in sorted(glob.glob(p + "/*/lib"))))' 2>/dev/null)
[ -n "$wheels" ] && export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$wheels"

if [ -z "$binary" ]; then
    features='' && [ "$device" = cuda ] && features='--features cuda'
    # shellcheck disable=SC2086 # none or two words
    built=$(cargo bench --no-run --bench gpu $features 2>&1) || { echo "$built" >&2 && exit 1; }
    binary=$(echo "$built" | sed -n 's/.*Executable.*(\(.*\))$/\1/p')
fi
if ! [ -x "$binary" ]; then
    echo "gpu.sh: expected a program at \`$binary\`" >&2
    exit 1
fi
case $binary in /*) ;; *) binary=$PWD/$binary ;; esac

begun=$(date +%s)
end=$((begun + minutes * 60))
errors=$(mktemp) && trap 'rm -f "$errors"' EXIT

# The last line of a text, fit for a string in JSON.
quoted() {
    tail -n 1 | tr -d '"\134' | tr -c '[:print:]' ' ' | cut -c 1-300
}

# part NAME SECONDS COMMAND…: runs it for at most so many seconds, and adds how it ended.
part() {
    name=$1 box=$2 start=$(date +%s) before=$(wc -l <"$out")
    shift 2
    left=$((end - start))
    [ "$box" -gt "$left" ] && box=$left
    if [ "$box" -lt 5 ]; then
        echo "{\"part\":\"end\",\"of\":\"$name\",\"skipped\":\"no time is left\"}" >>"$out"
        return
    fi
    timeout -k 5 "$box" "$@" >>"$out" 2>"$errors"
    code=$? took=$(($(date +%s) - start))
    what=$([ "$code" -ne 0 ] && quoted <"$errors")
    echo "{\"part\":\"end\",\"of\":\"$name\",\"code\":$code,\"seconds\":$took,\"box\":$box,\"error\":\"$what\"}" >>"$out"
    wrong=$(tail -n "+$((before + 1))" "$out" | grep -cE '"ok": ?false')
    echo "$name: $(($(wc -l <"$out") - before - 1)) results, $wrong not ok, code $code, $took s $what"
}

ours() {
    what=$1 box=$2
    shift 2
    # shellcheck disable=SC2086 # none or one word
    part "$what" "$box" "$binary" "$what" --device "$device" $quick "$@"
}

# Python gets a little longer than it is told, to say what it did not finish.
theirs() {
    seconds=$2 left=$((end - $(date +%s) - 15))
    [ "$seconds" -gt "$left" ] && seconds=$left
    # shellcheck disable=SC2086 # none or one word
    part "torch $1" $((seconds + 15)) "$python" benches/gpu.py "$1" --peer "$binary" --device "$device" \
        --seconds "$seconds" $quick
}

gpu=$(nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader 2>&1 | quoted)
torch=$("$python" -c 'import torch; print(torch.__version__)' 2>&1 | quoted)
missing=$(ldd "$binary" 2>/dev/null | sed -n 's/ => not found//p' | tr '\n' ' ' | quoted)
echo "{\"part\":\"facts\",\"gpu\":\"$gpu\",\"torch\":\"$torch\",\"processors\":$(nproc),\"device\":\"$device\",\
\"missing\":\"$missing\"}" >>"$out"
tail -n 1 "$out"

for precision in f32 bf16 tf32; do
    ours ops 40 --precision "$precision"
    ours network 30 --precision "$precision"
    ours training 30 --precision "$precision"
done
for precision in f32 bf16 tf32; do
    ours render 35 --precision "$precision"
done
batches='16,64,256' && [ -n "$quick" ] && batches=2
for precision in bf16 tf32 f32; do
    ours train 30 --precision "$precision" --batch "$batches"
done
theirs eager 90
ours profile 20 --precision bf16
theirs profile 25
ours memory 25 --precision bf16
theirs compile 150
wrong=$(grep -cE '"ok": ?false' "$out")
echo "{\"part\":\"summary\",\"not_ok\":$wrong,\"seconds\":$(($(date +%s) - begun))}" >>"$out"
tail -n 1 "$out"
