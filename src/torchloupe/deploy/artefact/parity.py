"""The gate: files from bytes through `loupe predict` and through the artefact, compared."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.contract import Contract
from torchloupe.deploy.artefact.fresh import Said, ask
from torchloupe.errors import CheckpointError, DataError, printable
from torchloupe.trained.prediction import PREDICT_BATCH

FP32_TOLERANCE = 1e-4  # of a probability
TIE = 1e-5  # two classes nearer than this are equally likely: either may be named
Case = tuple[str, bytes | NDArray[Any]]  # a name; encoded bytes, or pixels of the model's size
Classify = Callable[[NDArray[Any]], NDArray[np.float32]]


@dataclass(frozen=True)
class Parity:
    """How the artefact agrees with the run.

    `compared` images, of which `files` are real ones; `refused` could not be read by the run and
    were left out. Differences are of probabilities: as predict.py resizes, and in the graph.
    """

    compared: int
    files: int
    refused: int
    agreeing: int
    ties: int
    largest_difference: float
    largest_in_graph: float | None
    tolerance: float
    least_agreement: float
    worst: str
    worst_row: int
    torch_free: bool

    @property
    def agreement(self) -> float:
        """The fraction of images of the same class."""
        return self.agreeing / self.compared

    @property
    def holds(self) -> bool:
        """Whether all is within the tolerance."""
        largest = max(self.largest_difference, self.largest_in_graph or 0.0)
        return largest <= self.tolerance and self.agreement >= self.least_agreement

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for export.json."""
        return {**asdict(self), "agreement": self.agreement, "holds": self.holds}


def measure(
    folder: Path,
    cases: Sequence[Case],
    contract: Contract,
    classify: Classify,
    *,
    real: int,
    facts: Mapping[str, Any],
    tolerance: float = FP32_TOLERANCE,
    least_agreement: float = 1.0,
) -> Parity:
    """Compare the artefact in `folder` with `classify`, the run on decoded pixels, for all cases.

    The first `real` cases are real files. Raises CheckpointError where the artefact can't read
    what the run reads, and where torch or torchloupe were loaded.
    """
    wanted = _ask_run(cases, contract, classify)
    if not wanted:
        raise CheckpointError("there is no image to prove the artefact on", "give image files")
    allowed = ("torch",) if facts["to"] == "pt2" else ()
    said = ask(
        folder, [case for _, case in cases], any_size=facts["input"] == "any", allowed=allowed
    )
    _refuse_failures(said, wanted, cases)
    differences, inside, agreeing, ties = [], [], 0, 0
    names = contract.class_names
    for number, row in wanted.items():
        rows = said.rows[number]
        best = int(row.argmax())
        is_same = said.labels[number] == _label(row, names, multi_label=contract.multi_label)
        second = np.partition(row, -2)[-2] if len(row) > 1 else 0.0
        is_tie = not is_same and row[best] - second < TIE
        agreeing += is_same or is_tie
        ties += is_tie
        differences.append(_largest(rows[0], row))
        if len(rows) > 2:
            inside.append(_largest(rows[2], row))
    numbers = list(wanted)
    worst = _worst(numbers, differences, said, wanted, contract)
    return Parity(
        compared=len(wanted),
        files=sum(number < real for number in wanted),
        refused=len(cases) - len(wanted),
        agreeing=int(agreeing),
        ties=int(ties),
        largest_difference=float(max(differences)),
        largest_in_graph=float(max(inside)) if inside else None,
        tolerance=tolerance,
        least_agreement=least_agreement,
        worst=cases[worst][0],
        worst_row=worst,
        torch_free=not said.loaded,
    )


def _ask_run(
    cases: Sequence[Case], contract: Contract, classify: Classify
) -> dict[int, NDArray[np.float32]]:
    """The probabilities of each case that the run can read, by its number."""
    wanted: dict[int, NDArray[np.float32]] = {}
    for start in range(0, len(cases), PREDICT_BATCH):
        decoded: dict[int, NDArray[Any]] = {}
        for number in range(start, min(start + PREDICT_BATCH, len(cases))):
            with contextlib.suppress(DataError):
                decoded[number] = contract.decode(cases[number][1])
        if decoded:
            rows = classify(np.stack(list(decoded.values())))
            wanted.update(zip(decoded, rows, strict=True))
    return wanted


def _largest(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The largest difference of two rows; infinite where one is not a number."""
    gap = np.abs(one.astype(np.float64) - other).max()
    return float(gap) if np.isfinite(gap) else float("inf")


def _worst(
    numbers: Sequence[int],
    differences: Sequence[float],
    said: Said,
    wanted: Mapping[int, NDArray[np.float32]],
    contract: Contract,
) -> int:
    """The image that differs most, one of another class before all others."""

    def badness(place: int) -> tuple[bool, float]:
        number = numbers[place]
        rows = said.rows[number]
        inside = _largest(rows[2], wanted[number]) if len(rows) > 2 else 0.0
        label = _label(wanted[number], contract.class_names, multi_label=contract.multi_label)
        gap = max(differences[place], inside)
        return said.labels[number] != label and gap > TIE, gap

    return numbers[max(range(len(numbers)), key=badness)]


def _label(row: NDArray[np.float32], names: Sequence[str], *, multi_label: bool) -> str:
    """What `loupe predict` prints as the label of these probabilities."""
    order = np.argsort(-row, kind="stable")
    several = [names[k] for k in order if row[k] > 0.5]
    return "|".join(several) if multi_label and several else names[int(order[0])]


def _refuse_failures(
    said: Said, wanted: Mapping[int, NDArray[np.float32]], cases: Sequence[Case]
) -> None:
    if said.loaded:
        raise CheckpointError(
            f"predict.py loaded {', '.join(said.loaded)}, which it must do without",
            "no artefact was written",
        )
    failed = [number for number in wanted if number not in said.rows]
    if failed:
        reason = said.failed.get(failed[0], "it gave nothing")
        raise CheckpointError(
            f"the artefact can't read {printable(cases[failed[0]][0])}, which the run can, and "
            f"parts from it at the stage decode: {printable(reason)}",
            "no artefact was written; compare the versions of Pillow and simplejpeg",
        )
