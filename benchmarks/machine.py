"""The first impression: `loupe train digits` from start to exit, its accuracy, and its start-up.

    python benchmarks/machine.py              # five seeds, about two minutes
    python benchmarks/machine.py --avx2       # the same with AVX2 alone, imitated

Each is a process of its own with the profile of the machine at hand, as from the second training
on; the first one measures it, which has a row of its own. `--avx2` lets torch, oneDNN and MKL use
no newer instructions: frequencies, caches and memory stay those of this machine. Bytecode is kept
in a folder of its own, as it is wherever pip has installed a package; the first run makes it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from table import AVX2, Table, describe_hardware, describe_versions

SEEDS = 5
MOST_SECONDS = 15.0
LEAST_MEAN, LEAST = 0.98, 0.97
MOST_START = 1.0
# The command until the loop's first step: what comes before and after the import of torch.
START = """
import os, sys, time
begin, marks = time.perf_counter(), []
import importlib.util
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
def mark():
    marks.append((time.perf_counter(), time.process_time(), resident()))
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("torch")
        load = spec.loader.exec_module
        def timed(module):
            mark()
            load(module)
            mark()
            sys.meta_path.insert(0, Late())
        spec.loader.exec_module = timed
        return spec
class Late:
    def find_spec(self, name, path=None, target=None):
        if name != "torchloupe.train.execution":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module
        def patched(module):
            load(module)
            module.run_loop = first_step
        spec.loader.exec_module = patched
        return spec
def first_step(*given, **more):
    mark()
    (before, _, _), (torch, cpu, memory), (step, used, resident) = marks
    print("STARTED", step - torch, used - cpu, before - begin, memory, resident, flush=True)
    os._exit(0)
sys.meta_path.insert(0, Watch())
import torchloupe.cli.main
sys.argv = ["loupe", "train", "digits", "--out", sys.argv[1], "--quiet"]
torchloupe.cli.main.run()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--avx2", action="store_true", help="imitate a CPU with AVX2 alone")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    chosen = parser.parse_args()
    print(f"{describe_hardware()}. {describe_versions()}.\n", flush=True)
    print(make_table(chosen.seeds, avx2=chosen.avx2).to_markdown())


def make_table(seeds: int = SEEDS, *, avx2: bool = False) -> Table:
    """A row for the first run, for the others, and for what comes before the first step."""
    title = "`loupe train digits`, start to exit" + (", AVX2 imitated" if avx2 else "")
    table = Table("machine", title, ("", "seconds", "processor seconds", "test accuracy, %"))
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "XDG_CACHE_HOME": f"{folder}/cache", **(AVX2 if avx2 else {})}
        environment |= {"PYTHONPYCACHEPREFIX": f"{folder}/bytecode", "PYTHONDONTWRITEBYTECODE": ""}
        first = train(Path(folder, "first"), 0, environment)
        runs = [train(Path(folder, f"run-{k}"), k, environment) for k in range(seeds)]
        starts = [start(Path(folder, f"start-{k}"), environment) for k in range(seeds)]
        words = choices(Path(folder, "run-0"))
    table.add("the first, which measures the machine", *row([first]))
    table.add(f"seeds 0 to {seeds - 1}", *row(runs))
    wall, cpu, words_read, imported, stepping = zip(*starts, strict=True)
    table.add("from torch imported to the first step", spread(wall), spread(cpu), "")
    table.add("before torch: the command line is read", spread(words_read), "", "")
    seconds = [run["seconds"] for run in runs]
    right = [run["accuracy"] for run in runs]
    mean = statistics.mean(right)
    whole = statistics.median(seconds)
    table.expect("start to exit", f"<= {MOST_SECONDS:g} s", f"{whole:.1f} s", whole <= MOST_SECONDS)
    table.expect("mean test accuracy", f">= {LEAST_MEAN:.0%}", f"{mean:.2%}", mean >= LEAST_MEAN)
    table.expect("lowest", f">= {LEAST:.0%}", f"{min(right):.2%}", min(right) >= LEAST)
    early = statistics.median(wall)
    table.expect("to the first step", f"<= {MOST_START:g} s", f"{early:.2f} s", early <= MOST_START)
    table.notes.append(f"median (range); load before: {os.getloadavg()[0]:.1f}")
    table.notes.append(f"chosen: {words}")
    peak = spread([run["memory"] for run in runs])
    table.notes.append(
        f"memory, MB: torch alone {spread(imported)}, at the first step {spread(stepping)}, "
        f"most of a run {peak}"
    )
    return table


def row(runs: list[dict[str, float]]) -> tuple[str, str, str]:
    """Seconds, processor seconds and accuracy of some runs."""
    right = [100 * run["accuracy"] for run in runs]
    shown = f"{statistics.mean(right):.2f} (lowest {min(right):.2f})"
    return spread([r["seconds"] for r in runs]), spread([r["processor"] for r in runs]), shown


def spread(values: Any) -> str:
    """The median and the range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}..{max(values):.2f})"


def train(out: Path, seed: int, environment: dict[str, str]) -> dict[str, float]:
    """Time a training from outside."""
    command = [sys.executable, "-m", "torchloupe", "train", "digits", "--out", str(out)]
    before, begin = os.times(), time.perf_counter()
    subprocess.run([*command, "--seed", str(seed), "--quiet"], env=environment, check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    seconds, after = time.perf_counter() - begin, os.times()
    processor = after.children_user + after.children_system
    processor -= before.children_user + before.children_system
    metrics = json.loads((out / "metrics.json").read_text())
    return {
        "seconds": seconds,
        "processor": processor,
        "accuracy": metrics["test"]["accuracy"],
        "memory": metrics["train"]["peak_memory_bytes"] / 1e6,
    }


def start(out: Path, environment: dict[str, str]) -> tuple[float, ...]:
    """From torch imported to the first step: seconds and processor seconds; the seconds before the
    import; then the memory in MB when torch is imported and at the first step (Linux).
    """
    done = subprocess.run([sys.executable, "-c", START, str(out)], env=environment, check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
    line = next(line for line in done.stdout.splitlines() if line.startswith("STARTED"))
    return tuple(map(float, line.split()[1:]))


def choices(run: Path) -> str:
    """What the run's settings have of the machine."""
    stored = json.loads((run / "config.json").read_text())["settings"]
    names = ("model.options", "optimizer.name", "hardware.threads", "hardware.channels_last")
    names += ("hardware.precision",)
    return ", ".join(f"{n}={stored[n]['value']} ({stored[n]['source']})" for n in names)


if __name__ == "__main__":
    main()
