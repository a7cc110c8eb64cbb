"""Time, memory and size of a report over 10,000 test images: `python benchmarks/report.py [RUN]`.

Without RUN, Fashion-MNIST (of the Debian package dataset-fashion-mnist) is trained for one epoch
without a report. Each page is then written in a process of its own; seconds are those of
`run.report()` in it, memory its peak beyond the opened run. With --live the steps a second of one
training with a live page that is asked every second, over those without, in pairs of spells.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

DATA = "/usr/share/datasets/fashion-mnist"
TRIES = 3
PAIRS, SPELL, PORT = 12, 5.0, 8765  # seconds of a spell, at least
FEWEST_STEPS = 20  # of a spell
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
    """Steps per second of one training with a live page that is asked once a second, over without.

    Pairs of spells take turns within the run, so that what else the machine does meets both
    alike; between them the page's process stands still. Its start is not in them.
    """
    run = place / "run"
    words = [sys.executable, "-m", "torchloupe", "train", "digits", "--epochs", "100000"]
    words += ["--out", str(run), "--quiet", "--set", "train.report=false"]
    words += ["--set", "hardware.precision=fp32"]
    training = subprocess.Popen([*words, "--set", "train.log_every_steps=5"])
    try:
        while not (run / "events.jsonl").exists() and training.poll() is None:
            time.sleep(0.1)
        watch = [sys.executable, "-m", "torchloupe", "report", str(run), "--live"]
        page = subprocess.Popen([*watch, "--port", str(PORT)], stderr=subprocess.DEVNULL)
        while not ask(f"http://127.0.0.1:{PORT}/") and page.poll() is None:
            time.sleep(0.2)
        started = processor_seconds(page.pid)
        pairs = [measure_pair(run, page, is_first_live=k % 2 == 0) for k in range(PAIRS)]
        used = processor_seconds(page.pid) - started
    finally:
        training.kill()
        training.wait()
    page.send_signal(signal.SIGCONT)
    page.wait(timeout=60)
    ratios = sorted(live / without for live, without in pairs)
    middle = statistics.median(ratios)
    spread = 1.253 * statistics.stdev(ratios) / len(ratios) ** 0.5  # of the median
    print(f"{PAIRS} pairs of {SPELL:g} s: steps/s with a live page over without {middle:.4f}")
    print(f"  standard error {spread:.4f}, {ratios[0]:.3f} to {ratios[-1]:.3f}")
    print(f"  the page's process: {started:.1f} s of processor time to start,")
    print(f"  then {used / (PAIRS * SPELL):.4f} a second of training")


def measure_pair(
    run: Path, page: subprocess.Popen[bytes], *, is_first_live: bool
) -> tuple[float, float]:
    """Steps per second with the page and without."""
    rates = {}
    for is_live in (is_first_live, not is_first_live):
        page.send_signal(signal.SIGCONT if is_live else signal.SIGSTOP)
        time.sleep(0.2)
        step, seconds = last_step(run)
        end = time.monotonic() + SPELL
        later, until = step, seconds
        while time.monotonic() < end or later < step + FEWEST_STEPS:
            if is_live:
                ask(f"http://127.0.0.1:{PORT}/facts.json")
            time.sleep(1)
            later, until = last_step(run)
        rates[is_live] = (later - step) / (until - seconds)
    return rates[True], rates[False]


def last_step(run: Path) -> tuple[int, float]:
    """The step of the last log line, and its seconds of training."""
    with (run / "events.jsonl").open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 20_000))
        lines = file.read().splitlines()[1:-1]
    event = next(e for line in reversed(lines) if "train_loss" in (e := json.loads(line)))
    return int(event["step"]), float(event["seconds"])


def processor_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ask(address: str) -> bool:
    """What an open page does once a second; False where the server isn't there yet."""
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            answer.read()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
