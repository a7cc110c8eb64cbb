"""The gate: files from bytes through `loupe predict` and through the artefact, compared."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from torchloupe.data.contract import Contract
from torchloupe.deploy.artefact.fresh import Said, ask
from torchloupe.errors import CheckpointError, DataError, printable
from torchloupe.evaluation.agreement import LogitGap, find_gap
from torchloupe.evaluation.inference import to_probabilities
from torchloupe.trained.prediction import PREDICT_BATCH

FP32_TOLERANCE = 1e-4  # of a probability
TIE = 1e-5  # two classes nearer than this are equally likely: either may be named
Case = tuple[str, bytes | NDArray[Any]]  # a name; encoded bytes, or pixels of the model's size
Classify = Callable[[NDArray[Any]], NDArray[np.float32]]


@dataclass(frozen=True)
class Tolerance:
    """How far an artefact may be from its run: probabilities, the fraction of equal classes, and
    logits as a share of what images change in them."""

    probability: float = FP32_TOLERANCE
    agreement: float = 1.0
    logits: float = 1e-3


@dataclass(frozen=True)
class Parity:
    """How the artefact agrees with the run.

    `compared` images, of which `files` are real ones; `refused` could not be read by the run and
    were left out. Differences are of probabilities: as predict.py resizes, and in the graph;
    `logits` has the larger one of both.
    """

    compared: int
    files: int
    refused: int
    agreeing: int
    ties: int
    largest_difference: float
    largest_in_graph: float | None
    logits: LogitGap
    tolerance: Tolerance
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
        largest, allowed = (
            max(self.largest_difference, self.largest_in_graph or 0.0),
            self.tolerance,
        )
        is_close = largest <= allowed.probability and self.logits.is_within(allowed.logits)
        return is_close and self.agreement >= allowed.agreement

    @property
    def tells(self) -> bool:
        """Whether the run's logits differ between images: if not, any graph agrees with them."""
        return self.logits.tells(self.tolerance.logits)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for export.json."""
        own = {"agreement": self.agreement, "holds": self.holds, "tells": self.tells}
        return {**asdict(self), **own}


def measure(
    folder: Path,
    cases: Sequence[Case],
    contract: Contract,
    classify: Classify,
    *,
    real: int,
    facts: Mapping[str, Any],
    tolerance: Tolerance = Tolerance(),
) -> Parity:
    """Compare the artefact in `folder` with `classify`, the run's logits [B, K] of decoded pixels,
    for all cases.

    The first `real` cases are real files. Raises CheckpointError where the artefact can't read
    what the run reads, and where torch or torchloupe were loaded.
    """
    logits = _ask_run(cases, contract, classify)
    wanted = {number: _shares(row, contract) for number, row in logits.items()}
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
        is_same = said.labels[number] == _label(logits[number], names, contract.multi_label)
        second = np.partition(row, -2)[-2] if len(row) > 1 else 0.0
        is_tie = not is_same and row[best] - second < TIE
        agreeing += is_same or is_tie
        ties += is_tie
        differences.append(_largest(rows[0], row))
        if len(rows) > 2:
            inside.append(_largest(rows[2], row))
    numbers = list(wanted)
    worst = _worst(numbers, said, wanted, logits, contract)
    return Parity(
        compared=len(wanted),
        files=sum(number < real for number in wanted),
        refused=len(cases) - len(wanted),
        agreeing=int(agreeing),
        ties=int(ties),
        largest_difference=float(max(differences)),
        largest_in_graph=float(max(inside)) if inside else None,
        logits=_gap_of(said, logits),
        tolerance=tolerance,
        worst=cases[worst][0],
        worst_row=worst,
        torch_free=not said.loaded,
    )


def _ask_run(
    cases: Sequence[Case], contract: Contract, classify: Classify
) -> dict[int, NDArray[np.float32]]:
    """The logits of each case that the run can read, by its number."""
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


def _shares(logits: NDArray[np.float32], contract: Contract) -> NDArray[np.float32]:
    """The probabilities [K] of logits [K], as the run gives them."""
    row = torch.from_numpy(logits)[None]
    shares = to_probabilities(row, contract.multi_label, contract.temperature)
    found: NDArray[np.float32] = shares[0].numpy()
    return found


def _gap_of(said: Said, logits: Mapping[int, NDArray[np.float32]]) -> LogitGap:
    """The gap of the artefact's logits, of whichever resize is worse, to the run's."""
    wanted = np.stack(list(logits.values()))
    gaps = []
    for place in (1, 3):
        rows = {n: said.rows[n][place] for n in logits if len(said.rows[n]) > place}
        if rows:
            found = np.stack([rows.get(n, logits[n]) for n in logits])
            gaps.append(find_gap(found, wanted))
    return max(gaps, key=lambda gap: gap.largest)


def _worst(
    numbers: Sequence[int],
    said: Said,
    wanted: Mapping[int, NDArray[np.float32]],
    logits: Mapping[int, NDArray[np.float32]],
    contract: Contract,
) -> int:
    """The image that differs most: of another class first, then by probabilities or by logits,
    each as a share of what it is at most."""
    gaps = {
        n: tuple(
            min(max(_largest(row, right[n]) for row in said.rows[n][kind::2]), 1e30)
            for kind, right in enumerate((wanted, logits))
        )
        for n in numbers
    }
    most = [max(*(gap[kind] for gap in gaps.values()), 1e-30) for kind in (0, 1)]

    def badness(number: int) -> tuple[bool, float]:
        share, score = gaps[number]
        label = _label(logits[number], contract.class_names, contract.multi_label)
        is_other = said.labels[number] != label and share > TIE
        return is_other, share / most[0] + score / most[1]

    return max(numbers, key=badness)


def _label(logits: NDArray[np.float32], names: Sequence[str], multi_label: bool) -> str:
    """What `loupe predict` prints as the label of these logits [K]."""
    order = np.argsort(-logits, kind="stable")
    several = [names[k] for k in order if logits[k] > 0 and multi_label]
    return "|".join(several) or names[int(order[0])]


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
            "no artefact was written; "
            + (
                "compare the versions of Pillow and simplejpeg"
                if isinstance(cases[failed[0]][1], bytes)
                else "--to safetensors exports the weights without a graph"
            ),
        )
