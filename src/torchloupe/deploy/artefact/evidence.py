"""What an artefact is tried on: validation files of the run, their labels, and odd images."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torchloupe.data.contract import EXACT, Contract
from torchloupe.deploy.artefact.corpus import make_files_of, make_odd_files
from torchloupe.deploy.artefact.parity import Case
from torchloupe.errors import DataError, LoupeError, printable
from torchloupe.prepare.data import prepare_data
from torchloupe.prepare.run_data import RunData
from torchloupe.system.trust import trusted_name
from torchloupe.trained.run import Run

CALIBRATION_IMAGES = 256


@dataclass(frozen=True)
class Evidence:
    """`cases` to compare, the first `real` of which are the run's.

    `run_data` are None where they can't be opened, and `why` says the reason.
    """

    cases: list[Case]
    real: int
    run_data: RunData | None
    notes: tuple[str, ...]
    why: str = ""

    @property
    def split(self) -> str:
        """The split that the real images are of."""
        return _split_of(self.run_data) if self.run_data is not None else ""


def collect(run: Run, most: int, *, trust_code: bool = False) -> Evidence:
    """Up to `most` images of the run's validation split, and the odd ones that its contract takes.

    Where the data are gone, or were objects of a script, the odd ones alone, and a note says so.
    """
    odd = list(_odd_files(run.contract))
    config, notes, why = run.config, [], ""
    try:
        source = trusted_name(config.data.source, "data", run.folder, trust_code)
        run_data: RunData | None = prepare_data(
            source, config.data, seed=config.train.seed, contract=run.contract
        )
    except LoupeError as error:
        run_data, why = None, printable(error.message)
        notes.append(
            f"the data of the run can't be opened ({why}): the artefact is proved on generated "
            "images alone"
        )
    real = list(_real_cases(run_data, most)) if run_data is not None else []
    if not odd and not real:
        odd = list(_noise(run.contract))
    return Evidence([*real, *odd], len(real), run_data, tuple(notes), why)


def _odd_files(contract: Contract) -> Iterator[Case]:
    """Odd files if the contract takes files, with some of the size that it may insist on."""
    if takes_files(contract):
        yield from make_odd_files()
        if contract.fit == EXACT:
            yield from make_files_of(contract.size)


def takes_files(contract: Contract) -> bool:
    """Whether image files can become what the model takes."""
    try:
        contract.refuse_files()
    except DataError:
        return False
    return True


def pixels_of(images: Tensor, contract: Contract) -> NDArray[Any]:
    """The pixels [B, H, W, C] that `contract.normalise` made these images [B, C, H, W] of."""
    scale, offset = contract.factors()
    pixels = (images.permute(0, 2, 3, 1) - offset) / scale
    if not contract.is_float:
        pixels = pixels.round().clamp(0, 255).to(torch.uint8)
    return pixels.contiguous().numpy()


def labelled_pixels(run_data: RunData, split: str, most: int) -> Iterator[tuple[Any, Any]]:
    """Batches of (pixels [B, H, W, C], labels) of up to `most` images, evenly over a split."""
    rows = _spread(run_data, split, most)
    seen = 0
    for batch in run_data.scan_rows(rows, torch.device("cpu"), split):
        if seen >= most:  # a stream gives its whole split
            return
        seen += len(batch)
        yield pixels_of(batch.images, run_data.contract), batch.labels.numpy()


def _real_cases(run_data: RunData, most: int) -> Iterator[Case]:
    split = _split_of(run_data)
    if run_data.source.kind != "stream" and run_data.pixels is not None:
        ids = run_data.samples.ids
        for row in _spread(run_data, split, most):
            image = run_data.source.reader.read(int(row))
            fitted = image if isinstance(image, bytes) else run_data.contract.decode(image)
            yield str(ids[row]), fitted
        return
    number = 0
    for pixels, _ in labelled_pixels(run_data, split, most):
        for image in pixels:
            yield f"{split} image {number}", image
            number += 1


def _split_of(run_data: RunData) -> str:
    return next((name for name in ("val", "test") if run_data.has(name)), "train")


def _spread(run_data: RunData, split: str, most: int) -> NDArray[np.int64]:
    rows = run_data.rows(split)
    count = min(most, len(rows))
    return rows[np.arange(count) * len(rows) // max(count, 1)]


def _noise(contract: Contract) -> Iterator[Case]:
    rng = np.random.default_rng(0)
    low, high = contract.value_low, contract.value_high
    for number in range(16):
        values = rng.uniform(low, high, (*contract.size, contract.channels))
        kind = np.float32 if contract.is_float else np.uint8
        yield f"noise {number}", values.astype(kind)


def in_fp32(run: Run) -> Run:
    """The same run on the CPU in float32: what an artefact of float32 must equal."""
    hardware = replace(run.config.hardware, precision="fp32")
    config = replace(run.config, hardware=hardware)
    return Run(run.folder, run.model, run.contract, config, run.step)
