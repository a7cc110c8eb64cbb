"""A few hundred photographs and drawings: how good, how fast, beside what people do today.

    python benchmarks/photos.py [FOLDER] [--folds 5] [--timed 1,2] [--only accuracy,times,...]

FOLDER has a folder for each class; those with fewer than 20 images are left out. By default it is
that of Debian's tuxpaint-stamps-default. Four things are measured, on the same folds:

- test accuracy of `loupe train --folds`, of its head alone, and of scikit-learn's logistic
  regression on the same backbone's frozen features of the image's middle, its C chosen by
  cross-validation within the training images;
- seconds to the accuracy of that regression: `loupe train --strategy head`, reading and decoding
  included, against a plain loop that finetunes the same backbone (AdamW, one-cycle, random crops
  and flips, judged after each epoch; judging is not counted; stopped once it took 12 times ours);
- seconds of `loupe train FOLDER` as it is, from the start of the process to its end;
- images a second through the backbone, against plain eager fp32 in batches of 32.

Importing is counted for nobody but in the third. About 20 minutes on two cores.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from table import Table
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from turns import Answer, Failure, Spread, answer, ask, run_loupe, say

from torchloupe.cli.main import run as run_command
from torchloupe.config.schema import DataConfig
from torchloupe.config.settings import Settings
from torchloupe.hardware.precision import Precision
from torchloupe.model.backbones import input_spec_of, load_pretrained
from torchloupe.model.transfer import LITE, LiteBody, Transfer, make_transfer
from torchloupe.prepare.data import prepare_data
from torchloupe.prepare.features import choose_feature_format, compute_features
from torchloupe.prepare.run_data import RunData

STAMPS = Path("/usr/share/tuxpaint/stamps")
FEWEST = 20
ENDINGS = {".png", ".jpg", ".jpeg"}
C_VALUES = np.logspace(-4, 3, 8)
LOOP_EPOCHS, LOOP_BATCH, LOOP_RATE = 10, 32, 1e-3
PATIENCE = 12  # times ours that the loop may take
RATE_IMAGES = 160
CPU = torch.device("cpu")


def make_table(folder: Path, folds: int, timed: Sequence[int], parts: Sequence[str]) -> Table:
    """The `parts` that were asked for, as one table."""
    with tempfile.TemporaryDirectory(prefix="loupe-photos-") as name:
        place = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(place / "cache")
        photos, count, classes = copy_classes(folder, place / "photos")
        title = f"{count} images in {classes} classes of {folder}"
        table = Table("photos", title, ("what", "torchloupe", "beside it", "ratio or gap"))
        asked = range(1, folds + 1) if "accuracy" in parts else timed if "times" in parts else ()
        regression = regress_folds(photos, folds, asked)
        if "accuracy" in parts:
            add_accuracy(table, photos, place, tuple(regression.values()))
        if "times" in parts:
            add_times(table, photos, folds, {number: regression[number] for number in timed})
        if "whole" in parts:
            add_whole_run(table, photos, place)
        if "rates" in parts:
            add_rates(table, photos)
    return table


def copy_classes(source: Path, target: Path) -> tuple[Path, int, int]:
    """The classes of `source` with FEWEST images or more, copied; how many images and classes."""
    total, classes = 0, 0
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        images = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in ENDINGS]
        if len(images) < FEWEST:
            continue
        classes += 1
        for image in images:
            copy = target / folder.name / image.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(image, copy)
            total += 1
    return target, total, classes


def regress_folds(photos: Path, folds: int, asked: Iterable[int]) -> dict[int, float]:
    """The regression's test accuracy in those of loupe's folds that are asked for."""
    say("logistic regression")
    run_data = open_photos(photos, "crop")
    features = extract(run_data, "fp32", 32, eager=True)[0]
    accuracies = {}
    for number in asked:
        is_test = np.zeros(len(features), dtype=bool)
        is_test[open_photos(photos, "crop", fold=number, folds=folds).splits.test] = True
        accuracies[number] = regress(features, run_data.samples.labels, is_test)
    return accuracies


def add_accuracy(table: Table, photos: Path, place: Path, regression: Sequence[float]) -> None:
    """Rows of accuracy."""
    folds, beside = len(regression), Spread(tuple(regression))
    heads = loupe("train", photos, "--folds", folds, "--strategy", "head", "--out", place / "head")
    tuned = loupe("train", photos, "--folds", folds, "--out", place / "default")
    for what, found in (("default settings", tuned), ("--strategy head", heads)):
        values = Spread(tuple(run["accuracy"] for run in found["runs"]))
        gain = 100 * (statistics.mean(values.values) - statistics.mean(beside.values))
        table.add(
            f"test accuracy of {folds} folds, {what}: mean (range)",
            show_mean(values),
            f"logistic regression {show_mean(beside)}",
            f"{gain:+.2f} points",
        )
        if found is tuned:
            wanted = ">= 2 points better than the regression"
            table.expect(what, wanted, f"{gain:+.2f} points", gain >= 2)


def add_times(table: Table, photos: Path, folds: int, regression: Mapping[int, float]) -> None:
    """Rows of seconds to the regression's accuracy, fold by fold."""
    ours, loops, reached = [], [], []
    for number, wanted in regression.items():
        case = {"photos": str(photos), "fold": number, "folds": folds, "wanted": wanted}
        case["most_seconds"] = 0.0
        for kind, times in (("head", ours), ("loop", loops)):
            say(f"time to {wanted:.1%} in fold {number}: {kind}")
            found = ask(__file__, {**case, "kind": kind})
            if isinstance(found, Failure):
                raise RuntimeError(found.reason)  # noqa: TRY004 - a case that failed
            times.append(found["seconds"])
            case["most_seconds"] = PATIENCE * found["seconds"]
            epochs = f" after {found['epochs']} epochs" if found["epochs"] else ""
            reached.append(f"fold {number}: {kind} {found['accuracy']:.1%}{epochs}")
    lead = statistics.median(b / a for a, b in zip(ours, loops, strict=True))
    table.add(
        f"seconds to the regression's accuracy, fold {', '.join(map(str, regression))}",
        Spread(tuple(ours)).show(1),
        f"plain finetuning {Spread(tuple(loops)).show(1)}",
        f"{lead:.1f}x faster",
    )
    table.expect("time to that accuracy", ">= 10x faster", f"{lead:.1f}x", lead >= 10)
    table.notes.append(f"accuracy when the clock stopped: {'; '.join(reached)}")


def add_whole_run(table: Table, photos: Path, place: Path) -> None:
    """A row of the whole command, with an empty cache."""
    say("the whole of loupe train")
    environment = {**os.environ, "XDG_CACHE_HOME": str(place / "fresh")}
    command = [sys.executable, "-m", "torchloupe", "train", str(photos), "--quiet"]
    start = time.perf_counter()
    done = subprocess.run(
        [*command, "--out", str(place / "whole")], env=environment, capture_output=True, check=False
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace").strip())
    metrics = json.loads((place / "whole" / "metrics.json").read_text())
    accuracy = f"test accuracy {metrics['test']['accuracy']:.1%}"
    table.add("the whole of `loupe train FOLDER`, seconds", f"{seconds:.0f}", accuracy, "")
    table.expect("the whole run", "<= 240 s", f"{seconds:.0f} s", seconds <= 240)


def add_rates(table: Table, photos: Path) -> None:
    """A row of images a second through the backbone."""
    say("features")
    run_data = open_photos(photos, "pad")
    ours, eager, chosen = [], [], ""
    for _ in range(5):
        rate, chosen = extract(run_data, "", 0, eager=False, most=RATE_IMAGES)[1:]
        ours.append(rate)
        eager.append(extract(run_data, "fp32", 32, eager=True, most=RATE_IMAGES)[1])
    lead = statistics.median(ours) / statistics.median(eager)
    table.add(
        "images/s through the backbone",
        f"{Spread(tuple(ours)).show()}, {chosen}",
        f"plain eager fp32 {Spread(tuple(eager)).show()}",
        f"{lead:.1f}x",
    )
    table.expect("features", ">= 2x", f"{lead:.1f}x", lead >= 2)


def loupe(*words: Any) -> dict[str, Any]:
    """What the command prints; RuntimeError where it fails."""
    say(f"loupe {' '.join(map(str, words))}")
    found = run_loupe(*words)
    if isinstance(found, Failure):
        raise RuntimeError(found.reason)  # noqa: TRY004 - a case that failed
    return found


def open_photos(photos: Path, fit: str, fold: int = 0, folds: int = 0) -> RunData:
    """The images as the backbone wants them, decoded."""
    input_spec = input_spec_of(LITE)
    size = str(input_spec.size)
    config = DataConfig(
        size=size, mode="RGB", fit=fit, kernel=input_spec.kernel, fold=fold, folds=folds
    )
    return prepare_data(photos, config, seed=0, input_spec=input_spec)


def make_backbone() -> Transfer:
    """The backbone with its ImageNet weights."""
    model = make_transfer(LITE, in_channels=3, classes=2, image_size=(224, 224))
    load_pretrained(model, LITE)
    return model.eval()


def extract(
    run_data: RunData, name: str, batch: int, *, eager: bool, most: int = 10**9
) -> tuple[NDArray[np.float32], float, str]:
    """Features, images a second, and the number format.

    Eager: the network's own last features as timm gives them, in batches, channels first. Else
    torchloupe's, in the format that it chooses.
    """
    model, rows = make_backbone(), np.arange(min(most, len(run_data.samples)))
    if not eager:
        batch_8 = next(iter(run_data.scan_rows(rows[:8], CPU)))
        settings = Settings().with_default({"hardware.precision": "fp32"})
        found, _ = choose_feature_format(settings, model, batch_8)
        name = found.get("hardware.precision", "fp32")
        start = time.perf_counter()
        values = compute_features(model, run_data, Precision(name, CPU), rows, 1, lambda *_: None)
        return values[:, 0].numpy(), len(rows) / (time.perf_counter() - start), name
    body, parts = model.body, []
    assert isinstance(body, LiteBody)
    start = time.perf_counter()
    with torch.inference_mode():
        for begin in range(0, len(rows), batch):
            pixels = run_data.pixels.gather_on(CPU, rows[begin : begin + batch])  # type: ignore[union-attr]
            images = run_data.contract.normalise(pixels).contiguous()
            deep = body.blocks(body.bn1(body.conv_stem(images)))
            parts.append(body.bn2(body.conv_head(deep)).mean(dim=(2, 3)))
    rate = len(rows) / (time.perf_counter() - start)
    return torch.cat(parts).numpy(), rate, name


def regress(features: NDArray[Any], labels: NDArray[Any], is_test: NDArray[np.bool_]) -> float:
    """Test accuracy of a logistic regression, its C chosen by five folds of the training part."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inner = StratifiedKFold(5, shuffle=True, random_state=0)
        model = LogisticRegression(max_iter=3000)
        search = GridSearchCV(model, {"C": C_VALUES}, cv=inner, n_jobs=-1)
        search.fit(features[~is_test], labels[~is_test])
    return float(search.score(features[is_test], labels[is_test]))


def show_mean(values: Spread) -> str:
    """The mean in percent, and the range."""
    low, high = 100 * min(values.values), 100 * max(values.values)
    return f"{100 * statistics.mean(values.values):.2f} % ({low:.1f}..{high:.1f})"


def measure(
    kind: str, photos: str, fold: int, folds: int, wanted: float, most_seconds: float
) -> Answer:
    """Seconds to `wanted` on one fold's test images, by torchloupe's head or by a plain loop."""
    if kind == "head":
        return measure_head(Path(photos), fold, folds)
    return measure_loop(Path(photos), fold, folds, wanted, most_seconds)


def measure_head(photos: Path, fold: int, folds: int) -> Answer:
    """The command from its first to its last line, its cache empty."""
    import torchloupe.train.start  # noqa: F401 - importing is counted for nobody

    with tempfile.TemporaryDirectory() as name:
        os.environ["XDG_CACHE_HOME"] = name
        words = ["train", str(photos), "--strategy", "head", "--quiet", "--out", f"{name}/run"]
        words += ["--set", f"data.folds={folds}", "--set", f"data.fold={fold}"]
        start = time.perf_counter()
        if run_command(words):
            raise RuntimeError("the command failed")
        seconds = time.perf_counter() - start
        metrics = json.loads(Path(name, "run", "metrics.json").read_text())
    return {"seconds": seconds, "accuracy": metrics["test"]["accuracy"], "epochs": 0}


class Photographs(Dataset[tuple[torch.Tensor, int]]):
    """Files and labels, through torchvision's transforms."""

    def __init__(self, files: list[Path], labels: list[int], transform: Any) -> None:
        self.files, self.labels, self.transform = files, labels, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        image = Image.open(self.files[row]).convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(image)
        return self.transform(ground.convert("RGB")), self.labels[row]


def measure_loop(photos: Path, fold: int, folds: int, wanted: float, most_seconds: float) -> Answer:
    """A plain loop that finetunes all of the backbone; a worker decodes beside it."""
    run_data = open_photos(photos, "crop", fold, folds)
    splits, samples = run_data.splits, run_data.samples
    normal = transforms.Normalize(*([0.5] * 3,) * 2)
    changed = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip()]
    still = [transforms.Resize(256, interpolation=3), transforms.CenterCrop(224)]

    def load(rows: NDArray[np.int64], steps: list[Any], *, train: bool) -> DataLoader[Any]:
        files = [photos / str(name) for name in samples.ids[rows]]
        labels = [int(label) for label in samples.labels[rows]]
        transform = transforms.Compose([*steps, transforms.ToTensor(), normal])
        return DataLoader(
            Photographs(files, labels, transform),
            batch_size=LOOP_BATCH,
            shuffle=train,
            num_workers=1,
            persistent_workers=True,
        )

    torch.manual_seed(0)
    start = time.perf_counter()
    model = make_finetuned(len(samples.class_names))
    rows = np.sort(np.concatenate([splits.train, splits.val]))
    loader, test = load(rows, changed, train=True), load(splits.test, still, train=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LOOP_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LOOP_RATE, epochs=LOOP_EPOCHS, steps_per_epoch=len(loader)
    )
    judging, accuracy, epoch, seconds = 0.0, 0.0, 0, 0.0
    while accuracy < wanted and epoch < LOOP_EPOCHS and seconds < most_seconds:
        epoch += 1
        model.train()
        for images, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
            schedule.step()
        now = time.perf_counter()
        seconds = now - start - judging
        model.eval()
        with torch.inference_mode():
            right = [(model(images).argmax(1) == labels).sum() for images, labels in test]
        accuracy = int(torch.stack(right).sum()) / len(splits.test)
        judging += time.perf_counter() - now
    return {"seconds": seconds, "accuracy": accuracy, "epochs": epoch}


def make_finetuned(classes: int) -> nn.Module:
    """timm's network with the same ImageNet weights and a new last layer, as people make it."""
    body = make_backbone().body
    assert isinstance(body, LiteBody)
    layers = (body.conv_stem, body.bn1, body.blocks, body.conv_head, body.bn2)
    pool = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2))
    return nn.Sequential(*layers, *pool, nn.Linear(body.deepest, classes))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Photographs: how good, and how fast.")
    parser.add_argument("folder", nargs="?", type=Path, default=STAMPS)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--timed", default="1,2", help="folds whose time is measured")
    parser.add_argument("--only", default="accuracy,times,whole,rates", help="some of these")
    parser.add_argument("--save", action="store_true", help="write it to results/ as well")
    chosen = parser.parse_args()
    timed = [int(number) for number in chosen.timed.split(",")]
    table = make_table(chosen.folder, chosen.folds, timed, chosen.only.split(","))
    print(table.to_markdown())
    if chosen.save:
        say(f"written to {table.save('python benchmarks/photos.py --save')}")


if __name__ == "__main__" and not answer(measure):
    main()
