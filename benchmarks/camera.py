"""Photographs of 24 megapixels: the first pass into a pack, with all cores and with one.

    python benchmarks/camera.py [--count 500] [--repeats 5]

6000x4000 JPEGs of quality 92, baseline and progressive, enlarged from pictures of other content
(photographs.py finds them). Each pass is a process of its own, at 224 pixels. Wanted are user over
wall time, and the rate over that of one thread, of 1.7 on two cores. About an hour for 500 files.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path

from photographs import CLASSES, PICTURES, find_cache, find_pictures
from PIL import Image
from table import Table, core_count, ratio
from turns import Answer, Case, Failure, answer, ask, in_turns, say, spread_of

from torchloupe.data.contract_choice import choose_contract
from torchloupe.data.pack.pixels import open_pixels
from torchloupe.data.sources import open_data

WIDTH, HEIGHT, QUALITY = 6000, 4000, 92
COUNT, DISTINCT = 500, 20
SIZE = 224
KINDS = ("baseline", "progressive")
GOAL = 0.85  # of the cores there are: 1.7 of two


def make_table(count: int = COUNT, repeats: int = 5) -> Table:
    """Images a second, and processor time over wall time, of each kind and number of threads."""
    roots = {kind: make_photographs(kind, count) for kind in KINDS}
    cases: dict[str, Case] = {
        f"{kind} {threads}": {"root": str(roots[kind]), "threads": threads}
        for kind in KINDS
        for threads in (core_count(), 1)
    }
    found = in_turns({name: partial(ask, __file__, case) for name, case in cases.items()}, repeats)
    table = Table(
        "camera",
        f"{count:,} photographs of {WIDTH}x{HEIGHT} at {SIZE}, first pass into a pack",
        ("JPEG", "threads", "images/s", "user / wall time"),
    )
    for name, given in found.items():
        if isinstance(given, Failure):
            table.add(*name.split(), f"failed: {given.reason}", "")
            continue
        rate, busy = spread_of(given, "images_per_second"), spread_of(given, "busy")
        table.add(*name.split(), rate.show(1), busy.show(2))
    for kind in KINDS:
        every, one = found[f"{kind} {core_count()}"], found[f"{kind} 1"]
        if isinstance(every, Failure) or isinstance(one, Failure):
            continue
        least, shown = GOAL * core_count(), f"{kind}, {core_count()} cores"
        seen = {
            "user over wall time": spread_of(every, "busy").median,
            "rate over one thread": ratio(
                spread_of(every, "images_per_second"), spread_of(one, "images_per_second")
            ),
        }
        for what, value in seen.items():
            table.expect(f"{shown}: {what}", f">= {least:.2f}", f"{value:.2f}", value >= least)
    table.notes.append(f"n = {repeats}, in turns; median (range); files are in the page cache")
    return table


def make_photographs(kind: str, count: int) -> Path:
    """The folder of `count` JPEGs of a kind, made where it is not there yet.

    Each of the distinct pictures is encoded once; its files differ by a comment in their header.
    """
    folder = find_cache(f"camera-{kind}-{count}")
    if len(list(folder.glob("*/*.jpg"))) == count:
        return folder
    sources = find_pictures(PICTURES)[:DISTINCT]
    if not sources:
        raise FileNotFoundError(f"no pictures below {PICTURES}")
    say(f"making {count:,} {kind} JPEGs from {len(sources)} pictures in {folder}")
    for number in range(CLASSES):
        (folder / f"class-{number}").mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(core_count()) as pool:
        for _ in pool.map(
            lambda k: _write_all(sources, k, count, folder, kind), range(len(sources))
        ):
            pass
    return folder


def _write_all(sources: list[Path], first: int, count: int, folder: Path, kind: str) -> None:
    with Image.open(sources[first]) as image:
        picture = image.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    file = BytesIO()
    picture.save(file, "JPEG", quality=QUALITY, progressive=kind == "progressive")
    whole = file.getvalue()
    for number in range(first, count, len(sources)):
        comment = f"photograph {number}".encode()
        header = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        target = folder / f"class-{number % CLASSES}" / f"{number:05d}.jpg"
        target.write_bytes(whole[:2] + header + whole[2:])


def measure(root: str, threads: int) -> Answer:
    """Images a second of building a pack, and processor seconds per second; with one thread the
    process has one core.
    """
    if threads == 1:
        os.sched_setaffinity(0, set(list(os.sched_getaffinity(0))[:1]))
    data = open_data(root)
    contract = choose_contract(data, mode="RGB", size=str(SIZE), fit="crop", kernel="bilinear")
    for file in _files(Path(root)):
        file.read_bytes()
    with tempfile.TemporaryDirectory() as cache:
        before, begin = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        open_pixels(data, contract, pack="disk", cache_folder=Path(cache))
        wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF)
    return {
        "images_per_second": len(data.samples) / wall,
        "busy": (after.ru_utime - before.ru_utime) / wall,
    }


def _files(root: Path) -> Iterator[Path]:
    yield from sorted(root.glob("*/*.jpg"))


def main(arguments: list[str]) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measure the first pass over large photographs.")
    parser.add_argument("--count", type=int, default=COUNT, help="files of each kind")
    parser.add_argument("--repeats", type=int, default=5, help="of each measurement")
    chosen = parser.parse_args(arguments)
    print(make_table(chosen.count, chosen.repeats).to_markdown())
    return 0


if __name__ == "__main__" and not answer(measure):
    sys.exit(main(sys.argv[1:]))
