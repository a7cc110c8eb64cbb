"""A small student on Fashion-MNIST with and without a teacher, in turns, over several seeds.

    python benchmarks/distill.py                       # 6,000 training images, three seeds
    python benchmarks/distill.py --train 60000 --seeds 5
    python benchmarks/distill.py --epochs 100 --teacher-epochs 12

Teacher: `residual`; student: a `cnn` with a quarter of its channels. The student's seed changes,
the split and the teacher don't. Accuracy is that of the 10,000 published test images.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from fashion import read_part

ROOT = Path(__file__).resolve().parents[1]
COMMON = {
    "data.split_seed": 0,
    "train.strategy": "scratch",
    "train.report": "false",
    "check.level": "off",
    "hardware.precision": "fp32",
    "augment.translate": 0.08,
    "augment.flip": "true",
}


def write_set(folder: Path, count: int) -> Path:
    """The first `count` training images, and all test images, as an .npz with the two splits."""
    images, labels = read_part("train")
    test_images, test_labels = read_part("t10k")
    path = folder / "fashion.npz"
    arrays = {"x_train": images[:count], "y_train": labels[:count]}
    np.savez(path, **arrays, x_test=test_images, y_test=test_labels)
    return path


def train(data: Path, out: Path, words: list[str], settings: dict[str, object]) -> float:
    """Seconds that a run took; it is in `out`."""
    chosen = [f"{name}={value}" for name, value in {**COMMON, **settings}.items()]
    sets = [word for text in chosen for word in ("--set", text)]
    command = [sys.executable, "-m", "torchloupe", "train", str(data), "--out", str(out), "--quiet"]
    began = time.perf_counter()
    done = subprocess.run([*command, *words, *sets], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - began


def accuracy(run: Path) -> float:
    """Test accuracy, in percent."""
    return 100 * json.loads((run / "metrics.json").read_text())["test"]["accuracy"]


def main() -> None:
    """Train a teacher, then the students, and print a table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--train", type=int, default=6_000)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--epochs", type=int, default=12)
    options.add_argument("--teacher-epochs", type=int, help="of the teacher, else as many")
    options.add_argument("--widths", default="[8, 16]")
    options.add_argument("--weight", type=float, default=0.5, help="distill.weight")
    options.add_argument("--temperature", type=float, default=2.0, help="distill.temperature")
    asked = options.parse_args()
    os.environ["PYTHONPATH"] = str(ROOT / "src")
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        os.environ["XDG_CACHE_HOME"] = str(place / "cache")
        data, teacher = write_set(place, asked.train), place / "teacher"
        epochs = ["--epochs", str(asked.epochs)]
        words = ["--epochs", str(asked.teacher_epochs or asked.epochs)]
        seconds = train(data, teacher, ["--model", "residual", "--seed", "0", *words], {})
        print(f"teacher                 {accuracy(teacher):.2f} % in {seconds:.0f} s", flush=True)
        ways = {"alone": [], "with its teacher": ["--teacher", str(teacher)]}
        found: dict[str, list[float]] = {way: [] for way in ways}
        took: dict[str, list[float]] = {way: [] for way in ways}
        for seed in range(1, asked.seeds + 1):
            for way, more in ways.items():
                run = place / f"{way[:5]}-{seed}"
                words = ["--model", "cnn", "--seed", str(seed), *epochs, *more]
                settings: dict[str, object] = {"model.options.widths": asked.widths}
                if more:
                    settings["distill.weight"] = asked.weight
                    settings["distill.temperature"] = asked.temperature
                took[way].append(train(data, run, words, settings))
                found[way].append(accuracy(run))
        for way, scores in found.items():
            listed = ", ".join(f"{score:.2f}" for score in scores)
            print(
                f"student {way:16}{np.mean(scores):.2f} % ({listed}), {np.median(took[way]):.0f} s"
            )
        gain = np.array(found["with its teacher"]) - np.array(found["alone"])
        print(
            f"gain                    {gain.mean():+.2f} ({gain.min():+.2f} to {gain.max():+.2f})"
        )


if __name__ == "__main__":
    main()
