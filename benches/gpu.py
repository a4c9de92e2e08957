#!/usr/bin/env python3
"""PyTorch's side of `benches/gpu.sh`: the same network's training, in turns with ours.

    python3 benches/gpu.py PART --peer BINARY [--device cuda] [--seconds 120] [--quick]

`eager` compares outputs and gradients, then times training steps of both in f32, TF32 and bf16; `compile` does so for
torch.compile; `profile` says which kernels PyTorch's step spends its time in. Each result is a line of JSON on standard
output. It installs nothing: PyTorch must be there, safetensors and onnxruntime need not.
"""

import argparse
import importlib.util
import json
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import types
from contextlib import contextmanager
from pathlib import Path

import torch


class SafeFile:
    """What `vs_torch` uses of safetensors, for machines without it."""

    TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "U32": torch.int32}

    def __init__(self, path, _framework: str = "pt"):
        data = bytearray(Path(path).read_bytes())
        start = 8 + int.from_bytes(data[:8], "little")
        self.header = json.loads(data[8:start])
        self.about, self.data = self.header.pop("__metadata__", {}), data[start:]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def metadata(self) -> dict:
        return self.about

    def keys(self):
        return self.header.keys()

    def get_tensor(self, name: str) -> torch.Tensor:
        about = self.header[name]
        start, end = about["data_offsets"]
        tensor = torch.frombuffer(self.data[start:end], dtype=self.TYPES[about["dtype"]])
        return tensor.view(about["shape"])


def load_file(path) -> dict:
    file = SafeFile(path)
    return {name: file.get_tensor(name) for name in file.keys()}


def stand_in(name: str, **contents) -> None:
    """A module that `vs_torch` imports, where it is missing."""
    if name not in sys.modules and importlib.util.find_spec(name.partition(".")[0]) is None:
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(contents)


stand_in("safetensors.torch", load_file=load_file, save_file=None)
stand_in("safetensors", safe_open=SafeFile)
stand_in("onnxruntime")

from vs_torch import ROOT, F, UNet, decibels, error, training_step  # noqa: E402

# And the largest error of our output that passes, in parts of the largest value.
PRECISIONS = {"f32": 1e-4, "tf32": 2e-2, "bf16": 5e-2}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["eager", "compile", "profile"])
    parser.add_argument("--peer", required=True, help="benches/gpu.rs, built")
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--seconds", type=float, default=120, help="after these it begins nothing more")
    parser.add_argument("--quick", action="store_true", help="two clips, two rounds")
    args = parser.parse_args()
    args.end = time.monotonic() + args.seconds
    args.batches = [2] if args.quick else [64, 16, 256]
    args.rounds = 2 if args.quick else 7
    return args


def say(args: argparse.Namespace, **result) -> None:
    result = {"part": f"torch {args.part}"} | result
    text = json.dumps(json.loads(json.dumps(result), parse_float=lambda digits: float(f"{float(digits):.4g}")))
    print(text, flush=True)


def synchronize(args: argparse.Namespace) -> None:
    if args.device == "cuda":
        torch.cuda.synchronize()


def allow_tf32(allowed: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


class Ours:
    """`gpu serve`: a process that answers a line with a line."""

    def __init__(self, args: argparse.Namespace, precision: str):
        command = [args.peer, "serve", "--device", args.device, "--precision", precision]
        self.process = subprocess.Popen(command, text=True, bufsize=1, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.name, self.bound = f"ours {precision}", PRECISIONS[precision]
        self.answer()

    def answer(self) -> str:
        line = self.process.stdout.readline().strip()
        if not line or line.startswith("error: "):
            raise RuntimeError(f"{self.name}: {line.removeprefix('error: ') or 'it ended'}")
        return line

    def ask(self, command: str) -> str:
        self.process.stdin.write(command + "\n")
        return self.answer()

    def prepare(self, name: str, size: int) -> None:
        self.ask(f"train {name} {size}")

    def step(self, times: int) -> float:
        return float(self.ask(f"step {times}"))

    def release(self) -> None:
        self.ask("release")

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


class Theirs:
    """PyTorch's training step: forward, mean squared error, backward, clipped AdamW, average of the weights."""

    def __init__(self, args: argparse.Namespace, precision: str, compiled: bool, models: dict):
        self.name, self.args, self.precision = f"{'compile' if compiled else 'eager'} {precision}", args, precision
        self.compiled, self.models = compiled, models

    def prepare(self, name: str, size: int) -> None:
        args, device, is_gpu = self.args, self.args.device, self.args.device == "cuda"
        if is_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        model = UNet(self.models[name])
        inputs, target = model.batch(size)
        model, inputs, target = model.to(device), [x.to(device) for x in inputs], target.to(device)
        if self.compiled:
            torch._dynamo.reset()
        run = torch.compile(model, dynamic=False) if self.compiled else model
        autocast = torch.autocast(device, torch.bfloat16, enabled=self.precision == "bf16")
        self.train = training_step(model, run, inputs, target, autocast)
        self.step(1)
        self.step(2)
        self.peak = (torch.cuda.max_memory_allocated() - self.before) / 2**20 if is_gpu else None

    def step(self, times: int) -> float:
        allow_tf32(self.precision != "f32")
        synchronize(self.args)
        start = time.perf_counter()
        for _ in range(times):
            self.train()
        synchronize(self.args)
        return (time.perf_counter() - start) / times

    def release(self) -> None:
        self.train = None

    def close(self) -> None:
        pass


def in_turns(args: argparse.Namespace, name: str, size: int, contenders: list) -> None:
    """Times the contenders that can be prepared, and says each one's medians."""
    if time.monotonic() > args.end:
        return say(args, model=name, batch=size, error=f"not begun within {args.seconds:.0f} s")
    running = []
    for contender in contenders:
        start = time.perf_counter()
        try:
            contender.prepare(name, size)
            contender.step(3)
            running.append((contender, time.perf_counter() - start))
        except Exception as reason:
            text = str(reason).strip().splitlines() or [""]
            say(args, model=name, batch=size, contender=contender.name, error=f"{type(reason).__name__}: {text[0]}")
    # As many steps as take a quarter of a second or so: the clock of an idle GPU falls between turns.
    times = {contender: max(1, min(20, int(0.25 / contender.step(1)))) for contender, _ in running}
    seconds = {contender: [] for contender, _ in running}
    for i in range(args.rounds):
        if i < 2 or time.monotonic() < args.end:
            for contender, _ in running:
                seconds[contender].append(contender.step(times[contender]))
    for contender, prepared in running:
        median = statistics.median(seconds[contender])
        say(args, model=name, batch=size, contender=contender.name, rounds=len(seconds[contender]),
            steps_a_round=times[contender], median_ms=1e3 * median, least_ms=1e3 * min(seconds[contender]),
            clips_per_second=size / median, prepared_s=prepared, peak_mib=getattr(contender, "peak", None))
        contender.release()
    return None


def agreement(args: argparse.Namespace, name: str, ours: Ours, path: Path, folder: Path) -> None:
    """Says how far our output and gradients are from PyTorch's for the same batch: the largest error in parts of the
    largest value, and decibels of all."""
    file = folder / "compare.safetensors"
    ours.ask(f"compare {file} {name}")
    found = {key: tensor.to(args.device) for key, tensor in load_file(file).items()}
    model = UNet(path).to(args.device)
    allow_tf32(False)
    inputs = found["x"].mT.contiguous(), found["c_noise"], found["classes"].long(), found["descriptors"]
    output = model(*inputs)
    F.mse_loss(output, found["target"].mT).backward()
    ours_by_name = {key.partition(".")[2]: x for key, x in found.items() if key.startswith("gradient.")}
    gradients = model.as_theirs(ours_by_name)
    slopes = {key: p.grad for key, p in model.named_parameters()}
    worst, of = max((error(gradients[key], slopes[key]), key) for key in slopes)
    off = error(found["output"].mT, output)
    say(args, model=name, contender=ours.name, ok=off <= ours.bound, output=off, gradient=worst, gradient_of=of,
        output_db=decibels([found["output"].mT], [output]),
        gradients_db=decibels([gradients[key] for key in slopes], slopes.values()))


def profile(args: argparse.Namespace, models: dict) -> None:
    size = args.batches[0]
    theirs = Theirs(args, "bf16", False, models)
    theirs.prepare("built-in", size)
    activities = [torch.profiler.ProfilerActivity.CPU]
    activities += [torch.profiler.ProfilerActivity.CUDA] if args.device == "cuda" else []
    steps = 1 if args.quick else 5
    with torch.profiler.profile(activities=activities) as profiler:
        theirs.step(steps)

    def own(event) -> float:
        return event.self_device_time_total if args.device == "cuda" else event.self_cpu_time_total

    on_device = [event for event in profiler.key_averages() if not getattr(event, "is_user_annotation", False)
                 and (args.device == "cpu" or event.device_type == torch.autograd.DeviceType.CUDA)]
    total = sum(map(own, on_device))
    say(args, batch=size, contender=theirs.name, kernels_ms=total / steps / 1e3,
        launches=sum(event.count for event in on_device) // steps)
    for event in sorted(on_device, key=own, reverse=True)[:20]:
        say(args, batch=size, contender=theirs.name, kernel=event.key[:120], ms=own(event) / steps / 1e3,
            share=own(event) / total, count=event.count / steps)


@contextmanager
def served(args: argparse.Namespace, precisions):
    ours = []
    try:
        for precision in precisions:
            try:
                ours.append(Ours(args, precision))
            except Exception as reason:
                say(args, contender=f"ours {precision}", error=str(reason))
        yield ours
    finally:
        for peer in ours:
            peer.close()


def main(args: argparse.Namespace, folder: Path) -> None:
    models = {"built-in": ROOT / "models/drums.safetensors", "nano": folder / "nano.safetensors"}
    # What a stopped compiler leaves half done would break the next.
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "compiled")
    subprocess.run([args.peer, "model", models["nano"], "--model", "nano"], check=True)
    if args.part == "profile":
        return profile(args, models)
    if args.part == "eager":
        with served(args, PRECISIONS) as ours:
            for name, path in models.items():
                for peer in ours:
                    try:
                        agreement(args, name, peer, path, folder)
                    except Exception as reason:
                        say(args, model=name, contender=peer.name, error=str(reason))
            theirs = [Theirs(args, precision, False, models) for precision in PRECISIONS]
            for name in models:
                for size in args.batches:
                    in_turns(args, name, size, ours + theirs)
        return None
    with served(args, ["bf16"]) as ours:
        for name in models:
            for size in args.batches:
                doing = {"model": name, "batch": size, "contender": "compile bf16"}

                def give_up(*_, doing=doing):
                    say(args, **doing, error=f"not finished within {args.seconds:.0f} s")
                    for peer in ours:
                        peer.close()
                    shutil.rmtree(folder, ignore_errors=True)
                    os._exit(1)  # a compiler in the middle of its work would swallow an exception

                signal.signal(signal.SIGALRM, give_up)
                signal.signal(signal.SIGTERM, give_up)
                signal.alarm(max(1, math.ceil(args.end - time.monotonic())))
                contenders = [*ours, Theirs(args, "bf16", False, models), Theirs(args, "bf16", True, models)]
                in_turns(args, name, size, contenders)
    return None


if __name__ == "__main__":
    wanted = arguments()
    with tempfile.TemporaryDirectory() as made:
        main(wanted, Path(made))
