"""The head on fixed features: accuracy and seconds, beside scikit-learn on the same features.

    python benchmarks/head.py FOLDER... [--folds 5] [--save]

Each FOLDER has a folder for each class; classes with fewer than 20 images are left out. Beside the
head stands StandardScaler and LogisticRegression, its C chosen by four folds of the training
images, on the same features of one view, and on the last layer's features alone. The same test
folds for all (StratifiedKFold, seed 0); the features are those of EfficientNet-Lite0 at all depths.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from photos import CPU, copy_classes, make_backbone, open_photos
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from table import Table
from turns import say

from torchloupe.hardware.precision import Precision
from torchloupe.model.head import fit_head
from torchloupe.model.transfer import LiteBody
from torchloupe.prepare.features import compute_features
from torchloupe.prepare.run_data import RunData

C_VALUES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
VIEWS = 2
COMPARED = (f"head, {VIEWS} views", "sklearn", "sklearn, last")


def make_table(folders: list[Path], folds: int) -> Table:
    """One row a set and way."""
    table = Table("head", f"{folds} folds", ("set", "way", "accuracy, mean (std)", "seconds a fit"))
    gains: list[float] = []
    deep: list[float] = []
    for folder in folders:
        with tempfile.TemporaryDirectory(prefix="loupe-head-") as name:
            photos, count, classes = copy_classes(folder, Path(name) / "photos")
            say(f"{folder.name}: features of {count} images in {classes} classes")
            data = open_photos(photos, "pad")
            features = extract(data)
        found = compare(features, data, folds)
        title = f"{folder.name}, {count} images, {classes} classes"
        for way, (accuracies, seconds) in found.items():
            shown = f"{100 * statistics.mean(accuracies):.2f} %"
            spread = f"({100 * statistics.stdev(accuracies):.2f})"
            table.add(title, way, f"{shown} {spread}", f"{statistics.median(seconds):.2f}")
            say(f"{title}: {way} {shown} {spread}, {statistics.median(seconds):.2f} s")
        ours, theirs, last = (statistics.mean(found[way][0]) for way in COMPARED)
        gains.append(100 * (ours - theirs))
        deep.append(100 * (ours - last))
        table.expect(title, "not below sklearn", f"{gains[-1]:+.2f} points", gains[-1] >= 0)
        table.expect(title, "not below its last layer", f"{deep[-1]:+.2f}", deep[-1] >= 0)
    mean, over_last = statistics.mean(gains), statistics.mean(deep)
    table.expect("mean of the sets", ">= 1 point above", f"{mean:+.2f} points", mean >= 1)
    table.expect("over the last layer", ">= 4 points", f"{over_last:+.2f}", over_last >= 4)
    return table


def extract(data: RunData) -> torch.Tensor:
    """Features [N, VIEWS, D] in fp32."""
    rows = np.arange(len(data.samples))
    model = make_backbone()
    return compute_features(model, data, Precision("fp32", CPU), rows, VIEWS, lambda *_: None)


def compare(
    features: torch.Tensor, data: RunData, folds: int
) -> dict[str, tuple[list[float], list[float]]]:
    """Accuracies and seconds of each way, one for each fold."""
    labels, keys = data.samples.labels.astype(np.int64), data.samples.keys
    body = make_backbone().body
    assert isinstance(body, LiteBody)
    found: dict[str, tuple[list[float], list[float]]] = {}
    split = StratifiedKFold(folds, shuffle=True, random_state=0)
    plain = features[:, 0].numpy()
    for own, other in split.split(plain, labels):
        for views in range(1, VIEWS + 1):
            start = time.perf_counter()
            head = fit_head(
                features[own, :views].contiguous(),
                torch.from_numpy(labels[own]),
                keys[own],
                classes=int(labels.max()) + 1,
            )
            seconds = time.perf_counter() - start
            logits = features[other, :views].mean(dim=1) @ head.weight.T + head.bias
            accuracy = float((logits.argmax(dim=1).numpy() == labels[other]).mean())
            keep(found, f"head, {views} view{'s' if views > 1 else ''}", accuracy, seconds)
        for way, values in (("sklearn", plain), ("sklearn, last", plain[:, -body.deepest :])):
            start = time.perf_counter()
            model = regress(values[own], labels[own])
            seconds = time.perf_counter() - start
            keep(found, way, float(model.score(values[other], labels[other])), seconds)
    return found


def keep(
    found: dict[str, tuple[list[float], list[float]]], way: str, accuracy: float, seconds: float
) -> None:
    """Add a fold's figures."""
    accuracies, times = found.setdefault(way, ([], []))
    accuracies.append(accuracy)
    times.append(seconds)


def regress(values: NDArray[Any], labels: NDArray[Any]) -> Any:
    """scikit-learn's, its C chosen within the training images."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
        inner = StratifiedKFold(4, shuffle=True, random_state=0)
        grid = {"logisticregression__C": C_VALUES}
        return GridSearchCV(model, grid, cv=inner).fit(values, labels)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Compare the head with scikit-learn's regression.")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--save", action="store_true")
    chosen = parser.parse_args()
    made = make_table(chosen.folders, chosen.folds)
    print(made.to_markdown())
    if chosen.save:
        say(f"written to {made.save('python benchmarks/head.py FOLDER... --save')}")
