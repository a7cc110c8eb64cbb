"""Runs compared on the images that all of them were tested on: which is better, and how surely.

Everything is read from the run folders: predictions.parquet, metrics.json and config.json.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from torchloupe.config.schema import flatten
from torchloupe.config.settings import read_settings
from torchloupe.errors import DataError, UsageError, printable
from torchloupe.evaluation.intervals import wilson_interval
from torchloupe.evaluation.paired_tests import (
    CochranQ,
    McNemar,
    ScoreDifference,
    adjust_by_holm,
    apply_cochran_q,
    apply_mcnemar,
    compare_scores,
)
from torchloupe.evaluation.power import LEVEL, smallest_difference
from torchloupe.evaluation.resampling import DRAWS
from torchloupe.run.json_files import read_json
from torchloupe.run.places import find_run
from torchloupe.studies.tested import Tested, read_tested
from torchloupe.trained.history import spent_seconds
from torchloupe.trained.run import Run


@dataclass(frozen=True)
class ComparedRun:
    """One of the runs: how good on the shared images, how long it took, how large it is."""

    folder: str
    name: str
    model: str
    accuracy: float
    accuracy_ci95: tuple[float, float]
    seconds: float | None  # of the training, with the solving of a head
    images_per_second: float | None  # of the training
    weights_bytes: int | None  # of the best checkpoint


@dataclass(frozen=True)
class ComparedPair:
    """Two of the runs, by their place: a paired test, and the difference of every score."""

    first: int
    second: int
    mcnemar: McNemar
    p_value: float  # Holm's, where there are more pairs
    scores: tuple[ScoreDifference, ...]  # second minus first

    @property
    def is_significant(self) -> bool:
        """Whether one of the two is better beyond chance."""
        return self.p_value <= LEVEL


@dataclass(frozen=True)
class Flip:
    """An image that not all of the runs have right."""

    id: str
    label: str
    predictions: tuple[str, ...]  # of each run
    confidences: tuple[float, ...]
    right: tuple[bool, ...]


@dataclass(frozen=True)
class Comparison:
    """Two runs or more on the same test images."""

    runs: tuple[ComparedRun, ...]
    images: int
    pairs: tuple[ComparedPair, ...]
    cochran: CochranQ | None  # of more than two runs
    flips: tuple[Flip, ...]  # those that were most surely wrong first
    settings: Mapping[str, tuple[Any, ...]]  # that differ: the value in each run
    disagreement: float  # share of the images that only one of two runs has right, at most
    smallest_difference: float | None  # of accuracy, that as many images would show

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def compare(
    run_a: Run | str | Path,
    run_b: Run | str | Path,
    *more: Run | str | Path,
    draws: int = DRAWS,
    seed: int = 0,
) -> Comparison:
    """Compare runs on the test images that each wrote predictions for; they must be the same.

    McNemar's exact test of each pair; for more than two runs Cochran's Q, and the p-values of the
    pairs are Holm's. The difference of each score has the interval of a paired bootstrap of
    `draws`. Raises DataError for other images or labels, with their counts.
    """
    folders = [
        run.folder if isinstance(run, Run) else find_run(Path(run)) for run in (run_a, run_b, *more)
    ]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UsageError("a run is named twice", "compare runs that differ")
    tested = [read_tested(folder) for folder in folders]
    refuse_other_images(tested)
    class_names = sorted({name for each in tested for name in each.class_names})
    answers = [each.answers(class_names) for each in tested]
    right = [answer.right for answer in answers]
    places = list(combinations(range(len(tested)), 2))
    tests = [apply_mcnemar(right[i], right[j]) for i, j in places]
    adjusted = adjust_by_holm([test.p_value for test in tests])
    pairs = tuple(
        ComparedPair(
            i, j, test, p, tuple(compare_scores(answers[i], answers[j], draws=draws, seed=seed))
        )
        for (i, j), test, p in zip(places, tests, adjusted, strict=True)
    )
    images = len(tested[0].ids)
    disagreement = max(float((right[i] != right[j]).mean()) for i, j in places)
    return Comparison(
        runs=tuple(map(describe_run, folders, right)),
        images=images,
        pairs=pairs,
        cochran=apply_cochran_q(right) if len(tested) > 2 else None,
        flips=tuple(find_flips(tested, right)),
        settings=differing_settings(folders),
        disagreement=disagreement,
        smallest_difference=smallest_difference(images, disagreement),
    )


def refuse_other_images(tested: Sequence[Tested]) -> None:
    """DataError, with counts, where the runs were not tested on the same images and labels."""
    first = tested[0]
    for other in tested[1:]:
        shared = len(np.intersect1d(first.ids, other.ids))
        if shared < max(len(first.ids), len(other.ids)):
            raise DataError(
                f"the runs were tested on other images: {shared:,} are in both, "
                f"{len(first.ids) - shared:,} only in {printable(first.folder.name)}, "
                f"{len(other.ids) - shared:,} only in {printable(other.folder.name)}",
                "train both on the same data with the same seed, which decides the split",
            )
        if first.multi_label != other.multi_label:
            raise DataError(
                "one of the runs has several labels an image, the other has one",
                "compare runs of the same kind",
            )
        odd = sum(a != b for a, b in zip(first.labels, other.labels, strict=True))
        if odd:
            raise DataError(
                f"{odd:,} of {shared:,} images have other labels in "
                f"{printable(other.folder.name)} than in {printable(first.folder.name)}",
                "train both again on the labels of today",
            )


def describe_run(folder: Path, right: Any) -> ComparedRun:
    """What is known of one run besides its answers."""
    trained = read_json(folder / "metrics.json").get("train") or {}
    model = read_settings(folder / "config.json").config.model.name
    weights = folder / "best" / "model.safetensors"
    return ComparedRun(
        folder=str(folder),
        name=folder.name,
        model=model,
        accuracy=float(right.mean()),
        accuracy_ci95=wilson_interval(int(right.sum()), len(right)),
        seconds=spent_seconds(trained),
        images_per_second=trained.get("images_per_second"),
        weights_bytes=weights.stat().st_size if weights.is_file() else None,
    )


def find_flips(tested: Sequence[Tested], right: Sequence[Any]) -> list[Flip]:
    """The images that some runs have right and others wrong, the surest mistakes first."""
    table = np.array(right)  # [M, N]
    rows = np.flatnonzero(table.any(axis=0) & ~table.all(axis=0))
    found = [
        Flip(
            id=str(tested[0].ids[row]),
            label=tested[0].labels[row],
            predictions=tuple(each.predictions[row] for each in tested),
            confidences=tuple(float(each.confidences[row]) for each in tested),
            right=tuple(bool(value) for value in table[:, row]),
        )
        for row in rows
    ]

    def surest_mistake(flip: Flip) -> float:
        pairs = zip(flip.confidences, flip.right, strict=True)
        return max(confidence for confidence, is_right in pairs if not is_right)

    return sorted(found, key=surest_mistake, reverse=True)


def differing_settings(folders: Sequence[Path]) -> dict[str, tuple[Any, ...]]:
    """Settings that are not the same in all runs, by dotted name: the value in each."""
    configs = [flatten(read_settings(folder / "config.json").config) for folder in folders]
    return {
        name: tuple(config[name] for config in configs)
        for name in configs[0]
        if any(config[name] != configs[0][name] for config in configs[1:])
    }
