"""The head on fixed features: accuracy and seconds, beside scikit-learn on the same features.

    python benchmarks/head.py FOLDER... [--folds 5] [--most 2000] [--keep PLACE] [--quick] [--save]
    python benchmarks/head.py FOLDER... --solve 2893 [--keep PLACE]

Each FOLDER has a folder for each class; classes with fewer than 20 images are left out, and of more
than --most images some are drawn. The head is that of `loupe train FOLDER`: features of
EfficientNet-Lite0 at all depths, in bf16 where the CPU has it, of an image and its mirror image
(unless classes are named like digits, as the recipe has it).
Beside it stands StandardScaler and LogisticRegression, its C chosen by three folds of the training
images: on the same features of one view, on those of blocks' outputs alone (1,704), and on the last
layer's (1,280). The same test folds for all (StratifiedKFold, seed 0).

With --keep features stay in files of PLACE, to be taken from there the next time. With --quick the
regression beside it is torchloupe's, without parts and second view: its solution is scikit-learn's
(tests/model/test_head.py) in a fraction of the time. With --solve the sets are joined, and the head
is timed on so many images in 15 classes.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from photos import CPU, copy_classes, open_photos
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from table import Table
from turns import Spread, say

from torchloupe.hardware.precision import Precision
from torchloupe.model.backbones import load_pretrained
from torchloupe.model.head import fit_head, moderate
from torchloupe.model.transfer import LITE, LITE_TAPS, LiteBody, Transfer, make_transfer
from torchloupe.prepare.features import compute_features
from torchloupe.recipes.augmentation import why_not_mirrored
from torchloupe.speed.choice import has_fast_bf16
from torchloupe.system.counter_rng import Keys

C_VALUES = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 1.0)
INNER_FOLDS = 3
SOLVED_CLASSES = 15
VIEWS = 2
BESIDE = ("same features", "outputs of blocks", "last layer")


@dataclass(frozen=True, eq=False)
class Known:
    """Features of the images of a set, their labels and keys."""

    features: torch.Tensor  # [N, VIEWS, D]
    labels: NDArray[np.int64]
    keys: Keys
    names: tuple[str, ...]  # of the classes

    def draw(self, most: int) -> "Known":
        """`most` of the images, by their keys; all if they are fewer."""
        rows = np.sort(np.argsort(self.keys, kind="stable")[:most])
        features = self.features[torch.from_numpy(rows)]
        return replace(self, features=features, labels=self.labels[rows], keys=self.keys[rows])

    @property
    def views(self) -> int:
        """How many views the head is fitted to."""
        return 1 if why_not_mirrored(3, self.names) else VIEWS


def make_table(folders: list[Path], chosen: argparse.Namespace) -> Table:
    """One row a set and way."""
    title = f"{chosen.folds} folds"
    table = Table("head", title, ("set", "way", "accuracy, mean (std)", "seconds a fit"))
    gains: dict[str, list[float]] = {name: [] for name in BESIDE}
    for folder in folders:
        known = find_features(folder, chosen.keep).draw(chosen.most)
        found = compare(known, chosen.folds, is_quick=chosen.quick)
        classes = len(np.unique(known.labels))
        title = f"{folder.name}, {len(known.labels)} images, {classes} classes"
        for way, (accuracies, seconds) in found.items():
            shown = f"{100 * statistics.mean(accuracies):.2f} %"
            spread = f"({100 * statistics.stdev(accuracies):.2f})"
            table.add(title, way, f"{shown} {spread}", f"{statistics.median(seconds):.2f}")
            say(f"{title}: {way} {shown} {spread}, {statistics.median(seconds):.2f} s")
        ours = statistics.mean(found["head"][0])
        for name in BESIDE:
            gains[name].append(100 * (ours - statistics.mean(found[name][0])))
            wanted = f"not below the regression on {name}"
            table.expect(title, wanted, f"{gains[name][-1]:+.2f} points", gains[name][-1] >= 0)
    for name, least in zip(BESIDE, (1, 1, 4), strict=True):
        mean = statistics.mean(gains[name])
        wanted = f">= {least} over the regression on {name}"
        table.expect("mean of the sets", wanted, f"{mean:+.2f} points", mean >= least)
    return table


def time_fit(folders: list[Path], count: int, place: Path | None) -> str:
    """Seconds of three fits on `count` images in SOLVED_CLASSES classes of all sets together."""
    some, classes = [], 0
    for folder in folders:
        known = find_features(folder, place)
        some.append(replace(known, labels=known.labels + classes))
        classes += int(known.labels.max()) + 1
    labels = np.concatenate([known.labels for known in some])
    keys = np.concatenate([known.keys for known in some])
    rows = np.flatnonzero(labels < SOLVED_CLASSES)
    rows = rows[np.argsort(keys[rows], kind="stable")][:count]
    features = torch.cat([known.features for known in some])[torch.from_numpy(rows)]
    keys, labels = keys[rows], labels[rows]
    if len(rows) < count or len(np.unique(labels)) < SOLVED_CLASSES:
        raise ValueError(f"{len(rows)} images in {len(np.unique(labels))} classes are too few")
    lines, parts = [], body_of(make_network()).parts
    for name, values, sizes in (
        ("all features", features, parts),
        ("outputs of blocks", features[..., outputs_of(parts)], ()),
    ):
        seconds = []
        for _ in range(3):
            start, used = time.perf_counter(), time.process_time()
            head = fit_head(
                values,
                torch.from_numpy(labels),
                keys,
                classes=SOLVED_CLASSES,
                parts=sizes,
                bounded=True,
            )
            seconds.append(time.perf_counter() - start)
            used = time.process_time() - used
        lines.append(
            f"{count} images, {SOLVED_CLASSES} classes, {values.shape[2]} features ({name}): "
            f"{Spread(tuple(seconds)).show(2)} s a fit, {used:.1f} of processor time, "
            f"penalty {head.penalty}, left-out accuracy {head.accuracy:.1%}"
        )
    return "\n".join(lines)


def make_network() -> Transfer:
    """The backbone with its ImageNet weights, giving all features."""
    facts: dict[str, Any] = {"in_channels": 3, "classes": 2, "image_size": (224, 224)}
    model = make_transfer(LITE, **facts, options={"inner": True})
    load_pretrained(model, LITE)
    return model.eval()


def body_of(model: Transfer) -> LiteBody:
    """Its body."""
    assert isinstance(model.body, LiteBody)
    return model.body


def outputs_of(parts: tuple[int, ...]) -> torch.Tensor:
    """Where the features of blocks' outputs are, those without inner channels."""
    first, deepest = sum(parts[: len(LITE_TAPS)]), parts[-1]
    return torch.cat([torch.arange(first), torch.arange(sum(parts) - deepest, sum(parts))])


def find_features(folder: Path, place: Path | None) -> Known:
    """Features of the images of `folder`, from `place` or computed and kept there."""
    file = place / f"{folder.name}.npz" if place else None
    if file is not None and file.exists():
        with np.load(file) as kept:
            labels, names = kept["y"].astype(np.int64), tuple(map(str, kept["names"]))
            return Known(torch.from_numpy(kept["x"]), labels, kept["keys"], names)
    with tempfile.TemporaryDirectory(prefix="loupe-head-") as name:
        photos, count, classes = copy_classes(folder, Path(name) / "photos")
        say(f"{folder.name}: features of {count} images in {classes} classes")
        data = open_photos(photos, "pad")
        precision = Precision("bf16" if has_fast_bf16(CPU) else "fp32", CPU)
        rows = np.arange(len(data.samples))
        features = compute_features(make_network(), data, precision, rows, VIEWS, lambda *_: None)
    samples = data.samples
    labels, names = samples.labels.astype(np.int64), tuple(samples.class_names)
    known = Known(features, labels, samples.keys, names)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, x=features.numpy(), y=labels, keys=known.keys, names=np.array(names))
    return known


def compare(
    known: Known, folds: int, *, is_quick: bool
) -> dict[str, tuple[list[float], list[float]]]:
    """Accuracies and seconds of each way, one for each fold."""
    labels, features = known.labels, known.features
    classes = int(labels.max()) + 1
    parts = body_of(make_network()).parts
    plain = features[:, :1]
    beside = (plain, plain[..., outputs_of(parts)], plain[..., -parts[-1] :])
    found: dict[str, tuple[list[float], list[float]]] = {}
    split = StratifiedKFold(folds, shuffle=True, random_state=0)
    for own, other in split.split(plain, labels):
        ways = {
            "head": (features[:, : known.views], parts),
            **{name: (x, ()) for name, x in zip(BESIDE, beside, strict=True)},
        }
        for way, (values, sizes) in ways.items():
            start = time.perf_counter()
            if way == "head" or is_quick:
                wanted = torch.from_numpy(labels[own])
                head = fit_head(
                    values[own].contiguous(),
                    wanted,
                    known.keys[own],
                    classes=classes,
                    parts=sizes,
                    bounded=way == "head",
                )
                seconds = time.perf_counter() - start
                seen = values[other]
                if head.low is not None:
                    seen = moderate(seen, head.low, head.high)
                logits = seen.mean(dim=1) @ head.weight.T + head.bias
                guessed = logits.argmax(dim=1).numpy()
            else:
                regression = regress(values[own, 0].numpy(), labels[own])
                seconds = time.perf_counter() - start
                guessed = regression.predict(values[other, 0].numpy())
            accuracies, times = found.setdefault(way, ([], []))
            accuracies.append(float((guessed == labels[other]).mean()))
            times.append(seconds)
    return found


def regress(values: NDArray[Any], labels: NDArray[Any]) -> Any:
    """scikit-learn's, its C chosen within the training images."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
        inner = StratifiedKFold(INNER_FOLDS, shuffle=True, random_state=0)
        grid = {"logisticregression__C": C_VALUES}
        return GridSearchCV(model, grid, cv=inner).fit(values, labels)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Compare the head with scikit-learn's regression.")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--most", type=int, default=2000, help="images of a set")
    parser.add_argument("--keep", type=Path, help="a folder where features stay")
    parser.add_argument("--quick", action="store_true", help="without scikit-learn")
    parser.add_argument("--solve", type=int, default=0, help="images to time a fit with")
    parser.add_argument("--save", action="store_true")
    chosen = parser.parse_args()
    if chosen.solve:
        print(time_fit(chosen.folders, chosen.solve, chosen.keep))
        raise SystemExit
    made = make_table(chosen.folders, chosen)
    print(made.to_markdown())
    if chosen.save:
        say(f"written to {made.save('python benchmarks/head.py FOLDER... --save')}")
