#!/usr/bin/env python3
"""Times audiodiff's network against PyTorch and onnxruntime on this computer's processor.

    python3 benches/vs_torch.py [--quick] [--only forward1,train16] [--contenders ours,eager] [--threads 1,2] [--busy 1]

Makes a virtual environment with PyTorch, builds `benches/peer.rs`, builds the shipped network in PyTorch from the same
weights (or takes diffusers' own, where `--model` is Dance Diffusion's), checks that outputs and gradients agree, then
times. Each contender is a process that runs one step at a time; they take turns, so that all of them see the same noise
of the machine. With `--busy N` as many other programs compute all the while, each on one core. ATEN_CPU_CAPABILITY,
ONEDNN_MAX_CPU_ISA and AUDIODIFF_ISA are passed on. The last line is JSON.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ["torch", "onnxruntime", "onnx", "onnxscript", "numpy", "safetensors"]
# The last one that reads Dance Diffusion's folders.
DIFFUSERS = ["diffusers==0.35.2", "transformers"]
PASSED_ON = ["ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "AUDIODIFF_ISA"]
PRECISIONS = ["f32", "bf16"]
# What, on how many clips, and how often in a row when its turn comes: a rendering is many evaluations.
WORKLOADS = {"forward1": ("forward", 1, 8), "forward16": ("forward", 16, 1), "train16": ("train", 16, 1)}
CHOICES = {"only": list(WORKLOADS), "contenders": ["ours", "eager", "compile", "onnx"], "precisions": PRECISIONS}
# Dance Diffusion's network at its published size, and what makes it.
DANCE_FOLDER = ROOT / "target/dance/folder"
DANCE_SCRIPT = ROOT / "tests/reference/dance.py"
# What is timed of it: it is forty times as large.
DANCE = {"only": ["forward1"], "contenders": ["ours", "eager"]}
WARMUPS = 3
PAUSE = 0.03  # seconds before each step: the spinning threads of the one before go to sleep
LONG = 0.5  # a step that takes more seconds than this is not repeated within a turn
SLOW = 10.0  # a contender that takes more seconds than this for a step takes part in two rounds only
OUTPUT_TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 1e-3
# Computes until its standard input ends, which it does however this process ends.
DISTURBER = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0))).start()
while True: pass
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, default=ROOT / "target/vs-torch-venv", help="made if absent")
    parser.add_argument("--model", type=Path, default=ROOT / "models/drums.safetensors",
                        help="one of ours, a diffusers folder of Dance Diffusion, or `dance`: one of the published size "
                             "with random weights, made on first use (8 GB)")
    parser.add_argument("--rounds", type=int, help="default 15, 5 with --quick")
    parser.add_argument("--threads", default="1,2", help="default 1,2; only the most of them with --quick")
    for name, known in CHOICES.items():
        parser.add_argument(f"--{name}", default=",".join(known), help=f"some of {','.join(known)}")
    parser.add_argument("--quick", action="store_true", help="five rounds, largest thread count only")
    parser.add_argument("--busy", type=int, default=0, help="other programs that compute meanwhile, default none")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.rounds = args.rounds or (5 if args.quick else 15)
    args.threads = sorted(map(int, args.threads.split(",")))[-1 if args.quick else 0:]
    if str(args.model) == "dance":
        args.model = DANCE_FOLDER
    args.dance = args.model.is_dir() or args.model == DANCE_FOLDER
    for name, known in CHOICES.items():
        if args.dance and name != "precisions" and getattr(args, name) == ",".join(known):
            known = DANCE[name]
            setattr(args, name, ",".join(known))
        chosen = getattr(args, name).split(",")
        if unknown := set(chosen) - set(known):
            parser.error(f"--{name}: expected some of {', '.join(known)}, found {', '.join(unknown)}")
        setattr(args, name, chosen)
    return args


def enter_venv(venv: Path, packages: list[str]) -> None:
    """Goes on in a virtual environment that has everything, made on first use."""
    if Path(sys.prefix).resolve() == venv.resolve():
        return
    python = venv / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    names = [package.split("==")[0] for package in packages]
    found = f"import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, {names})))"
    if subprocess.run([python, "-c", found]).returncode:
        subprocess.run([python, "-m", "pip", "install", *packages], check=True)
    os.execv(python, [str(python), *sys.argv])


if __name__ == "__main__":
    wanted = arguments()
    enter_venv(wanted.venv, PACKAGES + (DIFFUSERS if wanted.dance else []))

import onnxruntime  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

# ---- The network of src/network/unet.rs, in PyTorch's own manner: [B, C, T]. ---------------------------


def conv(kernel: int, ci: int, co: int) -> nn.Conv1d:
    return nn.Conv1d(ci, co, kernel, padding=kernel // 2)


def modulate(x: Tensor, film: Tensor) -> Tensor:
    scale, shift = film.unsqueeze(-1).chunk(2, 1)
    return x * (1 + scale) + shift


class Attention(nn.Module):
    def __init__(self, c: int, groups: int, heads: int):
        super().__init__()
        self.norm, self.heads = nn.GroupNorm(groups, c), heads
        self.qkv, self.out = conv(1, c, 3 * c), conv(1, c, c)

    def forward(self, x: Tensor) -> Tensor:
        b, c, t = x.shape
        qkv = self.qkv(self.norm(x)).view(b, 3, self.heads, c // self.heads, t)
        q, k, v = qkv.transpose(-1, -2).contiguous().unbind(1)  # [B, H, T, D]
        y = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(y.transpose(-1, -2).reshape(b, c, t))


class Block(nn.Module):
    def __init__(self, c: int, embedding: int, groups: int, heads: int):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(groups, c), nn.GroupNorm(groups, c)
        self.conv1, self.conv2 = conv(3, c, c), conv(3, c, c)
        self.film = nn.Linear(embedding, 2 * c)
        self.attention = Attention(c, groups, heads) if heads else None

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(modulate(self.norm2(h), self.film(embedding))))
        return x + h if self.attention is None else self.attention(x + h)


class Skip(nn.Module):
    def __init__(self, c: int, embedding: int, groups: int):
        super().__init__()
        self.norm, self.film, self.out = nn.GroupNorm(groups, c), nn.Linear(embedding, 2 * c), conv(1, c, c)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.out(modulate(self.norm(x), self.film(embedding)))


class UNet(nn.Module):
    """The network with the weights of the model file at `path`."""

    def __init__(self, path: Path):
        super().__init__()
        with safe_open(path, "pt") as file:
            config = json.loads(file.metadata()["audiodiff"])
            weights = {name: file.get_tensor(name).float() for name in file.keys()}
        unet, self.width, self.outputs = config["network"], len(weights["stem.weight"]) // 3, len(weights["out.bias"])
        levels, e, groups, films = unet["levels"], unet["embedding"], unet["groups"], unet.get("film_skips", False)
        widths = [level["width"] for level in levels]
        kind = config["representation"]
        hop = kind[{"mdct": "bins", "wave": "patch", "mel": "hop"}[kind["kind"]]]
        self.frames = config["format"]["len_frames"] // hop
        self.noise1, self.noise2 = nn.Linear(32, e), nn.Linear(e, e)
        self.classes = nn.Embedding(len(config["labels"]) + 1, e)
        self.descriptors = nn.Linear(weights["descriptors"].shape[0], e, bias=False)
        self.position = nn.Linear(8, widths[0], bias=False)

        def side(c: int, blocks: int, last: bool) -> nn.ModuleList:
            heads = [c // unet["head_width"] if last and unet["head_width"] and j + 1 == blocks else 0
                     for j in range(blocks)]
            return nn.ModuleList(Block(c, e, groups, h) for h in heads)

        self.down, self.up = (nn.ModuleList(side(l["width"], l["blocks"], l is levels[-1]) for l in levels)
                              for _ in range(2))
        self.shrink = nn.ModuleList(nn.Conv1d(a, b, 2, stride=2) for a, b in zip(widths, widths[1:]))
        self.grow = nn.ModuleList(conv(1, b, 2 * a) for a, b in zip(widths, widths[1:]))
        self.stem, self.out = conv(3, self.width, widths[0]), conv(3, widths[0], self.outputs)
        self.norm, self.film = nn.GroupNorm(groups, widths[0]), nn.Linear(e, 2 * widths[0]) if films else None
        self.skip = nn.ModuleList(nn.ModuleList(Skip(level["width"], e, groups) for _ in range(level["blocks"]))
                                  for level in (levels if films else []))
        self.register_buffer("frequencies", math.tau * 0.25 * 64.0 ** (torch.arange(16) / 15), persistent=False)
        decays = torch.tensor([2.0, 5.0, 12.5, 31.25, 78.0, 195.0, 488.0, 1220.0])
        self.register_buffer("decays", torch.exp(-torch.arange(self.frames)[:, None] / decays), persistent=False)
        self.load_state_dict(self.as_theirs(weights))

    def forward(self, x: Tensor, c_noise: Tensor, classes: Tensor, descriptors: Tensor) -> Tensor:
        angles = c_noise[:, None] * self.frequencies
        embedding = self.noise2(F.silu(self.noise1(torch.cat([angles.sin(), angles.cos()], 1))))
        embedding = F.silu(embedding + self.classes(classes) + self.descriptors(descriptors))
        h, skips, bottom = self.stem(x) + self.position(self.decays).t(), [], len(self.down) - 1
        for i, blocks in enumerate(self.down):
            for block in blocks:
                h = block(h, embedding)
                skips.append(h)
            if i < bottom:
                h = self.shrink[i](h)
        for i in reversed(range(bottom + 1)):
            for j, block in reversed(list(enumerate(self.up[i]))):
                skip = skips.pop()
                h = (h + skip) * math.sqrt(0.5) if self.film is None else h + self.skip[i][j](skip, embedding)
                h = block(h, embedding)
            if i > 0:  # ConvTranspose1d is slower here, and has one bias for both frames
                h = self.grow[i - 1](h)
                b, c, t = h.shape
                h = h.view(b, 2, c // 2, t).permute(0, 2, 3, 1).reshape(b, c // 2, 2 * t)
        h = self.norm(h)
        return self.out(F.silu(h if self.film is None else modulate(h, self.film(embedding))))

    def as_theirs(self, ours: dict) -> dict:
        """Our parameters, or their gradients, by PyTorch's names and in its layouts."""
        theirs = {}
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv1d):  # [K·Ci, Co]
                shape = (module.kernel_size[0], module.in_channels, module.out_channels)
                theirs[f"{name}.weight"] = ours[f"{name}.weight"].view(shape).permute(2, 1, 0)
                theirs[f"{name}.bias"] = ours[f"{name}.bias"]
            elif isinstance(module, nn.GroupNorm):
                theirs[f"{name}.weight"], theirs[f"{name}.bias"] = ours[f"{name}.affine"]
            elif isinstance(module, nn.Embedding):
                theirs[f"{name}.weight"] = ours[name]
            elif isinstance(module, nn.Linear):
                theirs[f"{name}.weight"] = ours[f"{name}.weight" if f"{name}.weight" in ours else name].t()
                if module.bias is not None:
                    theirs[f"{name}.bias"] = ours[f"{name}.bias"]
        return theirs

    def batch(self, size: int):
        """Random inputs of `forward` and a target."""
        draw = torch.Generator().manual_seed(1)
        x, target = (torch.randn(size, width, self.frames, generator=draw) for width in (self.width, self.outputs))
        classes = torch.randint(0, self.classes.num_embeddings, (size,), generator=draw)
        descriptors = torch.randn(size, self.descriptors.in_features, generator=draw)
        return (x, torch.randn(size, generator=draw), classes, descriptors), target


class Dance(nn.Module):
    """Dance Diffusion's network as diffusers has it, in the coordinates of ours: mid and side, and ln(sigma)/4."""

    def __init__(self, path: Path):
        super().__init__()
        from diffusers import UNet1DModel

        self.net = UNet1DModel.from_pretrained(path / "unet", torch_dtype=torch.float32)
        self.frames = self.net.config.sample_size
        self.register_buffer("turn", torch.tensor([[1.0, 1.0], [1.0, -1.0]]) * math.sqrt(0.5), persistent=False)

    def forward(self, x: Tensor, c_noise: Tensor, _classes: Tensor, _descriptors: Tensor) -> Tensor:
        time = (4 * c_noise).exp().atan() * (2 / math.pi)
        return self.turn @ self.net(self.turn @ x, time).sample

    def batch(self, size: int, frames: int | None = None):
        """Random inputs of `forward` and a target."""
        draw = torch.Generator().manual_seed(1)
        x, target = torch.randn(2, size, 2, frames or self.frames, generator=draw)
        none = torch.zeros(size, dtype=torch.long)
        return (x, torch.randn(size, generator=draw), none, torch.zeros(size, 0)), target


def network(path: Path) -> UNet | Dance:
    """The network in the model file, or in a diffusers folder."""
    return Dance(path) if path.is_dir() else UNet(path)


# ---- A contender's process: the commands of benches/peer.rs, in PyTorch. -------------------------------


def peak_memory() -> float:
    """Peak resident MiB of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def gemm_peak() -> float:
    """The best GFLOP/s of a matrix product over a few sizes."""
    best = 0.0
    for n in [512, 768, 1024, 1536]:
        a, b, c = torch.randn(n, n), torch.randn(n, n), torch.empty(n, n)
        for _ in range(12):
            start = time.perf_counter()
            torch.mm(a, b, out=c)
            best = max(best, 2 * n**3 / (time.perf_counter() - start) / 1e9)
    return best


def prepare(model: UNet | Dance, kind: str, precision: str, workload: str, size: int):
    """The function to be timed."""
    inputs, target = model.batch(size)
    if kind == "onnx":
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        names = ["x", "c_noise", "classes", "descriptors"]
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "model.onnx")
            torch.onnx.export(model.eval(), inputs, path, input_names=names, dynamo=True)
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        feed = dict(zip(names, (tensor.numpy() for tensor in inputs)))
        return lambda: session.run(None, feed)
    run = torch.compile(model) if kind == "compile" else model
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    if workload == "forward":
        model.eval()

        def forward():
            with torch.no_grad() if kind == "compile" else torch.inference_mode(), autocast:
                run(*inputs)

        return forward
    return training_step(model, run, inputs, target, autocast)


def training_step(model, run, inputs, target, autocast):
    """A step of `model`, run by `run`: forward, mean squared error, backward, clipped AdamW, averaged weights."""
    parameters = list(model.parameters())
    averages, values = [p.detach().clone() for p in parameters], [p.detach() for p in parameters]
    adam = torch.optim.AdamW(parameters, lr=1e-6, betas=(0.9, 0.99), weight_decay=0.0, fused=True)

    def train():
        with autocast:
            output = run(*inputs)
        F.mse_loss(output.float(), target).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        adam.step()
        adam.zero_grad(set_to_none=True)
        torch._foreach_lerp_(averages, values, 0.01)

    return train


def serve(path: Path, kind: str, precision: str, threads: int) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not be taken for answers
    torch.set_num_threads(threads)
    model, answer = network(path), "ready"
    while True:
        print(answer, file=answers, flush=True)
        words = sys.stdin.readline().split()
        if not words:
            return
        try:
            if words[0] == "step":
                start = time.perf_counter()
                for _ in range(int(words[1])):
                    step()
                answer = (time.perf_counter() - start) / int(words[1])
            elif words[0] in (others := {"memory": peak_memory, "gemm": gemm_peak}):
                answer = others[words[0]]()
            else:
                step, answer = prepare(model, kind, precision, words[0], int(words[1])), "ready"
        except Exception as error:
            answer = f"error: {type(error).__name__}: {str(error).strip().splitlines()[0]}"


# ---- The contest. --------------------------------------------------------------------------------------


def build_peer() -> Path:
    command = ["cargo", "bench", "--no-run", "--bench", "peer", "--message-format=json-render-diagnostics"]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    return next(Path(m["executable"]) for m in messages if m.get("executable") and m["target"]["name"] == "peer")


class Failed(Exception):
    """A contender that cannot do what it was asked."""


class Contender:
    """A process that answers a line with a line."""

    def __init__(self, args: argparse.Namespace, kind: str, precision: str, threads: int):
        self.name, self.errors = f"{kind} {precision}", tempfile.TemporaryFile("w+")
        command = [args.peer, "--model", args.model, "--precision", precision]
        if kind != "ours":
            command = [sys.executable, __file__, "--venv", args.venv, "--model", args.model]
            command += ["--serve", f"{kind},{precision},{threads}"]
        counts = {f"{name}_NUM_THREADS": str(threads) for name in ["RAYON", "OMP", "MKL"]}
        self.process = subprocess.Popen(command, env=os.environ | counts, text=True, bufsize=1, stderr=self.errors,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def answer(self) -> str:
        line = self.process.stdout.readline().strip()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            line = "error: " + (self.errors.read().strip().splitlines() or ["it ended"])[-1]
        if line.startswith("error: "):
            raise Failed(f"{self.name}: {line.removeprefix('error: ')}")
        return line

    def ask(self, command: str) -> str:
        self.process.stdin.write(command + "\n")
        return self.answer()

    def step(self, times: int = 1) -> float:
        time.sleep(PAUSE)
        return float(self.ask(f"step {times}"))

    def close(self) -> None:
        self.process.communicate()


class Disturber:
    """Another program, which never sleeps.

    It stays in the session of the contenders: some systems share a core between sessions first, then between threads,
    and a session's second thread gets little of a core that another session keeps busy.
    """

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, "-c", DISTURBER], stdin=subprocess.PIPE)

    def close(self) -> None:
        self.process.communicate()


def error(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).abs().max() / expected.abs().max()).item()


def decibels(found, expected) -> float:
    noise = sum((f - e).square().sum().item() for f, e in zip(found, expected))
    return 10 * math.log10(sum(e.square().sum().item() for e in expected) / noise)


def outputs_of_ours(args: argparse.Namespace, precision: str, inputs, target: Tensor) -> dict:
    """What our network makes of a batch: its output, and the gradients of its parameters."""
    x, c_noise, classes, descriptors = inputs
    batch = {"x": x.mT.contiguous(), "target": target.mT.contiguous(), "c_noise": c_noise,
             "classes": classes.to(torch.uint32), "descriptors": descriptors}
    with tempfile.TemporaryDirectory() as folder, \
            closing(Contender(args, "ours", precision, args.threads[-1])) as peer:
        peer.answer()
        save_file(batch, f"{folder}/in.safetensors")
        peer.ask(f"compare {folder}/in.safetensors {folder}/out.safetensors")
        return {name.removeprefix("gradient."): t.float()
                for name, t in load_file(f"{folder}/out.safetensors").items()}


def outputs_agree(args: argparse.Namespace, model: Dance) -> dict:
    """Compares outputs for the shortest sound there is; exits when those of f32 are too far off."""
    inputs, target = model.batch(1, 24576)
    with torch.no_grad():
        expected = model(*inputs)
    result = {}
    for precision in args.precisions:
        try:
            output = outputs_of_ours(args, precision, inputs, target)["output"].mT
        except Failed as reason:
            print(f"agreement in {precision} not measured: {reason}")
            continue
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            theirs = model(*inputs).float()
        result |= {f"output_{precision}": error(output, expected), f"output_db_{precision}": decibels([output], [expected])}
        print(f"agreement with torch eager f32: ours in {precision} {result[f'output_{precision}']:.2e}, "
              f"{result[f'output_db_{precision}']:.1f} dB; torch's own {error(theirs, expected):.2e}")
        if precision == "f32" and result["output_f32"] > OUTPUT_TOLERANCE:
            sys.exit(f"they disagree: at most {OUTPUT_TOLERANCE} is expected")
    return result


def agreement(args: argparse.Namespace) -> dict:
    """Compares outputs and gradients with PyTorch's in f32; exits when those of f32 are too far off."""
    model, most = network(args.model), args.threads[-1]
    if isinstance(model, Dance):
        return outputs_agree(args, model)
    inputs, target = model.batch(2)

    def torchs(precision: str):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            output = model(*inputs).float()
        F.mse_loss(output, target).backward()
        return output.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}

    def ours(precision: str):
        found = outputs_of_ours(args, precision, inputs, target)
        return found["output"].mT, model.as_theirs(found)

    expected, slopes = torchs("f32")
    result = {}
    if "f32" in args.precisions:
        output, gradients = ours("f32")
        worst, name = max((error(gradients[name], slopes[name]), name) for name in slopes)
        result |= {"output_f32": error(output, expected), "gradient_f32": worst}
        print(f"agreement with torch eager f32, batch 2: output {result['output_f32']:.2e}, "
              f"gradients {worst:.2e} at worst ({name})")
        if not (result["output_f32"] <= OUTPUT_TOLERANCE and worst <= GRADIENT_TOLERANCE):
            sys.exit(f"they disagree: at most {OUTPUT_TOLERANCE} and {GRADIENT_TOLERANCE} are expected")
    for who, run in [("ours", ours), ("torch", torchs)] if "bf16" in args.precisions else []:
        try:
            output, gradients = run("bf16")
        except Failed as reason:
            print(f"agreement in bf16 not measured: {reason}")
            result |= {f"output_db_bf16_{who}": None, f"gradient_db_bf16_{who}": None}
            continue
        of_gradients = decibels([gradients[name] for name in slopes], slopes.values())
        result |= {f"output_db_bf16_{who}": decibels([output], [expected]), f"gradient_db_bf16_{who}": of_gradients}
        print(f"{who} in bf16, signal to error: output {result[f'output_db_bf16_{who}']:.1f} dB, "
              f"gradients {of_gradients:.1f} dB")
    return result


def contest(args: argparse.Namespace, name: str, threads: int) -> tuple[dict, dict, float | None]:
    """Seconds by contender and round, peak MiB by contender, and the GEMM peak if torch eager is there."""
    workload, size, times = WORKLOADS[name]
    running: list[Contender] = []
    rounds, gemm = {}, None
    for precision, kind in [(p, k) for p in args.precisions for k in args.contenders]:
        if kind == "onnx" and (workload, precision) != ("forward", "f32"):
            continue
        contender = Contender(args, kind, precision, threads)
        try:
            contender.answer()
            contender.ask(f"{workload} {size}")
            contender.step()  # compiles
            took = contender.step()
            slow, times = took > SLOW, 1 if took > LONG else times
            for _ in range(0 if slow else WARMUPS - 2):
                contender.step(times)
            running.append(contender)
            rounds[contender] = min(2, args.rounds) if slow else args.rounds
        except Failed as reason:
            print(f"{name}, {threads} threads: not measured: {reason}", flush=True)
            contender.close()
    seconds = {contender.name: [] for contender in running}
    for i in range(args.rounds):
        for contender in running:
            if i < rounds[contender]:
                seconds[contender.name].append(contender.step(times))
    memory = {contender.name: float(contender.ask("memory")) for contender in running}
    for contender in running:
        if contender.name == "eager f32":
            time.sleep(PAUSE)
            gemm = float(contender.ask("gemm"))
        contender.close()
    return seconds, memory, gemm


def ratio(seconds: dict, theirs: str, ours: str) -> float | None:
    """Their time over ours: the median of the ratios of the rounds that both took part in."""
    ratios = [a / b for a, b in zip(seconds.get(theirs, []), seconds.get(ours, []))]
    return statistics.median(ratios) if ratios else None


def smallest(values) -> float | None:
    """Unknown when any of them is."""
    values = list(values)
    return None if None in values else min(values, default=None)


def main(args: argparse.Namespace) -> None:
    if args.model == DANCE_FOLDER and not (args.model / "unet/diffusion_pytorch_model.safetensors").exists():
        command = [sys.executable, DANCE_SCRIPT, "--full", args.model.parent]
        subprocess.run(command, env={**os.environ, "AUDIODIFF_REFERENCE": "1"}, check=True)
    args.peer, most = build_peer(), args.threads[-1]
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    facts = {"processor": next(line.split(": ")[1] for line in lines if line.startswith("model name")),
             "cpu_capability": torch.backends.cpu.get_cpu_capability(),
             "overrides": {name: os.environ[name] for name in PASSED_ON if name in os.environ},
             "torch": torch.__version__, "onnxruntime": onnxruntime.__version__,
             "threads": most, "busy": args.busy, "rounds": args.rounds, "load_before": os.getloadavg()[0]}
    print(", ".join(f"{key} {value}" for key, value in facts.items()))
    torch.set_num_threads(most)
    result, model = {"agreement": agreement(args)}, network(args.model)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(*model.batch(1)[0])
    work = counter.get_total_flops() / 1e9  # by the direct algorithms
    header = "workload,threads,busy,contender,rounds,median ms,best ms,over ours,over our f32,peak MiB"
    rows = [header.split(",")]
    with ExitStack() as stack:
        for _ in range(args.busy):
            stack.enter_context(closing(Disturber()))
        measured = {(name, threads): contest(args, name, threads) for threads in args.threads for name in args.only}
    for (name, threads), (seconds, memory, gemm) in measured.items():
        for contender, times in seconds.items():
            overs = [ratio(seconds, contender, f"ours {p}") for p in (contender.split()[1], "f32")]
            overs = ["null" if over is None else f"{over:.2f}" for over in overs]
            times_ms = [f"{1e3 * time:.1f}" for time in (statistics.median(times), min(times))]
            counts = map(str, (threads, args.busy))
            rows.append([name, *counts, contender, str(len(times)), *times_ms, *overs, f"{memory[contender]:.0f}"])
        if name == "forward1" and gemm:
            shares = {kind: work / gemm / statistics.median(seconds[f"{kind} f32"])
                      for kind in ("ours", "eager") if f"{kind} f32" in seconds}
            print(f"{threads} threads: GEMM peak {gemm:.0f} GFLOP/s; batch 1, {work:.2f} GFLOP, runs at "
                  + ", ".join(f"{share:.0%} of it ({kind})" for kind, share in shares.items()))
            result |= {"batch1_peak_share": shares.get("ours"), "batch1_peak_share_eager": shares["eager"]}
            result |= {"gemm_peak_gflops": gemm, "evaluation_gflop": work}
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(c.ljust(w) if i in (0, 3) else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))))

    def at_most(name: str) -> tuple[dict, dict]:
        return measured.get((name, most), ({}, {}))[:2]

    for group, names in [("forward", ["forward1", "forward16"]), ("train", ["train16"])]:
        for p in PRECISIONS:
            done = [name for name in names if name in args.only]
            versus = {kind: smallest(ratio(at_most(n)[0], f"{kind} {p}", f"ours {p}") for n in done)
                      for kind in ("eager", "compile")}
            result |= {f"{group}_{p}_vs_{kind}": over for kind, over in versus.items()}
            result[f"{group}_{p}"] = smallest(versus.values())
    for p, key in zip(PRECISIONS, ("memory_train", "memory_train_bf16")):
        used = [at_most("train16")[1].get(f"{kind} {p}") for kind in ("ours", "eager")]
        result[key] = None if None in used else used[0] / used[1]
    short = ("forward_f32", "forward_bf16", "train_f32", "train_bf16", "memory_train")
    result = {key: result[key] for key in short} | result | facts | {"load_after": os.getloadavg()[0]}
    print(json.dumps(json.loads(json.dumps(result), parse_float=lambda digits: float(f"{float(digits):.4g}"))))


if __name__ == "__main__":
    arguments_ = arguments()
    if arguments_.serve:
        kind_, precision_, threads_ = arguments_.serve.split(",")
        serve(arguments_.model, kind_, precision_, int(threads_))
    else:
        main(arguments_)
