"""Parity of exports over networks, fits and colours: `python benchmarks/export.py [--quick]`.

Each row is a run that is trained for an epoch, exported to ONNX in float32 and compared from
file bytes, in a process without torchloupe and torch. `--photos DIR` adds class folders of
photographs with EfficientNet-Lite0, finetuned for an epoch and compared on up to 1,000 files.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
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
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "mnasnet0_5",
)
TOLERANCE = 1e-4


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


def measure(name: str, options: dict[str, Any], out: Path, files: int = 1000) -> dict[str, Any]:
    """One row: the parity of the run's export, or the error of an export that failed."""
    settings = {"hardware.precision": "fp32", **options.pop("settings", {})}
    try:
        run = loupe.fit(**options, epochs=1, out=out, settings=settings, device="cpu", seed=0)
        start = time.perf_counter()
        folder = run.export(files=files)
    except LoupeError as error:
        return {"name": name, "error": str(error)}
    parity = json.loads((folder / "export.json").read_text())["parity"]
    return {"name": name, "seconds": time.perf_counter() - start, **parity}


def main() -> int:
    """Print a row for each case; 1 if one of them is out of tolerance."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the zoo alone")
    parser.add_argument("--only", default="", help="rows whose name has this in it")
    parser.add_argument("--photos", type=Path, help="class folders of photographs")
    asked = parser.parse_args()
    failed = 0
    print("run | images | of the data | same class | by predict.py | in the graph | seconds")
    with tempfile.TemporaryDirectory(prefix="loupe-export-") as folder:
        rows = list(cases(Path(folder), quick=asked.quick))
        if asked.photos:
            strategy = {"train.strategy": "finetune"}
            photos = {"data": asked.photos, "model": "auto", "settings": strategy}
            rows.append(("photographs, EfficientNet-Lite0", photos))
        for number, (name, options) in enumerate(rows):
            if asked.only not in name:
                continue
            found = measure(name, options, Path(folder) / f"run-{number}")
            if "error" in found:
                failed += 1
                print(f"{name} | {found['error']}", flush=True)
                continue
            inside = found["largest_in_graph"]
            print(
                f"{name} | {found['compared']:,} | {found['files']:,} | "
                f"{100 * found['agreement']:.2f} % | {found['largest_difference']:.1e} | "
                f"{'-' if inside is None else f'{inside:.1e}'} | {found['seconds']:.0f}",
                flush=True,
            )
            failed += not found["holds"]
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
