"""The forward of four networks on the CPU: plain torch, ours, ONNX Runtime and OpenVINO, in turns.

    python benchmarks/runtimes.py            # about three minutes
    python benchmarks/runtimes.py --avx2     # the same with AVX2 alone, imitated

Images a second in fp32 (ours also in bf16 where the CPU has instructions for it), the best of some
turns; the processor time of an image, which other processes hardly change; and the largest
difference of an output from plain torch's, relative to the largest output. Plain is the module as
it is in batches of 32, channels first. Ours is what computes features: in fp32 convolutions are
fused with what follows them, in bf16 BatchNorms are folded, in batches of 8, channels last. Weights
are random but for EfficientNet-Lite0's.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from photos import make_backbone
from table import Table, describe_hardware, describe_versions, imitate_avx2
from torch import nn
from turns import say

from torchloupe.hardware.precision import Precision
from torchloupe.model.fusing import fuse_or_fold
from torchloupe.model.zoo import ResidualNet
from torchloupe.speed.choice import has_fast_bf16
from torchloupe.system.limits import usable_cores

CPU = torch.device("cpu")
PLAIN_BATCH, BATCH = 32, 8
TURNS, TURN_SECONDS = 4, 0.4
WORTH = 1.3
LITE_GOAL = 2.0  # times plain, for features
Forward = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def networks() -> dict[str, tuple[Callable[[], nn.Module], int, int, int]]:
    """Name: maker, channels, side, and how many times the batch."""
    return {
        "EfficientNet-Lite0, features": (lambda: make_backbone().body, 3, 224, 1),
        "ResNet-50": (lambda: timm.create_model("resnet50"), 3, 224, 1),
        "ViT-S/16": (lambda: timm.create_model("vit_small_patch16_224"), 3, 224, 1),
        "residual net": (lambda: ResidualNet(in_channels=1, classes=10), 1, 28, 32),
    }


def make_table(*, avx2: bool, only: str) -> Table:
    """A row a network and way."""
    title = "Forward on the CPU" + (", AVX2 imitated" if avx2 else "")
    columns = ("network", "way", "images/s", "times plain", "processor ms an image", "times plain")
    table = Table("runtimes", title, (*columns, "largest difference", "seconds to make"))
    for name, (make, channels, side, times) in networks().items():
        if only and only not in name:
            continue
        say(name)
        torch.manual_seed(0)
        model = make().eval()
        images = torch.randn(PLAIN_BATCH * times, channels, side, side)
        rows = measure(model, images, BATCH * times)
        plain_rate, plain_cpu, wanted, _ = rows["plain torch"]
        best = {"rate": 0.0}
        for way, (rate, cpu, values, seconds) in rows.items():
            gap = float(np.abs(values - wanted).max() / np.abs(wanted).max())
            shown = f"{rate / plain_rate:.2f}", f"{1e3 * cpu:.2f}", f"{plain_cpu / cpu:.2f}"
            table.add(name, way, f"{rate:,.0f}", *shown, f"{gap:.1e}", f"{seconds:.1f}")
            say(f"  {way}: {rate:,.0f} images/s, {shown}, {gap:.1e}, {seconds:.1f} s")
            if way.startswith("ours"):
                best["rate"] = max(best["rate"], rate)
        if "features" in name:
            ratio = best["rate"] / plain_rate
            table.expect(name, f">= {LITE_GOAL:g}x", f"{ratio:.2f}x", ratio >= LITE_GOAL)
    table.notes.append(f"load: {os.getloadavg()[0]:.1f}; {torch.get_num_threads()} threads")
    return table


def measure(
    model: nn.Module, images: torch.Tensor, batch: int
) -> dict[str, tuple[float, float, NDArray[np.float32], float]]:
    """Way: images a second, processor seconds an image, outputs, seconds to make the way."""
    ways: dict[str, tuple[Forward, int]] = {}
    took: dict[str, float] = {}
    makers: list[tuple[str, Callable[[nn.Module, torch.Tensor], Forward], int]] = [
        ("plain torch", lambda m, _: make_plain(m), len(images)),
        ("ours", lambda m, x: make_ours(m, x, "fp32"), batch),
    ]
    if has_fast_bf16(CPU):
        makers.append(("ours, bf16", lambda m, x: make_ours(m, x, "bf16"), batch))
    makers += [("ONNX Runtime", make_onnx, batch), ("OpenVINO", make_openvino, batch)]
    for way, make, size in makers:
        start = time.perf_counter()
        try:
            ways[way] = make(model, images[:size]), size
        except Exception as error:
            say(f"  {way}: {type(error).__name__}: {error}")
            continue
        took[way] = time.perf_counter() - start
        say(f"  {way}: made in {took[way]:.1f} s")
    whole = images.numpy()
    outputs = {
        way: np.concatenate([run(whole[k : k + n]) for k in range(0, len(whole), n)])
        for way, (run, n) in ways.items()
    }
    wall: dict[str, list[float]] = {way: [] for way in ways}
    cpu: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(TURNS):
        for way, (run, size) in ways.items():
            begin, used, done = time.perf_counter(), time.process_time(), 0
            while time.perf_counter() - begin < TURN_SECONDS:
                run(whole[:size])
                done += size
            wall[way].append((time.perf_counter() - begin) / done)
            cpu[way].append((time.process_time() - used) / done)
    return {w: (1 / min(wall[w]), min(cpu[w]), outputs[w], took[w]) for w in ways}


def make_plain(model: nn.Module) -> Forward:
    """The module as it is."""

    def run(values: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            found: NDArray[np.float32] = model(torch.from_numpy(values)).numpy()
        return found

    return run


def make_ours(model: nn.Module, images: torch.Tensor, precision: str) -> Forward:
    """As prepare/features.py runs it."""
    layout = torch.channels_last
    body = fuse_or_fold(model, images.contiguous(memory_format=layout), precision)
    place = Precision(precision, CPU)

    def run(values: NDArray[np.float32]) -> NDArray[np.float32]:
        laid_out = torch.from_numpy(values).contiguous(memory_format=layout)
        with torch.inference_mode(), place.autocast():
            found: NDArray[np.float32] = body(laid_out).float().numpy()
        return found

    return run


def make_onnx(model: nn.Module, images: torch.Tensor) -> Forward:
    """ONNX Runtime with all optimizations; threads don't spin between calls."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "model.onnx"))
        torch.onnx.export(model, (images,), path, dynamo=True, verbose=False)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = usable_cores()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        places = ["CPUExecutionProvider"]
        session = onnxruntime.InferenceSession(path, options, providers=places)
    name = session.get_inputs()[0].name
    return lambda values: session.run(None, {name: values})[0]


def make_openvino(model: nn.Module, images: torch.Tensor) -> Forward:
    """OpenVINO in float32, traced from torch."""
    import openvino

    converted = openvino.convert_model(model, example_input=images)
    converted.reshape(list(images.shape))
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": usable_cores(),
    }
    compiled = openvino.Core().compile_model(converted, "CPU", settings)
    return lambda values: compiled([values])[0].copy()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--avx2", action="store_true", help="imitate a CPU with AVX2 alone")
    parser.add_argument("--only", default="", help="networks whose name has this text")
    parser.add_argument("--save", action="store_true")
    chosen = parser.parse_args()
    if chosen.avx2:
        imitate_avx2()
    print(f"{describe_hardware()}. {describe_versions()}.\n", flush=True)
    made = make_table(avx2=chosen.avx2, only=chosen.only)
    print(made.to_markdown())
    if chosen.save:
        say(f"written to {made.save('python benchmarks/runtimes.py --save')}")


if __name__ == "__main__":
    main()
