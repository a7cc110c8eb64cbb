"""Predictions for many images in shards, killed on the way, against an undisturbed prediction.

    python benchmarks/bulk.py                  # 200,000 images, 80 shards, 2 ranks, three kills
    python benchmarks/bulk.py --images 4000    # does it run here? half a minute

Every process of a prediction is killed (SIGKILL) at a random moment, in each third of the work;
then the same command is given again. Prints a table, and ends with 1 where a file differs.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from shards import ROOT, say, write_images

PAGE = os.sysconf("SC_PAGE_SIZE")


def train_labeller(folder: Path) -> Path:
    """A small run on the digits of scikit-learn: what it says is of no interest here."""
    run = folder / "run"
    command = ["train", "digits", "--model", "cnn", "--epochs", "1", "--out", str(run), "--quiet"]
    command += ["--set", "check.level=off", "--set", "train.report=false"]
    subprocess.run([sys.executable, "-m", "torchloupe", *command], check=True, capture_output=True)
    return run


class Prediction:
    """One `loupe predict` under torchrun, in a process group of its own."""

    def __init__(self, run: Path, shards: Path, out: Path, ranks: int) -> None:
        words = [str(run), f"{shards}/", "--out", str(out)]
        launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
        self.child = subprocess.Popen(
            [sys.executable, "-m", *launcher, "-m", "torchloupe", "predict", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.memory: dict[int, list[int]] = {}
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while self.child.poll() is None:
            for process in list_group(self.child.pid):
                self.memory.setdefault(process, []).append(resident(process))
            time.sleep(0.5)

    def kill(self) -> None:
        """SIGKILL to the launcher and every rank, which torchrun gives sessions of their own."""
        for process in [*list_group(self.child.pid), self.child.pid]:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.child.communicate()

    def finish(self) -> str:
        """What it printed; SystemExit if it failed."""
        printed, told = self.child.communicate()
        if self.child.returncode:
            raise SystemExit(f"the prediction ended with {self.child.returncode}: {told}")
        return printed


def list_group(parent: int) -> list[int]:
    """The processes below `parent`."""
    found, left = [], [parent]
    while left:
        above = left.pop()
        for task in Path(f"/proc/{above}/task").glob("*/children"):
            try:
                children = [int(word) for word in task.read_text().split()]
            except OSError:
                continue
            found += children
            left += children
    return found


def resident(process: int) -> int:
    """Bytes of memory that a process has now; 0 once it has ended."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


def parts_in(folder: Path) -> int:
    """How many files of predictions are complete."""
    return len(list(folder.glob("*.parquet")))


def disturb(run: Path, shards: Path, out: Path, ranks: int, total: int) -> list[int]:
    """Predict with three kills; how many files were there at each."""
    seen = []
    for third in range(3):
        wanted = random.randint(third * total // 3 + 1, (third + 1) * total // 3 - 1)
        one = Prediction(run, shards, out, ranks)
        while parts_in(out) < wanted and one.child.poll() is None:
            time.sleep(0.02)
        time.sleep(random.uniform(0, 0.5))
        if one.child.poll() is not None:
            raise SystemExit(f"it ended before the kill: {one.finish()}")
        one.kill()
        seen.append(parts_in(out))
    Prediction(run, shards, out, ranks).finish()
    return seen


def compare(calm: Path, killed: Path, images: int) -> bool:
    """Whether all files are the same, and hold each image once; prints the rows."""
    import pyarrow.parquet as parquet

    files = {path.name: path.read_bytes() for path in calm.iterdir()}
    others = {path.name: path.read_bytes() for path in killed.iterdir()}
    same = files == others
    say("files", f"{len(files)}, {'all equal, byte for byte' if same else 'DIFFERENT'}")
    tables = [parquet.read_table(path) for path in sorted(killed.glob("*.parquet"))]
    paths = np.concatenate([table["path"].to_numpy() for table in tables])
    once = len(paths) == images == len(set(paths))
    say("images", f"{len(paths):,} rows, {len(set(paths)):,} different names")
    counted = json.loads((killed / "predictions.json").read_text())["images"]
    return same and once and counted == images


def measure(images: int, shards: int, ranks: int) -> bool:
    """All rows of the table; whether every image is there once and every file the same."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BULK_TMP")) as scratch:
        place = Path(scratch)
        write_images(place / "set", images, shards)
        total = len(list((place / "set").glob("*.tar")))
        run = train_labeller(place)
        say("set", f"{images:,} images, {total} shards, {ranks} ranks")
        began = time.perf_counter()
        calm = Prediction(run, place / "set", place / "calm", ranks)
        printed = calm.finish()
        say("undisturbed", f"{time.perf_counter() - began:.0f} s")
        for line in printed.splitlines():
            if line.startswith("rate"):
                say("rate of a rank", line.removeprefix("rate").strip())
        for number, seen in enumerate(sorted(calm.memory.values(), key=max)[-ranks:]):
            later = np.array(seen[len(seen) // 4 :]) / 1e6
            half = len(later) // 2
            say(
                f"memory of rank {number}",
                f"{later[:half].mean():.0f} MB, then {later[half:].mean():.0f} MB, "
                f"{later.max():.0f} MB at most",
            )
        seen = disturb(run, place / "set", place / "killed", ranks, total)
        say("three kills", f"with {', '.join(map(str, seen))} of {total} files there")
        return compare(place / "calm", place / "killed", images)


def main() -> None:
    """Run what was asked for."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--images", type=int, default=200_000)
    options.add_argument("--shards", type=int, default=80)
    options.add_argument("--ranks", type=int, default=2)
    asked = options.parse_args()
    os.environ["PYTHONPATH"] = str(ROOT / "src")
    if not measure(asked.images, asked.shards, asked.ranks):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
