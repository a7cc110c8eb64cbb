"""Flipped labels, ranked from out-of-fold probabilities: average precision beside cleanlab's.

    python benchmarks/label_noise.py --cleanlab VENV/bin/python [--sets digits,fashion,stamps]

2, 5 and 10 % of the labels are flipped, with three seeds each. The probabilities are those of
five-fold logistic regression on pixels, for the stamps (Debian's tuxpaint-stamps-default) on the
features of the installed backbone. cleanlab runs in an environment of its own and ranks the same
probabilities by `get_label_quality_scores`, with its default and with normalized_margin.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from fashion import read_part
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from torchloupe.checks.label_noise import score_labels

RATES, SEEDS = (0.02, 0.05, 0.1), (0, 1, 2)
METHODS = ("self_confidence", "normalized_margin")
Set = tuple[NDArray[np.floating], NDArray[np.int64], float]  # features, labels, C
CLEANLAB = """
import sys
import numpy as np
from cleanlab.rank import get_label_quality_scores
given = np.load(sys.argv[1])
for method in sys.argv[3:]:
    scores = get_label_quality_scores(given["labels"], given["probabilities"], method=method)
    np.save(f"{sys.argv[2]}/{method}.npy", scores)
"""


def open_set(name: str) -> Set:
    """Features [N, D], labels [N] and how little the regression is held back."""
    if name == "digits":
        images, labels = load_digits(return_X_y=True)
        return images / 16, labels, 1.0
    if name == "fashion":
        images, labels = (part[:10_000] for part in read_part("train"))
        small = images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)) / 255
        return small.reshape(len(small), -1), labels, 0.3
    from photos import STAMPS, copy_classes, extract, open_photos

    with tempfile.TemporaryDirectory() as place:
        photos, _, _ = copy_classes(STAMPS, Path(place))
        run_data = open_photos(photos, "crop")
        features = np.asarray(extract(run_data, "fp32", 32, eager=True)[0])
    features = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-6)
    return features, run_data.samples.labels, 0.001


def flip(labels: NDArray[np.int64], rate: float, seed: int) -> tuple[NDArray[np.int64], ...]:
    """Labels of which `rate` are another class, drawn evenly, and 1 where they are."""
    rng = np.random.default_rng(seed)
    classes = int(labels.max()) + 1
    rows = rng.permutation(len(labels))[: round(rate * len(labels))]
    wrong, flipped = np.zeros(len(labels), np.int64), labels.copy()
    flipped[rows] = (labels[rows] + rng.integers(1, classes, len(rows))) % classes
    wrong[rows] = 1
    return flipped, wrong


def rank_by_cleanlab(
    python: str, probabilities: NDArray[np.floating], labels: NDArray[np.int64]
) -> dict[str, NDArray[np.floating]]:
    """How suspicious each label is, by method of cleanlab in the environment of `python`."""
    with tempfile.TemporaryDirectory() as place:
        np.savez(f"{place}/given.npz", probabilities=probabilities, labels=labels)
        command = [python, "-c", CLEANLAB, f"{place}/given.npz", place, *METHODS]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return {method: -np.load(f"{place}/{method}.npy") for method in METHODS}


def main() -> None:
    """Measure and print, the mean over seeds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cleanlab", default=sys.executable, help="a python that has cleanlab")
    parser.add_argument("--sets", default="digits,fashion,stamps")
    chosen = parser.parse_args()
    for name in chosen.sets.split(","):
        features, labels, strength = open_set(name)
        for rate in RATES:
            found: dict[str, list[float]] = {}
            for seed in SEEDS:
                flipped, wrong = flip(labels, rate, seed)
                folds = StratifiedKFold(5, shuffle=True, random_state=seed)
                model = LogisticRegression(C=strength, max_iter=200, tol=1e-2)
                probabilities = cross_val_predict(
                    model, features, flipped, cv=folds, method="predict_proba"
                )
                ranked = rank_by_cleanlab(chosen.cleanlab, probabilities, flipped)
                ranked["torchloupe"] = score_labels(probabilities, flipped)[0]
                for method, scores in ranked.items():
                    found.setdefault(method, []).append(average_precision_score(wrong, scores))
            means = ", ".join(f"{method} {np.mean(v):.4f}" for method, v in found.items())
            print(f"{name}, {rate:.0%} flipped: {means}", flush=True)


if __name__ == "__main__":
    main()
