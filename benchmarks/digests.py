"""Digests of nine small runs: the same code gives the same bits, before and after a change.

    python benchmarks/digests.py --write before.json
    python benchmarks/digests.py --compare before.json

Each run is a process of its own, in one thread and fp32, so that two revisions can be compared on
one machine; what a profile of the machine would decide is given. Another machine or another torch
gives other digests. What is hashed: the arrays of
every checkpoint that was kept, events.jsonl and metrics.json without times, memory and notes.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PINNED = [
    *("--set", "hardware.precision=fp32", "--set", "hardware.channels_last=true"),
    *("--set", "hardware.compile=false", "--set", "hardware.threads=1"),
    *("--set", "train.micro_batches=1", "--device", "cpu", "--seed", "0", "--quiet"),
]
RENAMED = {"spread": "std", "dead_share": "dead_fraction"}  # names of fields in older revisions
LEFT_OUT = ("second", "bytes", "note", "peak", "images_per", "phase", "about", "minutes")


def run_loupe(*arguments: str, cache: Path, ranks: int = 1) -> None:
    """One command of torchloupe in a process of its own, or in one process for each rank."""
    command = [sys.executable, "-m", "torchloupe", *arguments]
    if ranks > 1:
        command[1:2] = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "-m"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} exited {done.returncode}\n{done.stderr[-2000:]}")


def stop_and_resume(folder: Path, *arguments: str, cache: Path) -> None:
    """Train, stop by SIGTERM after a few steps are written down, and resume."""
    command = [sys.executable, "-m", "torchloupe", "train", *arguments, "--out", str(folder)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    events = folder / "events.jsonl"
    while process.poll() is None:
        if events.exists() and '"train_loss"' in events.read_text(encoding="utf-8"):
            process.send_signal(signal.SIGTERM)
            break
        time.sleep(0.02)
    if process.wait() != 143:
        raise SystemExit(
            f"the run was to be stopped in the middle, and exited {process.returncode}"
        )
    run_loupe("resume", str(folder), "--quiet", cache=cache)


def write_pictures(folder: Path) -> Path:
    """Sixty colour pictures of three classes: stripes, checks and discs of random colours."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[0:80, 0:80]
    shapes = {
        "stripes": lambda step: (columns // step) % 2,
        "checks": lambda step: (rows // step + columns // step) % 2,
        "discs": lambda step: ((rows - 40) ** 2 + (columns - 40) ** 2 < (4 * step) ** 2) * 1,
    }
    for name, shape in shapes.items():
        (folder / name).mkdir(parents=True)
        for number in range(20):
            colours = random.integers(0, 256, (2, 3))
            pixels = colours[shape(int(random.integers(4, 10)))]
            noise = random.integers(-20, 21, pixels.shape)
            pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:02}.png")
    return folder


def comparable(value: Any) -> Any:
    """`value` without what two equal runs may differ in, under today's names."""
    if isinstance(value, dict):
        return {
            RENAMED.get(name, name): comparable(inner)
            for name, inner in value.items()
            if not any(word in name for word in LEFT_OUT)
        }
    return [comparable(inner) for inner in value] if isinstance(value, list) else value


def digest(value: Any) -> str:
    """SHA-256 of bytes, or of JSON with sorted keys."""
    data = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()[:16]


def digest_run(folder: Path) -> dict[str, str]:
    """Digests of the arrays, events and metrics of a run folder, or of each fold in it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".safetensors" and not path.parent.is_symlink():
            found[name] = digest(path.read_bytes())
        elif path.name == "events.jsonl":
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            kept = [event for line in lines if (event := comparable(line))]
            found[name] = digest([event for event in kept if set(event) - {"step"}])
        elif path.name == "metrics.json":
            found[name] = digest(comparable(json.loads(path.read_text(encoding="utf-8"))))
    return found


def make_runs(folder: Path) -> dict[str, dict[str, str]]:
    """Train all runs below `folder`, and give the digests of each by its name."""
    cache = folder / "cache"
    pictures = str(write_pictures(folder / "pictures"))
    short = ["--epochs", "2", *PINNED, "--set", "train.log_every_steps=10"]
    runs: dict[str, list[str]] = {
        f"digits with {name}": ["digits", "--model", name, *short]
        for name in ("net", "cnn", "residual")
    }
    measured = ["--set", "model.options.width=16", "--set", "optimizer.name=muon"]
    runs["digits by the recipe"] = [
        "digits",
        *short,
        *measured,
        "--set",
        "augment.rotate_degrees=8",
    ]
    runs["pictures with a head"] = [pictures, "--strategy", "head", *PINNED]
    runs["pictures finetuned"] = [pictures, "--strategy", "finetune", "--epochs", "1", *PINNED]
    runs["folds"] = ["digits", "--model", "net", "--folds", "2", *short]
    found = {}
    for name, arguments in runs.items():
        place = folder / name.replace(" ", "-")
        run_loupe("train", *arguments, "--out", str(place), cache=cache)
        found[name] = digest_run(place)
        print(f"{name}: {digest(found[name])}", flush=True)
    place = folder / "two-ranks"
    run_loupe(
        "train", "digits", "--model", "cnn", *short, "--out", str(place), cache=cache, ranks=2
    )
    found["two ranks"] = digest_run(place)
    place = folder / "resumed"
    stop_and_resume(place, "digits", "--model", "residual", *short, cache=cache)
    found["stopped and resumed"] = digest_run(place)
    for name in ("two ranks", "stopped and resumed"):
        print(f"{name}: {digest(found[name])}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", type=Path, help="write the digests to this file")
    parser.add_argument(
        "--compare", type=Path, help="compare with this file; exit 1 if they differ"
    )
    parser.add_argument("--keep", type=Path, help="leave the run folders here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = make_runs(options.keep or Path(temporary))
    if options.write:
        options.write.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if options.compare:
        before = json.loads(options.compare.read_text(encoding="utf-8"))
        wrong = [
            f"{run}: {name}"
            for run in sorted({*before, *found})
            for name in sorted({*before.get(run, {}), *found.get(run, {})})
            if before.get(run, {}).get(name) != found.get(run, {}).get(name)
        ]
        print("\n".join(["these differ:", *wrong]) if wrong else "all the same")
        raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
