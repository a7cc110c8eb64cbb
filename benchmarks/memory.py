"""Memory over 20 epochs of data four times larger than what may be allocated.

    python benchmarks/memory.py

The pack of the 4,000 photographs at 224 pixels (602 MB) is trained on by a process that may
allocate a quarter of that beyond what its imports took (RLIMIT_DATA: the limit is on memory of
its own; the mapped pack is the system's to keep or drop). What the process holds of its own is
read after every epoch. Batches are of 16 images: of 64, four alone would take all that may be
allocated. About a minute for 5 repeats.
"""

import resource
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Everything that a run needs is imported before the cap is set, also what it imports late: the
# scores load scipy, whose OpenBLAS takes memory of its own, and the page its own modules.
import scipy.sparse  # noqa: F401
import torch
from large import read_status
from photographs import COUNT, make_photographs
from table import Table
from torch import Tensor, nn
from turns import Answer, Failure, answer, ask, in_turns, spread_of

import torchloupe.train.outcome
import torchloupe.trained.facts.page  # noqa: F401
from torchloupe.prepare.objects import UserObjects
from torchloupe.train.start import train

EPOCHS, SIZE, TIMES_LARGER = 20, 224, 4
FLAT_BYTES = 16 * 2**20  # growth from the second epoch to the last that is none


class Glance(nn.Module):
    """A model that costs next to nothing: the mean of an 8x8 grid of pixels, and a linear layer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * 8 * 8, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images [B, 3, H, W]."""
        step = images.shape[-1] // 8
        logits: Tensor = self.fc(images[:, :, ::step, ::step][:, :, :8, :8].flatten(1))
        return logits


class Watch:
    """A listener that notes what the process holds of its own after each epoch."""

    def __init__(self) -> None:
        self.held_bytes: list[int] = []

    def start(self, facts: Mapping[str, Any]) -> None:
        """Nothing to prepare."""

    def record(self, event: Mapping[str, Any]) -> None:
        """Look once an epoch: when its validation is recorded."""
        if "val_accuracy" in event:
            self.held_bytes.append(read_status("RssAnon"))

    def close(self) -> None:
        """Nothing to close."""


def make_table(repeats: int = 5, *, quick: bool = False) -> Table:
    """What is held after the second and the last epoch, and the most in between."""
    count, epochs = (200, 4) if quick else (COUNT, EPOCHS)
    root = make_photographs(count)
    data_bytes = count * SIZE * SIZE * 3
    # Below some 150 MB there is no room for a batch, a checkpoint and threads, whatever the data.
    cap = max(data_bytes // TIMES_LARGER, 150 * 10**6)
    case = {"root": str(root), "cap_bytes": cap, "epochs": epochs}
    table = Table(
        "memory",
        f"Memory of its own over {epochs} epochs of {data_bytes / 1e6:.0f} MB of pixels, "
        f"with {cap / 1e6:.0f} MB to allocate",
        ("", "after imports, MB", "after epoch 2, MB", f"after epoch {epochs}, MB", "growth, MB"),
    )
    given = in_turns({"torchloupe": lambda: ask(__file__, case)}, repeats)["torchloupe"]
    if isinstance(given, Failure):
        table.add("torchloupe", f"failed: {given.reason}", "", "", "")
        table.expect("runs below the cap", "yes", "no", is_met=False)
        return table
    keys = ("start", "second", "last", "growth")
    table.add("torchloupe", *(spread_of(given, key).show(0, 1e-6) for key in keys))
    worst = max(found["growth"] for found in given)
    table.expect(
        f"growth, the worst of {repeats}",
        f"<= {FLAT_BYTES / 1e6:.0f} MB",
        f"{worst / 1e6:.0f} MB",
        worst <= FLAT_BYTES,
    )
    table.notes.append(f"n = {repeats}; RssAnon of the process; median (range)")
    return table


def measure(root: str, cap_bytes: int, epochs: int) -> Answer:
    """Bytes of its own that this process holds before and during a training below the cap."""
    torch.randn(64, 64).mm(torch.randn(64, 64))  # threads start before the cap is set
    start = read_status("RssAnon")
    limit = read_status("VmData") + cap_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    watch = Watch()
    settings = {
        **{"data.mode": "RGB", "data.size": str(SIZE), "data.pack": "disk"},
        **{"train.epochs": epochs, "train.batch_total": 16, "augment.policy": "none"},
        **{"optimizer.name": "sgd", "optimizer.lr": 0.01},
    }
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        train(root, settings, out=out, listeners=[watch], objects=UserObjects(model=Glance))
    held = watch.held_bytes
    return {"start": start, "second": held[1], "last": held[-1], "growth": held[-1] - held[1]}


if __name__ == "__main__" and not answer(measure):
    print(make_table().to_markdown())
