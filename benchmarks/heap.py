"""What keeping freed memory brings: seconds of a step, with it and as glibc comes.

    python benchmarks/heap.py

Two nets and three batches in bf16, channels last, fused AdamW, in a plain loop over one batch that
is ready: nothing but the heap differs. About 4 minutes for 5 repeats.
"""

import resource
import statistics
import time

import torch
from table import Table, ratio
from torch import nn
from torchvision.models import resnet18
from turns import Answer, Failure, answer, ask, in_turns, spread_of

from torchloupe.model.zoo import CNN
from torchloupe.system.heap import keep_freed_blocks

CASES = {  # net, batch, side of the images, steps
    "CNN, 64 images of 28x28": ("cnn", 64, 28, 200),
    "CNN, 512 images of 28x28": ("cnn", 512, 28, 40),
    "ResNet-18, 32 images of 224x224": ("resnet18", 32, 224, 6),
}
KEPT, AS_IT_COMES = "kept", "as it comes"


def make_table(repeats: int = 5, *, quick: bool = False) -> Table:
    """A row a case."""
    table = Table(
        "heap",
        "A step of training with freed memory kept, and as glibc comes",
        ("", "kept, ms", "as it comes, ms", "faster", "page faults a step", "peak memory, MB"),
    )
    for name, (net, batch, side, steps) in CASES.items():
        case = {"net": net, "batch": batch, "side": side, "steps": 3 if quick else steps}
        asked = {
            way: lambda way=way, case=case: ask(__file__, {**case, "keeps": way == KEPT})
            for way in (KEPT, AS_IT_COMES)
        }
        answers = in_turns(asked, repeats)
        kept, usual = answers[KEPT], answers[AS_IT_COMES]
        if isinstance(kept, Failure) or isinstance(usual, Failure):
            table.add(name, "failed", *[""] * 4)
            continue
        pairs = {
            key: (spread_of(kept, key), spread_of(usual, key))
            for key in ("seconds", "faults", "peak_bytes")
        }
        ours, theirs = pairs["seconds"]
        table.add(
            name,
            *(spread.show(1, 1e3) for spread in (ours, theirs)),
            f"{ratio(theirs, ours):.2f}x",
            " / ".join(f"{spread.median:,.0f}" for spread in pairs["faults"]),
            " / ".join(f"{spread.median / 1e6:,.0f}" for spread in pairs["peak_bytes"]),
        )
    table.notes.append(f"n = {repeats}, in turns; median (range) of a run's median step")
    return table


def measure(net: str, batch: int, side: int, steps: int, *, keeps: bool) -> Answer:
    """The median step, and page faults a step over the second half of the steps."""
    if keeps and not keep_freed_blocks():
        raise RuntimeError("this C library can't keep freed memory")
    torch.manual_seed(0)
    model: nn.Module = CNN(1, 10) if net == "cnn" else resnet18(num_classes=10)
    model = model.to(memory_format=torch.channels_last)
    channels = 1 if net == "cnn" else 3
    images = torch.randn(batch, channels, side, side).to(memory_format=torch.channels_last)
    labels = torch.arange(batch) % 10
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    seconds, faults = [], []
    for _ in range(steps):
        start = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(images)
        nn.functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    half = steps // 2
    return {
        "seconds": statistics.median(seconds[half:]),
        "faults": (faults[-1] - faults[half]) / max(1, steps - 1 - half),
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


if __name__ == "__main__" and not answer(measure):
    print(make_table().to_markdown())
