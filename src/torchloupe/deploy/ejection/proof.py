"""Whether an ejected file trains to the weights of its run: by training it, in a new process."""

import math
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from torchloupe.errors import CheckpointError, printable

# Paths in the file are relative to where it was written; what it writes goes into a new folder.
_CHILD = """
import importlib.util, os, sys
spec = importlib.util.spec_from_file_location("ejected", sys.argv[1])
page = importlib.util.module_from_spec(spec)
sys.modules["ejected"] = page
spec.loader.exec_module(page)
for name in ("DATA", "TABLE"):
    if hasattr(page, name):
        setattr(page, name, getattr(page, name).absolute())
os.chdir(sys.argv[2])
page.train()
"""


@dataclass(frozen=True)
class Proof:
    """The last weights of the file beside those of the run."""

    tensors: int
    different: tuple[str, ...]  # names of tensors that are not equal bit for bit
    largest: float  # of all differences
    share: float  # the norm of the differences by that of all weights of the run

    @property
    def is_equal(self) -> bool:
        """Whether every tensor is the same, bit for bit."""
        return not self.different


def prove(page: str, run: Path, beside: Path | None = None) -> Proof:
    """Train the file `page` and compare it with `run`. `beside` has code that it imports.

    It takes as long as the training did. CheckpointError if the file fails.
    """
    with tempfile.TemporaryDirectory(prefix="loupe-eject-") as folder:
        file = Path(folder, "train.py")
        file.write_text(page, encoding="utf-8")
        paths = [str(beside)] if beside is not None else []
        paths += [path for path in (os.environ.get("PYTHONPATH"),) if path]
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, str(file), folder],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
            raise CheckpointError(
                f"the written file does not train: {printable(said)}",
                "write it without --prove, and report this with the settings of the run",
            )
        last = Path(folder, "last.pt")
        if last.exists():
            mine = torch.load(last, map_location="cpu", weights_only=True)["model"]
        else:  # a head alone is solved, in no step
            mine = torch.load(Path(folder, "best.pt"), map_location="cpu", weights_only=True)
    return compare(load_file(run / "last" / "model.safetensors"), mine)


def compare(run: dict[str, torch.Tensor], file: dict[str, torch.Tensor]) -> Proof:
    """The tensors of the run beside those of the file."""
    different, largest = list(run.keys() ^ file.keys()), 0.0
    gap_squares = run_squares = 0.0
    for name in run.keys() & file.keys():
        a, b = run[name], file[name]
        if a.shape != b.shape or not torch.equal(a, b):
            different.append(name)
            if a.shape == b.shape:
                gap = a.double() - b.double()
                largest = max(largest, float(gap.abs().max()))
                gap_squares += float(gap.square().sum()) if a.is_floating_point() else 0.0
    for tensor in run.values():
        run_squares += float(tensor.double().square().sum()) if tensor.is_floating_point() else 0.0
    share = math.sqrt(gap_squares / max(run_squares, sys.float_info.min))
    return Proof(len(run), tuple(sorted(different)), largest, share)
