#!/usr/bin/env python3
"""Writes the files that tests/dance.rs reads: a small network of Dance Diffusion's shape in every form that people own.

    python3 tests/reference/dance.py [--full FOLDER]

With `--full` the files go to another folder, of the published sizes and without answers: 8 GB. Makes a virtual
environment with PyTorch and a diffusers that still loads such models. The network is diffusers' own, with random weights;
the names of the other programs are made from its names. Beside the files lie the answers: one forward pass with
gradients, and whole walks from the same noise.
"""

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUT = HERE / "dance"
PACKAGES = ["torch", "diffusers==0.35.2", "transformers", "safetensors", "numpy"]
FULL = "--full" in sys.argv
WIDTHS = [8, 32]  # the lowest level is as wide as the last of these
ATTENTION = 2  # the first level with attention
FRAMES = 24
STEPS = 5
if FULL:
    OUT = Path(sys.argv[sys.argv.index("--full") + 1])
    WIDTHS, ATTENTION, FRAMES = [128, 128, 256, 256] + [512] * 9, 8, 65536


def in_environment():
    """Goes on in an environment that has the packages."""
    if os.environ.get("AUDIODIFF_REFERENCE"):
        return
    place = Path(os.environ.get("AUDIODIFF_VENV", Path(tempfile.gettempdir()) / "audiodiff-reference"))
    python = place / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    os.execve(python, [python, __file__, *sys.argv[1:]], {**os.environ, "AUDIODIFF_REFERENCE": "1"})


in_environment()

import torch  # noqa: E402
from diffusers import IPNDMScheduler, UNet1DModel  # noqa: E402
from safetensors.torch import save_file  # noqa: E402


def network():
    torch.manual_seed(1)
    attends = ["Attn" if level >= ATTENTION else "" for level in range(1, len(WIDTHS))]
    config = dict(
        sample_size=FRAMES,
        sample_rate=44100,
        in_channels=2,
        out_channels=2,
        extra_in_channels=16,
        time_embedding_type="fourier",
        flip_sin_to_cos=True,
        use_timestep_embedding=False,
        freq_shift=0.0,
        down_block_types=["DownBlock1DNoSkip"] + [f"{kind}DownBlock1D" for kind in attends],
        mid_block_type="UNetMidBlock1D",
        up_block_types=[f"{kind}UpBlock1D" for kind in reversed(attends)] + ["UpBlock1DNoSkip"],
        block_out_channels=WIDTHS,
    )
    net = UNet1DModel(**config)
    with torch.no_grad():
        for name, value in net.named_parameters():
            if "group_norm" in name:
                value.copy_(torch.randn_like(value) * 0.3 + (1.0 if name.endswith("weight") else 0.0))
            # Numbers that 16 bits hold, so that every form holds the same network.
            value.copy_(value.half().float())
    return net


def original_names(state):
    """diffusers' names to those of the network's authors, tensors reshaped with them."""
    depth = len(WIDTHS) + 1
    layers = {"conv_1": "main.0", "group_norm_1": "main.1", "conv_2": "main.3", "group_norm_2": "main.4", "conv_skip": "skip"}
    made = {}

    def place(level, index):
        return f"net.{index}." if level == 0 else "net.3.main." + "7.main." * (level - 1) + f"{index}."

    def resnet(source, level, index):
        for theirs, ours in layers.items():
            for which in ("weight", "bias"):
                key = f"{source}.{theirs}.{which}"
                if key in state:
                    made[f"{place(level, index)}{ours}.{which}"] = state[key]

    def attention(source, level, index):
        if f"{source}.query.weight" not in state:
            return
        at = place(level, index)
        for which in ("weight", "bias"):
            made[f"{at}norm.{which}"] = state[f"{source}.group_norm.{which}"]
            qkv = torch.cat([state[f"{source}.{part}.{which}"] for part in ("query", "key", "value")])
            out = state[f"{source}.proj_attn.{which}"]
            made[f"{at}qkv_proj.{which}"] = qkv[..., None] if which == "weight" else qkv
            made[f"{at}out_proj.{which}"] = out[..., None] if which == "weight" else out

    for level in range(depth):
        for i in range(3):
            if level == 0:
                resnet(f"down_blocks.0.resnets.{i}", 0, i)
                resnet(f"up_blocks.{depth - 2}.resnets.{i}", 0, 4 + i)
            elif level == depth - 1:
                resnet(f"mid_block.resnets.{i}", level, 1 + 2 * i)
                attention(f"mid_block.attentions.{i}", level, 2 + 2 * i)
                resnet(f"mid_block.resnets.{3 + i}", level, 8 + 2 * i)
                attention(f"mid_block.attentions.{3 + i}", level, 9 + 2 * i)
            else:
                down, up = f"down_blocks.{level}", f"up_blocks.{depth - 2 - level}"
                resnet(f"{down}.resnets.{i}", level, 1 + 2 * i)
                attention(f"{down}.attentions.{i}", level, 2 + 2 * i)
                resnet(f"{up}.resnets.{i}", level, 8 + 2 * i)
                attention(f"{up}.attentions.{i}", level, 9 + 2 * i)
        if level > 0:
            made[place(level, 0) + "kernel"] = torch.zeros(8)
            made[place(level, 14) + "kernel"] = torch.zeros(8)
    made["timestep_embed.weight"] = state["time_proj.weight"][:, None]
    taken = sum(value.numel() for name, value in made.items() if not name.endswith("kernel"))
    own = sum(value.numel() for name, value in state.items() if not name.endswith("kernel"))
    assert taken == own, (taken, own)
    return made


def crash(steps):
    """The angles of CRASH as times, from 1 to 0."""
    t = torch.linspace(1, 0, steps + 1)
    sigma = torch.sin(t * math.pi / 2) ** 2
    return torch.atan2(sigma, (1 - sigma**2).sqrt()) / math.pi * 2


def v_ddim(model, x, steps):
    """v-diffusion's DDIM without noise, over CRASH's times."""
    times = crash(steps)
    for now, then in zip(times[:-1], times[1:]):
        v = model(x, now.expand(len(x)))
        alpha, sigma = torch.cos(now * math.pi / 2), torch.sin(now * math.pi / 2)
        clean, noise = alpha * x - sigma * v, sigma * x + alpha * v
        if then == 0:
            return clean
        x = torch.cos(then * math.pi / 2) * clean + torch.sin(then * math.pi / 2) * noise


def ipndm(model, x, steps):
    """As DanceDiffusionPipeline runs it."""
    scheduler = IPNDMScheduler()
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        x = scheduler.step(model(x, t.expand(len(x))), t, x).prev_sample
    return x


class AttributeDict(dict):
    """Stands for the class of that name that Lightning saves hyper-parameters as."""


def main():
    if not FULL:
        shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True, exist_ok=FULL)
    net = network()
    forward = lambda x, t: net(x, t).sample  # noqa: E731
    state = {name: value.detach().clone() for name, value in net.state_dict().items()}
    own = original_names(state)
    half = {name: value.half() for name, value in own.items()}
    # What was not averaged is another network: whoever takes it is found out.
    raw = {name: value + 1 for name, value in half.items()}

    def below(prefix, tensors):
        return {prefix + name: value for name, value in tensors.items()}

    # The trainer's own checkpoint, with what resuming needs and a class that reading must not need.
    AttributeDict.__module__ = "lightning_utilities.core.apply_func"
    for module in ("lightning_utilities", "lightning_utilities.core", AttributeDict.__module__):
        sys.modules[module] = sys.modules[__name__]
    steps = {0: {"exp_avg": torch.zeros(7), "step": 3}}
    if FULL:  # as much as there is in a file that training can go on from
        raw = {name: value.float() for name, value in raw.items()}
        zeros = [torch.zeros_like(value) for value in raw.values()]
        steps = {i: {"exp_avg": x, "exp_avg_sq": x.clone(), "step": 3} for i, x in enumerate(zeros)}
    moments = {"state": steps, "param_groups": [{"lr": 4e-5, "params": [0]}]}
    note = AttributeDict(sample_rate=44100, name="fixture")
    lightning = {
        "epoch": 1,
        "global_step": 3,
        "pytorch-lightning_version": "1.7.7",
        "state_dict": {**below("diffusion.", raw), **below("diffusion_ema.", own if FULL else half)},
        "optimizer_states": [moments],
        "hyper_parameters": note,
    }
    torch.save(lightning, OUT / "lightning.ckpt")
    torch.save({"state_dict": below("diffusion_ema.", half)}, OUT / "trimmed.ckpt")
    converted = {
        "state_dict": below("diffusion_ema.", half),
        "model_config": {
            "model_info": {"native_chunk_size": FRAMES, "sample_rate": 44100},
            "diffusion_config": {"n_attn_layers": 1},
        },
    }
    torch.save(converted, OUT / "converted.ckpt", pickle_protocol=4)
    tools = {
        "model_type": "diffusion_uncond",
        "sample_size": FRAMES,
        "sample_rate": 44100,
        "model": {"type": "DAU1d", "config": {"n_attn_layers": 1, "depth": len(WIDTHS) + 1}},
    }
    for kind in ("wrapped", "unwrapped"):
        (OUT / kind).mkdir(exist_ok=FULL)
        (OUT / kind / "model_config.json").write_text(json.dumps(tools, indent=1))
    wrapped = {
        **below("diffusion.model.", raw),
        **below("diffusion_ema.ema_model.", half),
        "diffusion_ema.initted": torch.tensor([True]),
        "diffusion_ema.step": torch.tensor([5]),
    }
    torch.save({"state_dict": wrapped, "epoch": 2}, OUT / "wrapped" / "tools.ckpt")
    save_file(below("model.", half), OUT / "unwrapped" / "tools.safetensors")

    for kind in ("folder", "folder_bin"):
        (OUT / kind / "unet").mkdir(parents=True, exist_ok=FULL)
        index = {"_class_name": "DanceDiffusionPipeline", "unet": ["diffusers", "UNet1DModel"]}
        (OUT / kind / "model_index.json").write_text(json.dumps(index))
        config = {"_class_name": "UNet1DModel", **{k: v for k, v in net.config.items() if not k.startswith("_")}}
        (OUT / kind / "unet" / "config.json").write_text(json.dumps(config, indent=1))
    halves = {name: value.half() for name, value in state.items()}
    save_file(halves, OUT / "folder" / "unet" / "diffusion_pytorch_model.safetensors")
    torch.save(halves, OUT / "folder_bin" / "unet" / "diffusion_pytorch_model.bin")

    if FULL:
        return

    # The answers.
    torch.manual_seed(2)
    x = torch.randn(2, 2, FRAMES)
    t = torch.tensor([0.1, 0.9])
    probe = torch.randn(2, 2, FRAMES)
    leaf = x.clone().requires_grad_()
    v = forward(leaf, t)
    (v * probe).sum().backward()
    gradients = original_names({name: value.grad for name, value in net.named_parameters()} | {"time_proj.weight": torch.zeros(8)})
    shown = [
        "net.0.main.0.weight",
        "net.6.main.3.bias",
        "net.3.main.8.main.0.weight",
        "net.3.main.8.skip.weight",
        "net.3.main.7.main.2.qkv_proj.weight",
        "net.3.main.7.main.13.norm.weight",
    ]
    with torch.no_grad():
        answers = {
            "x": x,
            "t": t,
            "probe": probe,
            "v": v,
            "times": crash(STEPS),
            "ddim": v_ddim(forward, x, STEPS),
            "ipndm": ipndm(forward, x, STEPS),
            **{f"gradient.{name}": gradients[name] for name in shown},
        }
    answers = {name: value.detach().float().contiguous() for name, value in answers.items()}
    save_file(answers, OUT / "answers.safetensors")
    for path in sorted(OUT.rglob("*")):
        if path.is_file():
            print(f"{path.stat().st_size:9} {path.relative_to(HERE)}")


main()
