"""Writing a data set as tar shards: which image goes where, the files, and their index.

All is a function of the data and the seed, so that a writing that was stopped goes on, and several
processes that are given the same command share the work. Images are shuffled over the shards of
their split; encoded ones are written as they are, arrays as PNG.
"""

import io
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from torchloupe.data.image.formats import IMAGE_SUFFIXES, inspect
from torchloupe.data.shards.addresses import INDEX_NAME
from torchloupe.data.shards.index import Shard, ShardIndex, join_names, split_names, write_index
from torchloupe.data.shards.tar_members import TarWriter
from torchloupe.data.sources.shard_labels import write_json_label
from torchloupe.data.sources.source import Data, make_stamp
from torchloupe.data.split import SPLIT_NAMES, Splits
from torchloupe.errors import DataError, UsageError, printable
from torchloupe.system.cache import Kept, read_kept, write_kept
from torchloupe.system.counter_rng import hash_parts, make_key
from torchloupe.system.files import replacing
from torchloupe.system.limits import usable_cores

WORK = ".writing"  # the folder in OUT with what is known of finished shards
FORMAT = 1  # raised when the same data would give other files
MEASURED = 512  # images whose size is measured to choose how many go into a shard
SHARD_DRAW = 0x5A4D  # tells this use of a sample's key from all others

Rows = NDArray[np.int64]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class PlannedShard:
    """One file to be written."""

    name: str
    part: int
    rows: Rows  # of the samples table, in the order in which they are written
    first: int  # the number of its first sample among those of all shards


def plan_shards(data: Data, splits: Splits, shard_bytes: int, seed: int) -> list[PlannedShard]:
    """Which images go into which file: each split shuffled and cut into files of about one size."""
    planned: list[PlannedShard] = []
    first = 0
    for part, name in enumerate(SPLIT_NAMES):
        rows: Rows = getattr(splits, name)
        if not len(rows):
            continue
        drawn = hash_parts(seed, SHARD_DRAW, data.samples.keys[rows])
        rows = rows[np.argsort(drawn, kind="stable")]
        mean_bytes = _measure(data, rows[:MEASURED])
        count = max(1, round(len(rows) * mean_bytes / shard_bytes))
        for number, piece in enumerate(np.array_split(rows, min(count, len(rows)))):
            planned.append(PlannedShard(f"{name}-{number:06d}.tar", part, piece, first))
            first += len(piece)
    return planned


def _measure(data: Data, rows: Rows) -> float:
    """Bytes that an image takes in a shard, on average."""
    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="measure") as pool:
        sizes = pool.map(lambda row: len(encode(data.reader.read(int(row)))), rows)
        return sum(-(-size // 512) * 512 + 3 * 512 for size in sizes) / len(rows)


def write_shards(
    data: Data,
    planned: Sequence[PlannedShard],
    out: Path,
    progress: Progress | None = None,
    threads: int = 0,
) -> ShardIndex:
    """Write what is missing of the planned files and their index; the index.

    Other processes may do the same at the same time: each file is written by one of them.
    """
    work = out / WORK
    work.mkdir(parents=True, exist_ok=True)
    done = {"shards": 0}
    found: dict[str, Kept] = {}

    def write(plan: PlannedShard) -> None:
        found[plan.name] = _write_or_find(data, plan, out)
        done["shards"] += 1
        if progress is not None:
            progress(done["shards"], len(planned))

    with ThreadPoolExecutor(threads or usable_cores(), thread_name_prefix="shard") as pool:
        try:
            list(pool.map(write, planned))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    index = _make_index(data, planned, [found[plan.name] for plan in planned])
    write_index(out / INDEX_NAME, index)
    shutil.rmtree(work, ignore_errors=True)
    return index


def refuse_other_set(out: Path, planned: Sequence[PlannedShard]) -> None:
    """UsageError if `out` holds files that this writing would not replace."""
    names = {plan.name for plan in planned}
    with suppress(FileNotFoundError):
        others = [path.name for path in out.glob("*.tar") if path.name not in names]
        if others:
            raise UsageError(
                f"{printable(out)} holds other shards, such as {printable(sorted(others)[0])}",
                "give an empty folder",
            )


def find_finished(data: Data, planned: Sequence[PlannedShard], index: ShardIndex) -> bool:
    """Whether `index` is that of these files, written before."""
    rows = np.concatenate([plan.rows for plan in planned])
    names = [plan.name for plan in planned]
    return names == [shard.name for shard in index.shards] and bool(
        np.array_equal(index.ids, data.samples.ids[rows])
    )


def encode(image: bytes | NDArray[Any]) -> bytes:
    """The bytes of an image file: as they are, or a PNG of an array [H, W, C] uint8."""
    if isinstance(image, bytes):
        return image
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3, 4):
        raise UsageError(
            f"images of {image.dtype} and shape {list(image.shape)} fit in no image file",
            "shards hold files, or arrays of uint8 with 1, 3 or 4 channels",
        )
    picture = Image.fromarray(
        np.ascontiguousarray(image[:, :, 0] if image.shape[2] == 1 else image)
    )
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=3)
    return file.getvalue()


def _write_or_find(data: Data, plan: PlannedShard, out: Path) -> Kept:
    """What is in a file, written now unless it was written before."""
    facts = out / WORK / f"{plan.name}.kept"
    key = make_stamp(
        FORMAT,
        data.samples.ids[plan.rows],
        data.samples.labels[plan.rows],
        *data.samples.class_names,
        str(plan.first),
    )
    facts.parent.mkdir(exist_ok=True)  # another process that is done may have removed it
    with FileLock(out / WORK / f"{plan.name}.lock"):
        kept = read_kept(facts)
        path = out / plan.name
        if kept is not None and kept.facts["key"] == key and _has_size(path, kept.facts["bytes"]):
            return kept
        kept = _write(data, plan, path, key)
        write_kept(facts, kept)
    return kept


def _has_size(path: Path, size: int) -> bool:
    with suppress(OSError):
        return path.stat().st_size == size
    return False


def _write(data: Data, plan: PlannedShard, path: Path, key: str) -> Kept:
    samples = data.samples
    places = np.zeros((len(plan.rows), 2), dtype=np.int64)
    content = np.zeros(len(plan.rows), dtype=np.uint64)
    with replacing(path) as file:
        tar = TarWriter(file)
        for place, row in enumerate(plan.rows.tolist()):
            name = str(samples.ids[row])
            try:
                image = encode(data.reader.read(row))
            except DataError as error:
                raise DataError(
                    f"{printable(name)} could be decoded at the start and can't be read now: "
                    f"{error.message}",
                    "leave the data alone while shards are written, and say it again",
                ) from None
            stem = f"{plan.first + place:09d}"
            places[place] = tar.add(f"{stem}{_ending(name, image)}", image), len(image)
            content[place] = make_key(image)
            if samples.is_multi_label:
                has = np.flatnonzero(samples.labels[row] > 0.5)
                names = [samples.class_names[k] for k in has]
                tar.add(f"{stem}.json", write_json_label(names))
            else:
                tar.add(f"{stem}.cls", samples.class_names[int(samples.labels[row])].encode())
        tar.finish()
    lengths, text = join_names(samples.ids[plan.rows])
    facts = {"key": key, "bytes": tar.size, "sha256": tar.sha256}
    arrays: dict[str, NDArray[Any]] = {"ids": text, "id_bytes": lengths}
    arrays |= {"places": places, "content": content}
    return Kept(facts, arrays)


def _ending(name: str, image: bytes) -> str:
    """The ending of the file in the tar: that of the image's name, or of what it is."""
    ending = f".{name.rpartition('.')[2].lower()}"
    if "." in name and ending in IMAGE_SUFFIXES:
        return ending
    kind = inspect(image).format.lower()
    found = {"jpeg": ".jpg", "tiff": ".tif"}.get(kind, f".{kind}")
    return found if found in IMAGE_SUFFIXES else ".png"


def _make_index(data: Data, planned: Sequence[PlannedShard], found: Sequence[Kept]) -> ShardIndex:
    shards, places, content = [], [], []
    for number, (plan, kept) in enumerate(zip(planned, found, strict=True)):
        shards.append(Shard(plan.name, kept.facts["bytes"], kept.facts["sha256"], plan.part))
        own = kept.arrays["places"]
        places.append(np.column_stack([np.full(len(own), number, dtype=np.int64), own]))
        content.append(kept.arrays["content"])
    rows = np.concatenate([plan.rows for plan in planned])
    ids = [split_names(kept.arrays["id_bytes"], kept.arrays["ids"]) for kept in found]
    return ShardIndex(
        tuple(shards),
        data.samples.class_names,
        np.concatenate(ids),
        data.samples.labels[rows],
        np.concatenate(places),
        np.concatenate(content),
        is_checked=True,
    )
