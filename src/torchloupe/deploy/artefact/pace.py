"""How fast a run's network computes in PyTorch, ONNX Runtime and OpenVINO, in turns."""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from torchloupe.deploy.artefact.evidence import in_fp32
from torchloupe.deploy.artefact.graph import make_graph, write_onnx
from torchloupe.deploy.artefact.parity import FP32_TOLERANCE
from torchloupe.deploy.artefact.sessions import open_onnx, open_openvino, require
from torchloupe.deploy.artefact.writers import convert_to_openvino
from torchloupe.errors import UsageError
from torchloupe.trained.run import Run

BATCHES = (1, 32)
ROUNDS = 5
Call = Callable[[NDArray[Any]], Any]


@dataclass(frozen=True)
class Pace:
    """The median images per second of one library at one batch size, and the range.

    `difference` is the largest of a probability from PyTorch's, on these images.
    """

    library: str
    batch: int
    images_per_second: float
    slowest: float
    fastest: float
    difference: float = 0.0

    @property
    def agrees(self) -> bool:
        """Whether it says what the run says, within the tolerance of an export in float32."""
        return self.difference <= FP32_TOLERANCE


def measure_paces(run: Run, *, seconds: float = 0.5) -> list[Pace]:
    """From pixels of the model's size to probabilities, in float32 on the CPU, at 1 and at 32.

    Each library has `ROUNDS` turns of `seconds`. OpenVINO is left out where it is not installed.
    """
    reference = in_fp32(run)
    with tempfile.TemporaryDirectory(prefix="loupe-pace-") as place:
        calls = _open_all(reference, Path(place))
        rates: dict[tuple[str, int], list[float]] = {}
        gaps: dict[tuple[str, int], float] = {}
        for batch in BATCHES:
            pixels = _pixels(reference, batch)
            said = {name: np.asarray(call(pixels)[0]) for name, call in calls.items()}
            for name, shares in said.items():
                gap = np.abs(shares - said["PyTorch"]).max()
                gaps[name, batch] = float(gap) if name != "PyTorch" else 0.0
            for _ in range(ROUNDS):
                for name, call in calls.items():
                    rates.setdefault((name, batch), []).append(_rate(call, pixels, seconds))
    return [
        Pace(name, batch, median(seen), min(seen), max(seen), gaps[name, batch])
        for (name, batch), seen in rates.items()
    ]


def fastest(paces: Sequence[Pace], batch: int) -> Pace:
    """The fastest library at a batch size, of those that say what PyTorch says."""
    fitting = [pace for pace in paces if pace.batch == batch and pace.agrees]
    return max(fitting, key=lambda pace: pace.images_per_second)


def _open_all(run: Run, place: Path) -> dict[str, Call]:
    graph = make_graph(run.model, run.contract, any_size=False)
    write_onnx(graph, place / "model.onnx", {"torchloupe": "", "model": run.config.model.name})

    def eager(pixels: NDArray[Any]) -> Any:
        with torch.inference_mode():
            return graph(torch.from_numpy(pixels))

    calls: dict[str, Call] = {"PyTorch": eager, "ONNX Runtime": open_onnx(place)}
    try:
        require("openvino")
    except UsageError:
        return calls
    convert_to_openvino(place / "model.onnx", place / "model.xml", half=False)
    calls["OpenVINO"] = open_openvino(place)
    return calls


def _pixels(run: Run, batch: int) -> NDArray[Any]:
    rng, contract = np.random.default_rng(0), run.contract
    shape = (batch, *contract.size, contract.channels)
    if contract.is_float:
        return rng.uniform(contract.value_low, contract.value_high, shape).astype(np.float32)
    return rng.integers(0, 256, shape, dtype=np.uint8)


def _rate(call: Call, pixels: NDArray[Any], seconds: float) -> float:
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        call(pixels)
        done += len(pixels)
    return done / (time.perf_counter() - start)
