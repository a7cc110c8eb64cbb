"""Parity of exports over networks, fits and colours: `python benchmarks/export.py [--quick]`.

Each row is a run that is trained for an epoch (or `--epochs`, which networks with BatchNorm need so
that they tell images apart), exported to ONNX in float32 and compared from
file bytes, in a process without torchloupe and torch.

`--photographs` measures EfficientNet-Lite0 alone, finetuned for an epoch on parts of pictures, the
picture being the class: parity on 1,000 files of 500x375 pixels, int8 and its price in accuracy,
and how many photographs a second predict.py labels beside `loupe predict` and the artefact in it,
their start not counted.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from photographs import PICTURES, find_pictures, make_photographs
from PIL import Image

import torchloupe as loupe
from torchloupe.errors import LoupeError

TIMM = (
    *(
        "resnet18",
        "mobilenetv3_small_050",
        "efficientnet_b0",
        "convnext_atto",
        "vit_tiny_patch16_224",
    ),
    *("deit_tiny_patch16_224", "regnety_002", "densenet121", "ghostnet_100", "mixer_s32_224"),
)
TORCHVISION = (
    "resnet18",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "convnext_tiny",
    "swin_t",
)
PHOTOGRAPHS, COMPARED = 1500, 1000


def make_photos(place: Path, *, grey: bool = False) -> Path:
    """Three classes of 12 pictures of noise around a tint, JPEG and PNG, of many shapes."""
    rng = np.random.default_rng(0)
    for number, tint in enumerate(((200, 60, 40), (40, 180, 90), (60, 80, 220))):
        folder = place / f"class {number}"
        folder.mkdir(parents=True)
        for image in range(12):
            height, width = rng.integers(60, 400, 2)
            noise = rng.normal(0, 40, (height, width, 3)) + np.array(tint)
            picture = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
            picture = picture.convert("L") if grey else picture
            picture.save(folder / f"{image}.{'jpg' if image % 2 else 'png'}")
    return place


def make_table(place: Path, photos: Path) -> Path:
    """A table in which an image has several labels."""
    rows = ["image,labels"]
    for number, path in enumerate(sorted(photos.rglob("*.*"))):
        labels = "red|odd" if number % 2 else "red"
        rows.append(f"{path},{labels if number % 3 else 'green'}")
    place.write_text("\n".join(rows) + "\n")
    return place


def cases(place: Path, *, quick: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, arguments of `fit`) of each row."""
    colour, grey = make_photos(place / "colour"), make_photos(place / "grey", grey=True)
    for name in ("net", "cnn", "residual"):
        yield f"digits, {name}", {"data": "digits", "model": name}
    for fit in ("crop", "pad", "stretch"):
        settings = {"data.fit": fit, "data.size": "48x64"}
        yield f"colour, {fit}", {"data": colour, "model": "cnn", "settings": settings}
    yield "grey, pad", {"data": grey, "model": "cnn", "settings": {"data.fit": "pad"}}
    table = make_table(place / "table.csv", colour)
    several = {"data.label_column": "labels", "data.label_separator": "|"}
    yield "several labels", {"data": table, "model": "cnn", "settings": several}
    if quick:
        return
    for library, names in (("timm", TIMM), ("torchvision", TORCHVISION)):
        for name in names:
            yield f"{library}:{name}", {"data": colour, "model": f"{library}:{name}"}


def measure(name: str, options: dict[str, Any], out: Path, epochs: int) -> dict[str, Any]:
    """One row: the parity of the run's export, or the error of an export that failed."""
    own = {"hardware.precision": "fp32", "train.report": False, "check.level": "off"}
    settings = {**own, **options.pop("settings", {})}
    try:
        run = loupe.fit(**options, epochs=epochs, out=out, settings=settings, device="cpu", seed=0)
        start = time.perf_counter()
        folder = run.export(files=1000)
    except LoupeError as error:
        return {"name": name, "error": str(error)}
    parity = json.loads((folder / "export.json").read_text())["parity"]
    return {"name": name, "seconds": time.perf_counter() - start, **parity}


def label_photographs(place: Path) -> Path:
    """A table of photographs, each with the picture that it was cut from as its label."""
    folder, pictures = make_photographs(PHOTOGRAPHS), len(find_pictures(PICTURES))
    files = sorted(folder.glob("*/*.jpg"))
    rows = ["image,label", *(f"{path},picture {int(path.stem) % pictures}" for path in files)]
    place.write_text("\n".join(rows) + "\n")
    return place


def measure_photographs(place: Path) -> int:
    """Parity, int8 and pace of a finetuned backbone; 1 if one of them does not hold."""
    table = label_photographs(place / "photographs.csv")
    shares = {"data.val_fraction": COMPARED / PHOTOGRAPHS, "data.test_fraction": 0.0}
    settings = {**shares, "train.strategy": "finetune", "train.report": False}
    settings |= {"hardware.precision": "fp32", "hardware.device": "cpu"}
    run = loupe.fit(table, epochs=1, out=place / "run", settings=settings, seed=0)
    print(f"photographs: accuracy on val {100 * run.metrics['val']['accuracy']:.1f} %", flush=True)
    failed = 0
    for precision in ("fp32", "int8"):
        try:
            folder = run.export(precision=precision, out=place / precision, files=COMPARED)
        except LoupeError as error:
            failed = 1
            print(f"{precision} | {error}", flush=True)
            continue
        facts = json.loads((folder / "export.json").read_text())
        parity = facts["parity"]
        print(
            f"{precision} | {parity['files']:,} files, {parity['compared']:,} images | same class "
            f"{100 * parity['agreement']:.2f} % | largest difference "
            f"{parity['largest_difference']:.1e} by predict.py, "
            f"{parity['largest_in_graph'] or 0:.1e} in the graph",
            flush=True,
        )
        if price := facts.get("price"):
            print(
                f"{precision} | accuracy {100 * price['accuracy_before']:.2f} % before, "
                f"{100 * price['accuracy_after']:.2f} % after on {price['images']:,} images of "
                f"{price['split']}, p = {price['p_value']:.2g} | "
                f"{(folder / 'model.onnx').stat().st_size / 1e6:.1f} MB",
                flush=True,
            )
    images = [line.split(",")[0] for line in table.read_text().splitlines()[1 : COMPARED + 1]]
    show_pace(place, run.folder, images)
    return failed


def show_pace(place: Path, run: Path, images: list[str]) -> None:
    """Photographs per second of each way to label files, the time of a single one taken off."""
    loupe_words = [sys.executable, "-m", "torchloupe", "predict"]
    ways = {"loupe predict": [*loupe_words, str(run), "--device", "cpu"]}
    ways["loupe predict --fast"] = [*ways["loupe predict"], "--fast"]
    for precision in ("fp32", "int8"):
        if (place / precision).is_dir():
            script = place / precision / "predict.py"
            ways[f"predict.py, {precision}"] = [sys.executable, "-I", str(script)]
            ways[f"loupe predict of the export, {precision}"] = [
                *loupe_words,
                str(place / precision),
            ]
    for name, words in ways.items():
        seconds = []
        for chosen in (images[:1], images):
            start = time.perf_counter()
            subprocess.run([*words, *chosen], stdout=subprocess.DEVNULL, check=True)
            seconds.append(time.perf_counter() - start)
        rate = (len(images) - 1) / (seconds[1] - seconds[0])
        print(f"{name} | {rate:.0f} photographs/s", flush=True)


def main() -> int:
    """Print a row for each case; 1 if one of them is out of tolerance."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the zoo alone")
    parser.add_argument(
        "--only", default="", help="rows whose name has one of these in it, with commas"
    )
    parser.add_argument("--epochs", type=int, default=1, help="of the training of each row")
    parser.add_argument("--photographs", action="store_true", help="the backbone alone")
    asked = parser.parse_args()
    if asked.photographs:
        with tempfile.TemporaryDirectory(prefix="loupe-export-") as folder:
            return measure_photographs(Path(folder))
    failed = 0
    print(
        "run | images | of the data | same class | by predict.py | in the graph | logits, of what "
        "images change | does that tell | seconds"
    )
    with tempfile.TemporaryDirectory(prefix="loupe-export-") as folder:
        rows = list(cases(Path(folder), quick=asked.quick))
        for number, (name, options) in enumerate(rows):
            if not any(part in name for part in asked.only.split(",")):
                continue
            found = measure(name, options, Path(folder) / f"run-{number}", asked.epochs)
            if "error" in found:
                failed += 1
                print(f"{name} | {found['error']}", flush=True)
                continue
            inside, logits = found["largest_in_graph"], found["logits"]
            share = logits["largest"] / max(logits["spread"], 1e-30)
            print(
                f"{name} | {found['compared']:,} | {found['files']:,} | "
                f"{100 * found['agreement']:.2f} % | {found['largest_difference']:.1e} | "
                f"{'-' if inside is None else f'{inside:.1e}'} | {share:.1e} | "
                f"{'yes' if found['tells'] else 'no'} | {found['seconds']:.0f}",
                flush=True,
            )
            failed += not found["holds"]
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
