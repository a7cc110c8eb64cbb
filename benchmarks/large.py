"""A folder of a million small files: how long to the first batch, and how much memory.

    python benchmarks/large.py

The files are PNGs of 8x8 pixels in a hundred classes, made once in a cache folder (4 GB of disk,
a few minutes). The first row begins with an empty cache; it decodes everything into the pack
once. About 10 minutes for 5 repeats of the second row.
"""

import os
import shutil
import struct
import tempfile
import time
import zlib
from pathlib import Path

import torch
from photographs import find_cache
from table import Table
from turns import Answer, Failure, answer, ask, in_turns, say, spread_of

from torchloupe.config.schema import DataConfig
from torchloupe.data.augmentation.augment import Augment
from torchloupe.data.sources import open_data
from torchloupe.prepare.data import prepare_data

COUNT, CLASSES, SIDE = 1_000_000, 100, 8
GOAL_SECONDS, GOAL_MB = 1.0, 300
COLD, WARM = "first time", "again"


def make_table(repeats: int = 5, *, quick: bool = False) -> Table:
    """One run with an empty cache, then `repeats` with what it left there."""
    count = 2000 if quick else COUNT
    root = make_files(count)
    table = Table(
        "large",
        f"The first batch of a folder of {count:,} files",
        ("", "open_data, s", "its memory, MB", "first batch, s", "peak memory, MB"),
    )
    with tempfile.TemporaryDirectory() as cache:
        case = {"root": str(root), "cache": cache}
        for name, times in ((COLD, 1), (WARM, repeats)):
            given = in_turns({name: lambda: ask(__file__, case)}, times)[name]
            if isinstance(given, Failure):
                table.add(name, f"failed: {given.reason}", "", "", "")
                continue
            table.add(
                name,
                spread_of(given, "listed").show(2),
                spread_of(given, "index_bytes").show(0, 1e-6),
                spread_of(given, "first_batch").show(2),
                spread_of(given, "peak_bytes").show(0, 1e-6),
            )
            if name == WARM:
                seen = spread_of(given, "first_batch").median
                table.expect(
                    "first batch with a warm index",
                    f"<= {GOAL_SECONDS} s",
                    f"{seen:.2f} s",
                    seen <= GOAL_SECONDS,
                )
                used = spread_of(given, "index_bytes").median / 1e6
                table.expect(
                    "peak memory of the index",
                    f"<= {GOAL_MB} MB",
                    f"{used:.0f} MB",
                    used <= GOAL_MB,
                )
    table.notes.append(
        f"n = {repeats} ({COLD}: 1); median (range). First batch: from the folder's name to 64 "
        "normalised images, imports not counted. Memory of open_data: the most that the process "
        "held meanwhile beyond what it held before; peak memory: of the whole process"
    )
    return table


def measure(root: str, cache: str) -> Answer:
    """Seconds and bytes of listing, and to the first batch, in this process."""
    os.environ["XDG_CACHE_HOME"] = cache
    before = reset_peak_bytes()
    begin = time.perf_counter()
    open_data(root)
    listed = time.perf_counter() - begin
    index_bytes = peak_bytes() - before
    begin = time.perf_counter()
    config = DataConfig(mode="L", size=str(SIDE))
    feed = prepare_data(root, config, seed=0).feed(64, 0, Augment(), torch.device("cpu"))
    next(feed.batches())
    return {
        "listed": listed,
        "index_bytes": index_bytes,
        "first_batch": time.perf_counter() - begin,
        "peak_bytes": peak_bytes(),
    }


def make_files(count: int) -> Path:
    """The folder of `count` PNGs, made where it is not there yet; no two are equal."""
    folder = find_cache(f"files-{count}")
    if folder.exists():
        return folder
    say(f"making {count:,} files in {folder}")
    building = folder.with_name(f".{folder.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    for label in range(CLASSES):
        place = building / f"class-{label:02d}"
        place.mkdir(parents=True)
        for number in range(label, count, CLASSES):
            (place / f"{number:07d}.png").write_bytes(make_png(number))
    building.rename(folder)
    return folder


def make_png(number: int) -> bytes:
    """A grey PNG whose first pixels spell `number`."""
    pixels = struct.pack(">Q", number).ljust(SIDE * SIDE, bytes([number % 251]))
    rows = b"".join(b"\0" + pixels[k : k + SIDE] for k in range(0, len(pixels), SIDE))
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


def reset_peak_bytes() -> int:
    """Begin to count the peak anew (Linux); gives what the process holds now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak_bytes()


def peak_bytes() -> int:
    """The most memory that this process has held, by Linux's own count."""
    return read_status("VmHWM")


def read_status(name: str) -> int:
    """Bytes of one line of /proc/self/status."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)


if __name__ == "__main__" and not answer(measure):
    print(make_table().to_markdown())
