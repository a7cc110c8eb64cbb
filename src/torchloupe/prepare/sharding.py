"""A data set written as shards: opened, checked image by image, divided, and written.

Every image is decoded once before anything is written: those that can't be are listed and left
out, and identical ones stay on one side of the split.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torchloupe.config.schema import DataConfig
from torchloupe.data.contract_choice import choose_contract
from torchloupe.data.groups import with_groups
from torchloupe.data.pack.decoding import BadImage
from torchloupe.data.pack.pixels import Pixels, open_pixels, sound_rows
from torchloupe.data.pack.set_aside import write_set_aside
from torchloupe.data.shards.addresses import INDEX_NAME, is_url
from torchloupe.data.shards.index import ShardIndex, read_index
from torchloupe.data.shards.sharding import (
    PlannedShard,
    find_finished,
    plan_shards,
    refuse_other_set,
    write_shards,
)
from torchloupe.data.sources import Data
from torchloupe.data.split_cache import divide
from torchloupe.errors import DataError, UsageError, printable
from torchloupe.prepare.data import describe_ignored, open_source
from torchloupe.run.events import Announcement, Event, Note, Progress
from torchloupe.run.places import SET_ASIDE
from torchloupe.system.files import make_folder
from torchloupe.units import format_bytes, plural

SMALLEST_BYTES = 10_000


@dataclass(frozen=True, eq=False)
class WrittenSet:
    """A set of shards that is complete."""

    name: str
    folder: Path
    index: ShardIndex
    bad: tuple[BadImage, ...]  # images that were left out
    was_there: bool  # it was written before, and nothing was done


def write_set(
    source: Any,
    config: DataConfig,
    seed: int,
    place: str | Path,
    shard_bytes: int,
    record: Callable[[Event], None],
) -> WrittenSet:
    """Write `source` (anything that `open_source` takes) as shards of about `shard_bytes` each.

    `record` gets events as a listener does. Several processes that are given the same share the
    work; a writing that was stopped goes on. UsageError for data that fit in no shards.
    """
    refuse_places(str(place), shard_bytes)
    out = Path(place).expanduser()
    data = open_source(config, source)
    data = replace(data, samples=with_groups(data.samples, config.group))
    if data.kind == "stream":
        raise UsageError(
            f"{printable(data.name)} can only be read in sequence, and has no names for its images",
            "give a map-style Dataset, files or arrays",
        )
    for text in (*data.notes, *describe_ignored(data.ignored)):
        record(Note(text))
    pixels, planned = plan_set(data, config, seed, shard_bytes, record)
    refuse_other_set(out, planned)
    index_path = out / INDEX_NAME
    if index_path.is_file():
        index = read_index(index_path)
        if not find_finished(data, planned, index):
            raise UsageError(
                f"{printable(out)} holds the shards of other data, or of other settings",
                "give an empty folder",
            )
        return WrittenSet(data.name, out, index, pixels.bad, was_there=True)
    make_folder(out, "give a folder that can be written")
    record(
        Announcement(
            f"writing {plural(sum(len(plan.rows) for plan in planned), 'image')} into "
            f"{plural(len(planned), 'shard')} of about {format_bytes(shard_bytes)}"
        )
    )
    index = write_shards(data, planned, out, lambda n, total: record(Progress("shard", n, total)))
    write_set_aside(out / SET_ASIDE, pixels.bad)
    return WrittenSet(data.name, out, index, pixels.bad, was_there=False)


def refuse_places(out: str, shard_bytes: int) -> None:
    """UsageError for a URL, and for shards that are too small."""
    if is_url(out):
        raise UsageError(
            f"{printable(out)} is a URL, and shards are written to this machine",
            "write them to a folder, and copy it there with the tool of your storage",
        )
    if shard_bytes < SMALLEST_BYTES:
        raise UsageError(
            f"shards of {format_bytes(shard_bytes)} are too small", "give --megabytes 1 or more"
        )


def plan_set(
    data: Data,
    config: DataConfig,
    seed: int,
    shard_bytes: int,
    record: Callable[[Event], None],
) -> tuple[Pixels, list[PlannedShard]]:
    """Check every image and decide where it goes. UnreadableError if too many can't be read."""
    contract = choose_contract(data, mode=config.mode, fit=config.fit, kernel=config.kernel)
    pixels = open_pixels(
        data,
        contract,
        pack="off",
        progress=lambda done, total: record(Progress("pack", done, total)),
    )
    sound = sound_rows(pixels, config.bad_fraction)
    fractions = (config.val_fraction, config.test_fraction)
    splits, _ = divide(
        data, pixels, sound, fractions=fractions, seed=config.seed_of_split(seed), fold=None
    )
    for text in splits.notes:
        record(Note(text))
    planned = plan_shards(data, splits, shard_bytes, seed)
    if not planned:
        raise DataError("there is no image to write", "give at least a few of every class")
    return pixels, planned
