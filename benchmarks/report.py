"""Time, memory and size of a report over 10,000 test images: `python benchmarks/report.py [RUN]`.

Without RUN, Fashion-MNIST (of the Debian package dataset-fashion-mnist) is trained for one epoch
without a report. Each page is then written in a process of its own; seconds are those of
`run.report()` in it, memory its peak beyond the opened run. With --live the time of a step with
and without a live page that is asked every second, in turns.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

DATA = "/usr/share/datasets/fashion-mnist"
TRIES = 3
ONE_PAGE = """
import json, resource, sys, time
import torchloupe as loupe
run = loupe.open_run(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF)
start = time.perf_counter()
page = run.report(sys.argv[2])
seconds = time.perf_counter() - start
after = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({
    "seconds": seconds,
    "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    "memory_mb": (after.ru_maxrss - before.ru_maxrss) / 1000,
    "size_mb": page.stat().st_size / 1e6,
}))
"""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", nargs="?")
    parser.add_argument("--live", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if asked.live:
            measure_live(place)
            return
        run = asked.run or str(train(DATA, place / "run", ["--epochs", "1"]))
        found = [measure_page(run, place / f"{k}.html") for k in range(TRIES)]
    print(f"a report of {run}, {TRIES} tries: median (least to most)")
    for name in found[0]:
        values = sorted(one[name] for one in found)
        print(f"{name:<12} {statistics.median(values):8.2f} ({values[0]:.2f} to {values[-1]:.2f})")


def train(data: str, out: Path, words: list[str]) -> Path:
    """A run without a report."""
    command = [sys.executable, "-m", "torchloupe", "train", data, "--out", str(out), *words]
    subprocess.run([*command, "--quiet", "--set", "train.report=false"], check=True)
    return out


def measure_page(run: str, page: Path) -> dict[str, float]:
    """Seconds, megabytes of memory and of the page."""
    words = [sys.executable, "-c", ONE_PAGE, run, str(page)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure_live(place: Path) -> None:
    """Images per second with a live page that is asked once a second, over without, in turns."""
    ratios = []
    for turn in range(TRIES):
        rates = {}
        for is_live in (False, True):
            out = place / f"{turn}-{is_live}"
            rates[is_live] = train_with_page(out, is_live=is_live)
        ratios.append(rates[True] / rates[False])
        print(f"turn {turn + 1}: {rates[False]:,.0f} images/s, live {rates[True]:,.0f}")
    print(f"ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


def train_with_page(out: Path, *, is_live: bool) -> float:
    """The median images per second of a training on digits."""
    words = [sys.executable, "-m", "torchloupe", "train", "digits", "--epochs", "20"]
    words += ["--out", str(out), "--quiet", "--set", "train.report=false"]
    training = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    page = None
    while training.poll() is None:
        if is_live and page is None and (out / "events.jsonl").exists():
            watch = [sys.executable, "-m", "torchloupe", "report", str(out), "--live"]
            page = subprocess.Popen([*watch, "--port", "8765"], stderr=subprocess.DEVNULL)
        if page is not None:
            ask("http://127.0.0.1:8765/facts.json")
        try:
            training.wait(timeout=1)
        except subprocess.TimeoutExpired:
            continue
    if page is not None:
        page.wait(timeout=60)
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    return float(metrics["train"]["images_per_second"])


def ask(address: str) -> None:
    """What an open page does once a second; the server may not be there yet."""
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            answer.read()
    except OSError:
        return


if __name__ == "__main__":
    main()
