"""Everything that needs a GPU, in one run of at most eight minutes; it installs nothing.

    python benchmarks/gpu.py [--fashion FOLDER] [--only fashion,rate,...] [--save]
    python benchmarks/gpu.py --device cpu --quick     # only to see that it runs

Each row is a process of its own with a limit in seconds; one that fails or takes too long is named
and the others go on. Without the IDX files of Fashion-MNIST in FOLDER, images are generated, and
accuracies say nothing. Rates of torchloupe are those that its log lines give, the median; the loop
beside it is written by hand and compiled, with its data on the device.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fashion
import numpy as np
import torch
import torch.nn.functional as F
from table import Table
from torch import nn
from torchvision.models import resnet50
from turns import Answer, Failure, answer, ask, say

from torchloupe.hardware.footprint import measure_footprint
from torchloupe.hardware.precision import Precision
from torchloupe.model.muon import Muon
from torchloupe.model.zoo import ResidualNet

SECONDS = 480  # for everything
CLASSES = 10
Sizes = dict[str, int]
FULL: Sizes = {"count": 60_000, "batch": 512, "steps": 200, "photos": 2048, "photo_batch": 128}
QUICK: Sizes = {"count": 600, "batch": 32, "steps": 4, "photos": 16, "photo_batch": 4}


@dataclass(frozen=True)
class Here:
    """What a part is measured with."""

    place: Path  # an empty folder
    device: str
    sizes: Sizes
    fashion: str  # the folder of Fashion-MNIST, or nothing


def make_table(device: str, quick: bool, folder: str, only: list[str]) -> Table:
    """One row for each part that was asked for."""
    name = torch.cuda.get_device_name() if device == "cuda" else "the CPU"
    table = Table("gpu", f"on {name}", ("what", "seen", "beside it", "seconds"))
    end = time.perf_counter() + SECONDS
    for part in only:
        say(part)
        start = time.perf_counter()
        case = {"part": part, "device": device, "quick": quick, "folder": folder}
        left = end - start
        try:
            found = ask(__file__, case, seconds=left) if left > 0 else Failure("no time was left")
        except subprocess.TimeoutExpired:
            found = Failure("stopped: no time was left")
        seconds = f"{time.perf_counter() - start:.0f}"
        if isinstance(found, Failure):
            table.add(part, f"failed: {found.reason}", "", seconds)
            continue
        for row in found["rows"]:
            table.add(*row, seconds)
        for goal in found.get("goals", []):
            table.expect(*goal)
    return table


def measure(part: str, device: str, quick: bool, folder: str) -> Answer:
    """The rows of one part."""
    with tempfile.TemporaryDirectory(prefix="loupe-gpu-") as name:
        return PARTS[part](Here(Path(name), device, QUICK if quick else FULL, folder))


def to_94(here: Here) -> Answer:
    """Fashion-MNIST: test accuracy, and the seconds of training."""
    data, is_real = here.fashion, bool(here.fashion)
    if not is_real:
        data = str(make_arrays(here.place, here.sizes["count"], 28, 1))
    run = loupe(
        here.place,
        "train",
        data,
        "--epochs",
        1 if here.sizes is QUICK else 12,
        "--device",
        here.device,
    )
    seconds, accuracy = run["train"]["seconds"], 100 * run["test"]["accuracy"]
    goals = [("94 % of Fashion-MNIST", "<= 5 s of training", f"{accuracy:.2f} % in {seconds:.1f} s",
              accuracy >= 94 and seconds <= 5)] if is_real else []  # fmt: skip
    what = "Fashion-MNIST, test accuracy" if is_real else "generated images, test accuracy"
    return {
        "rows": [(what, f"{accuracy:.2f} % in {seconds:.1f} s of training", "")],
        "goals": goals,
    }


def rate(here: Here) -> Answer:
    """Images a second of the residual net, beside a compiled loop written by hand."""
    arrays = make_arrays(here.place, here.sizes["count"], 32, 3)
    batch, fmt = here.sizes["batch"], "bf16"
    options = ["--set", f"train.batch_total={batch}", "--precision", fmt, "--device", here.device]
    options += ["--set", "optimizer.name=adamw", "--set", "optimizer.lr=0.005", "--epochs", 3]
    rates = {}
    for compiled in ("false", "true") if here.sizes is FULL else ("false",):
        run = loupe(here.place, "train", arrays, "--model", "residual", *options,
                    "--set", f"hardware.compile={compiled}")  # fmt: skip
        rates[compiled] = run["train"]["images_per_second"]
    images = torch.from_numpy(np.load(arrays)["images"]).to(here.device)
    labels = torch.from_numpy(np.load(arrays)["labels"]).to(here.device)
    by_hand = time_loop(ResidualNet(3, CLASSES), images, labels, batch, here.sizes, here.device)
    best = max(rates.values())
    said = ", ".join(f"compile={name} {value:,.0f}" for name, value in rates.items())
    goal = (
        f"rate in {fmt}",
        ">= 95 % of the loop",
        f"{best / by_hand:.0%}",
        best >= 0.95 * by_hand,
    )
    row = (f"residual net, 32x32x3, batch {batch}, {fmt}: images/s", said, f"{by_hand:,.0f}")
    return {"rows": [row], "goals": [goal]}


def photographs(here: Here) -> Answer:
    """ResNet-50 at 224 from arrays in the device's memory, in each fast format."""
    arrays = make_arrays(here.place, here.sizes["photos"], 224, 3)
    rows = []
    for fmt in ("bf16", "fp16") if here.device == "cuda" else ("bf16",):
        run = loupe(here.place, "train", arrays, "--model", "torchvision:resnet50", "--strategy",
                    "scratch", "--epochs", 2, "--precision", fmt, "--device", here.device,
                    "--set", f"train.batch_total={here.sizes['photo_batch']}")  # fmt: skip
        images = torch.from_numpy(np.load(arrays)["images"]).to(here.device)
        labels = torch.from_numpy(np.load(arrays)["labels"]).to(here.device)
        model = resnet50(num_classes=CLASSES)
        steps = {**here.sizes, "steps": min(here.sizes["steps"], 30)}
        by_hand = time_loop(
            model, images, labels, here.sizes["photo_batch"], steps, here.device, fmt
        )
        shown = f"{run['train']['images_per_second']:,.0f}"
        rows.append((f"ResNet-50, 224x224, {fmt}: images/s", shown, f"{by_hand:,.0f}"))
    return {"rows": rows}


def out_of_memory(here: Here) -> Answer:
    """A batch that does not fit: the run goes on in smaller micro-batches and ends."""
    arrays = make_arrays(here.place, here.sizes["photos"], 224, 3)
    batch = here.sizes["photos"] * 3 // 4
    words = ["--model", "torchvision:resnet50", "--strategy", "scratch", "--epochs", 1]
    words += ["--device", here.device, "--precision", "fp32", "--set", f"train.batch_total={batch}"]
    run = loupe(here.place, "train", arrays, *words)
    lines = (here.place / "run" / "events.jsonl").read_text().splitlines()
    found = [e["images_at_once"] for e in map(json.loads, lines) if "images_at_once" in e]
    shown = f"{len(found)} times, {found[-1]} images at once in the end" if found else "it fitted"
    return {"rows": [("out of memory in a step", shown, f"{run['train']['steps']} steps taken")]}


def memory(here: Here) -> Answer:
    """The footprint of a step against the peak of torch's allocator."""
    model = resnet50(num_classes=CLASSES).to(here.device)
    images = torch.rand(here.sizes["photo_batch"], 3, 224, 224, device=here.device)
    labels = torch.zeros(len(images), dtype=torch.long, device=here.device)
    optimizer = torch.optim.AdamW(model.parameters())
    precision = Precision("fp32", torch.device(here.device))
    found = measure_footprint(model, images, labels, nn.CrossEntropyLoss(), optimizer, precision)
    counted = max(found.peaks.values()) / 2**20
    beside = ""
    if here.device == "cuda":
        beside = f"{torch.cuda.max_memory_allocated() / 2**20:,.0f} MB allocated"
    return {"rows": [("memory of a step of ResNet-50", f"{counted:,.0f} MB counted", beside)]}


def parallel(here: Here) -> Answer:
    """DDP and DataParallel on one device: the same losses as without, within rounding."""
    arrays = make_arrays(here.place, min(here.sizes["count"], 4096), 32, 3)
    words = ["train", arrays, "--model", "cnn", "--epochs", 1, "--precision", "fp32"]
    losses = {}
    for kind in ("none", "ddp", "dp") if here.device == "cuda" else ("none", "ddp"):
        more = ["--parallel", kind] if kind != "none" else []
        starter = ["-m", "torch.distributed.run", "--nproc-per-node", "1"] if kind == "ddp" else []
        run = loupe(here.place, *words, *more, "--device", here.device, starter=starter)
        losses[kind] = run["val"]["loss"]
    gap = max(losses.values()) - min(losses.values())
    shown = ", ".join(f"{kind} {loss:.6f}" for kind, loss in losses.items())
    return {"rows": [("validation loss after an epoch", shown, f"differ by {gap:.1e}")]}


def muon(here: Here) -> Answer:
    """Milliseconds of an optimizer's step for the residual net."""
    model = ResidualNet(3, CLASSES).to(here.device)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    took = {}
    for name, optimizer in (
        ("Muon", Muon(model.parameters())),
        ("AdamW", torch.optim.AdamW(model.parameters(), fused=True)),
    ):
        for number in range(here.sizes["steps"] + 3):
            if number == 3:
                settle(here.device)
                start = time.perf_counter()
            optimizer.step()
        settle(here.device)
        took[name] = 1000 * (time.perf_counter() - start) / here.sizes["steps"]
    return {"rows": [("a step of the optimizer, ms", f"Muon {took['Muon']:.2f}",
                      f"AdamW, fused {took['AdamW']:.2f}")]}  # fmt: skip


def tests(here: Here) -> Answer:
    """`pytest -m gpu`."""
    marker = "gpu" if here.device == "cuda" else "gpu and not gpu"
    command = [sys.executable, "-m", "pytest", "-q", "-m", marker, "tests"]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
    )
    last = (done.stdout.strip().splitlines() or ["nothing was printed"])[-1]
    return {"rows": [("pytest -m gpu", last.strip("= "), "")]}


PARTS: dict[str, Callable[[Here], Answer]] = {
    "fashion": to_94,
    "rate": rate,
    "photographs": photographs,
    "out_of_memory": out_of_memory,
    "memory": memory,
    "parallel": parallel,
    "muon": muon,
    "tests": tests,
}


def time_loop(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    batch: int,
    sizes: Sizes,
    device: str,
    fmt: str = "bf16",
) -> float:
    """Images a second of a compiled loop over `images` [N, H, W, C] uint8 on the device."""
    model = model.to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    scaler = torch.amp.GradScaler(device, enabled=fmt == "fp16")
    kind = torch.float16 if fmt == "fp16" else torch.bfloat16
    forward = torch.compile(model) if device == "cuda" else model
    start = 0.0
    for step in range(sizes["steps"] + 10):
        if step == 10:  # compiled and warm
            settle(device)
            start = time.perf_counter()
        rows = torch.randint(0, len(images), (batch,), device=device)
        pixels = images[rows].permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
        with torch.autocast(device, kind):
            loss = F.cross_entropy(forward(pixels), labels[rows])
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    settle(device)
    return sizes["steps"] * batch / (time.perf_counter() - start)


def settle(device: str) -> None:
    """Wait until the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def make_arrays(place: Path, count: int, side: int, channels: int) -> Path:
    """Generated images as an .npz file; Fashion-MNIST's where they are at hand and fit."""
    path = place / f"arrays-{count}-{side}-{channels}.npz"
    if not path.exists():
        if (side, channels) == (28, 1):
            images, labels = fashion.make_part(count)
        else:
            rng = np.random.default_rng(0)
            images = rng.integers(0, 256, (count, side, side, channels), dtype=np.uint8)
            labels = np.arange(count, dtype=np.int64) % CLASSES
        np.savez(path, images=images, labels=labels)
    return path


def loupe(place: Path, *words: Any, starter: list[str] | None = None) -> dict[str, Any]:
    """metrics.json of a command in a process of its own; RuntimeError with what it said."""
    out = place / "run"
    command = [sys.executable, *(starter or []), "-m", "torchloupe", *map(str, words)]
    command += ["--out", str(out), "--quiet"]
    subprocess.run(["rm", "-rf", str(out)], check=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Everything that needs a GPU.")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "")
    parser.add_argument("--fashion", default="", help="the folder of Fashion-MNIST's IDX files")
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only to see that it runs")
    parser.add_argument("--save", action="store_true", help="write it to results/ as well")
    chosen = parser.parse_args()
    if not chosen.device:
        parser.error("there is no GPU here; --device cpu --quick shows that it runs")
    table = make_table(chosen.device, chosen.quick, chosen.fashion, chosen.only.split(","))
    print(table.to_markdown())
    if chosen.save:
        say(f"written to {table.save('python benchmarks/gpu.py --save')}")


if __name__ == "__main__" and not answer(measure):
    main()
