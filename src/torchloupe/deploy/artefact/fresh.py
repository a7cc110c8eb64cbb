"""The artefact as a stranger runs it: predict.py in a process without torchloupe and torch."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.errors import CheckpointError, ResourceError, printable

CHILD = Path(__file__).with_name("child.txt")
LONGEST_SECONDS = 3600


@dataclass(frozen=True)
class Said:
    """What the fresh process said of each case, by number.

    `rows` [2 or 4, K]: probabilities and logits of the image as predict.py resizes it, then of the
    same image resized in the graph. `loaded` are packages that should have stayed out.
    """

    rows: Mapping[int, NDArray[np.float32]]
    labels: Mapping[int, str]
    failed: Mapping[int, str]
    loaded: tuple[str, ...]
    parts: Mapping[str, NDArray[Any]]


def ask(
    folder: Path,
    cases: Sequence[bytes | NDArray[Any]],
    *,
    any_size: bool,
    allowed: Sequence[str] = (),
    trace: bool = False,
) -> Said:
    """Run predict.py of `folder` on `cases`, encoded files or pixels of the model's size.

    With `trace` of one case, `parts` has its upright and its fitted pixels, and its label. Of torch
    and torchloupe only those in `allowed` can be imported there.
    """
    with tempfile.TemporaryDirectory(prefix="loupe-export-") as place:
        inside, out = Path(place) / "cases", Path(place) / "out"
        inside.mkdir()
        out.mkdir()
        for number, case in enumerate(cases):
            if isinstance(case, bytes):
                (inside / f"{number}.image").write_bytes(case)
            else:
                np.save(inside / f"{number}.npy", case)
        blocked = ",".join(n for n in ("torch", "torchvision", "torchloupe") if n not in allowed)
        arguments = [folder, inside, out, blocked, "trace" if trace else ""]
        _run([str(a) for a in arguments] + ["any" if any_size else "fixed"])
        about = json.loads((out / "about.json").read_text(encoding="utf-8"))
        with np.load(out / "found.npz") as found:
            arrays = {name: found[name] for name in found.files}
    return Said(
        rows={int(k): v for k, v in arrays.items() if k.isdigit()},
        labels={int(k): v for k, v in about["labels"].items()},
        failed={int(k): v for k, v in about["failed"].items()},
        loaded=tuple(about["loaded"]),
        parts={k: v for k, v in arrays.items() if not k.isdigit()},
    )


def _run(arguments: list[str]) -> None:
    """Run the child isolated from this process's paths; CheckpointError with its last line."""
    code = CHILD.read_text(encoding="utf-8")
    command = [sys.executable, "-I", "-c", code, *arguments]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LONGEST_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ResourceError(
            f"the process that tries the artefact did not end ({printable(error)})",
            "give fewer images with --files",
        ) from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise CheckpointError(
            f"predict.py of the artefact fails in a fresh process: {printable(lines[-1])}",
            "no artefact was written; export with --to safetensors, which has no graph",
        )
