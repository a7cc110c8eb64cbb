"""The data of a run, ready for the loop: opened, decoded, split, normalised.

The order is source, samples, contract, pixels, split: images that can't be read are set aside
before the split, so that the split is one of sound images.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.config.schema import DataConfig
from torchloupe.data.contract import Contract
from torchloupe.data.contract_choice import choose_contract, describe_range, refuse_images
from torchloupe.data.feeds.rank_share import RankShare
from torchloupe.data.groups import with_groups
from torchloupe.data.pack.pixels import BadImage, Pixels, open_pixels, sound_rows
from torchloupe.data.pack.set_aside import count_kinds
from torchloupe.data.pack.streamed import open_streamed
from torchloupe.data.shards.addresses import is_url
from torchloupe.data.shards.store import ShardStore
from torchloupe.data.sources import Data, open_data
from torchloupe.data.sources.far_shards import limit_store
from torchloupe.data.sources.kinds import unfit_options
from torchloupe.data.sources.shard_reader import require_shards
from torchloupe.data.sources.shard_sets import IndexedError
from torchloupe.data.sources.source import count_ignored
from torchloupe.data.split import TEST, Splits, refuse_untrainable
from torchloupe.data.split_cache import divide, find_statistics
from torchloupe.distributed.world import ALONE, World
from torchloupe.errors import DataError, UsageError, printable
from torchloupe.model.backbones import InputSpec
from torchloupe.prepare.evaluated import align_kind, rename_stream, single_out
from torchloupe.prepare.run_data import (
    DatasetData,
    PackedData,
    RunData,
    ShardedData,
    StreamData,
)
from torchloupe.run.events import Announcement, Event, Note
from torchloupe.run.events import Progress as PackProgress
from torchloupe.units import format_bytes, plural

Rows = NDArray[np.int64]
Progress = Callable[[int, int], None]
NO_ROWS = np.zeros(0, dtype=np.int64)


def prepare_data(
    source: Any,
    config: DataConfig | None = None,
    *,
    seed: int = 0,
    contract: Contract | None = None,
    input_spec: InputSpec | None = None,
    progress: Progress | None = None,
    announce: Callable[[str], None] | None = None,
    world: World = ALONE,
) -> RunData:
    """Open `source` (anything `open_data` takes), decode and split it: feeds and scans for a loop.

    `seed` decides the split, if `config` has no seed for it. `contract` is that of a run to
    resume; else it is made from the data. With the `input_spec` of a pretrained backbone, its mean
    and standard deviation normalise the images. Of several ranks in `world` each gets its own
    share of every batch.

    Raises DataError for data that can't be learned from, and where more than
    `config.bad_fraction` of the images can't be read.
    """
    config = config or DataConfig()
    data = open_source(config, source)
    data = replace(data, samples=with_groups(data.samples, config.group))
    if contract is not None:
        data = _align(data, contract)
    if data.kind != "stream":
        refuse_untrainable(data.samples)
    chosen = contract or choose_contract(
        data, mode=config.mode, size=config.size, fit=config.fit, kernel=config.kernel
    )
    range_notes = describe_range(chosen, data) if contract is None else []
    pixels, sound = _read_pixels(config, data, chosen, progress, announce)
    if data.kind == "stream":
        splits, fingerprint = Splits(NO_ROWS, NO_ROWS, NO_ROWS), data.samples.fingerprint()
    else:
        fold = (config.fold, config.folds) if config.fold else None
        splits, fingerprint = divide(
            data,
            pixels,
            sound,
            fractions=(config.val_fraction, config.test_fraction),
            seed=config.seed_of_split(seed),
            fold=fold,
            copies=config.copies,
        )
    if contract is None:
        chosen = _with_statistics(chosen, input_spec, pixels, splits)
    streamed = _notes_on_stream(config, data, splits, world) if streams(config, data) else []
    return _kind_of(data, config)(
        source=data,
        splits=splits,
        contract=chosen,
        fingerprint=fingerprint,
        workers=config.workers,
        notes=(*_notes_on(data, pixels), *range_notes, *splits.notes, *streamed),
        pixels=pixels,
        rank_share=RankShare(world.rank, world.size),
        layout=(config.lanes, config.mixed_shards),
    )


def prepare_evaluation_data(config: DataConfig, source: Any, contract: Contract) -> RunData:
    """Data to evaluate a trained model on: its test split where the source names one, else all.

    Options of the run's own data that don't fit `source` are left out. Classes are aligned with
    the contract's by name. Unreadable images are set aside as in
    training.
    """
    source = single_out(source, contract.class_names)
    unfit = set(unfit_options(source, by_pattern=config.label_pattern != "auto"))
    if source != config.source:
        unfit |= {"image_folder", "split_column"}  # of the run's own table
    left_out: dict[str, Any] = dict.fromkeys(unfit, "auto")
    options = replace(config, **left_out)
    try:
        data = _open_to_evaluate(options, source, contract)
    except IndexedError:  # the columns are those of the run's own data
        if source == config.source:
            raise
        options = replace(options, image_column="auto", label_column="auto")
        data = _open_to_evaluate(options, source, contract)
    data = _align(rename_stream(data), contract)
    pixels, rows = _read_pixels(config, data, contract)
    notes = _notes_on(data, pixels)
    if data.given is not None and (data.given == TEST).any():
        rows = rows[data.given[rows] == TEST]
        notes.append("the data names a test split; that is what is evaluated")
    return _kind_of(data, config)(
        source=data,
        splits=Splits(NO_ROWS, NO_ROWS, rows),
        contract=contract,
        fingerprint=data.samples.fingerprint(pixels.content if pixels else None),
        workers=config.workers,
        notes=tuple(notes),
        pixels=pixels,
    )


def _align(data: Data, contract: Contract) -> Data:
    """`data` with the classes of a contract; DataError for images that can't be what it takes."""
    refuse_images(data, contract)
    return align_kind(align_classes(data, contract.class_names), contract)


def _open_to_evaluate(config: DataConfig, source: Any, contract: Contract) -> Data:
    """`source` with the class names that it has itself, which are then aligned by name.

    The names that were typed for the run name the classes of data that carries numbers only.
    """
    if not config.class_names:
        return open_source(config, source)
    data = open_source(replace(config, class_names=()), source)
    own = data.samples.class_names
    if set(own) <= set(contract.class_names) or not all(map(str.isdecimal, own)):
        return data
    return open_source(config, source)


def open_ahead(
    config: DataConfig, source: Any, record: Callable[[Event], None]
) -> tuple[str, Pixels]:
    """The name and the pixels of `source`, in a pack on disk that later runs will find.

    `record` gets events as a listener does: progress, and what is about to be done.
    """
    if config.pack not in ("auto", "disk"):
        raise UsageError(
            f"data.pack={config.pack} asks for no pack on disk", "leave it out to build one"
        )
    data = open_source(config, source)
    if _kind_of(data, config) is not PackedData:
        raise UsageError(
            f"{printable(data.name)} is a Dataset of your own, which is read anew each time",
            "its own transforms decide its images; only files and arrays are packed",
        )
    contract = choose_contract(
        data, mode=config.mode, size=config.size, fit=config.fit, kernel=config.kernel
    )
    for note in describe_range(contract):
        record(Note(note))
    pixels = open_pixels(
        data,
        contract,
        pack="disk",
        progress=lambda done, total: record(PackProgress("pack", done, total)),
        announce=lambda text: record(Announcement(text)),
    )
    return data.name, pixels


def _kind_of(data: Data, config: DataConfig) -> type[RunData]:
    """How images of this source are read: from a pack, streamed, item by item, or in sequence."""
    if data.kind in ("dataset", "stream"):
        return DatasetData if data.kind == "dataset" else StreamData
    return ShardedData if streams(config, data) else PackedData


def streams(config: DataConfig, data: Data | None = None) -> bool:
    """Whether images are read from shards each time: asked for, or because they are far away."""
    if config.pack != "auto":
        return config.pack == "stream"
    if data is None:
        return is_url(config.source)
    return getattr(data.reader, "store", None) is not None


def _read_pixels(
    config: DataConfig,
    data: Data,
    contract: Contract,
    progress: Progress | None = None,
    announce: Callable[[str], None] | None = None,
) -> tuple[Pixels | None, Rows]:
    """The pixels of files and arrays, and the rows of all samples that can be read."""
    kind = _kind_of(data, config)
    if kind is ShardedData:
        limit_store(data.reader, config.shard_cache_gb)
        streamed = open_streamed(data, contract, config.bad_fraction)
        return streamed, np.arange(len(data.samples))
    if kind is not PackedData:
        return None, np.arange(len(data.samples))
    pixels = open_pixels(data, contract, pack=config.pack, progress=progress, announce=announce)
    return pixels, sound_rows(pixels, config.bad_fraction)


def fits(store: ShardStore, config: DataConfig, ranks: int, shards: int) -> bool:
    """Whether a rank's shards in use, and one more in each lane, fit into its cache."""
    lanes = -(-config.lanes // ranks)
    in_use = min(shards, lanes * (config.mixed_shards + 1))
    return in_use * store.mean_bytes <= store.limit_bytes


def _notes_on_stream(config: DataConfig, data: Data, splits: Splits, world: World) -> list[str]:
    """What to know of a run whose images are streamed."""
    reader = require_shards(data.reader)
    shards = reader.places[:, 0]
    count = len(np.unique(shards))
    notes = [
        f"images are streamed from {plural(count, 'shard')}: {config.lanes} lanes, "
        f"{config.mixed_shards} shards mixed in each"
    ]
    held = splits.val if len(splits.val) else splits.test
    if len(held) and len(np.intersect1d(shards[held], shards[splits.train])):
        notes.append(
            "validation and test images lie in the shards of the training images, all of which "
            "have to be read for them; `loupe shard` gives each split shards of its own"
        )
    store = reader.store
    if store is not None and not fits(store, config, world.size, count):
        notes.append(
            f"the cache of {format_bytes(store.limit_bytes)} for this process holds less than the "
            "shards that are in use at a time, so that many images are fetched one by one: raise "
            "data.shard_cache_gb, or lower data.mixed_shards or data.lanes"
        )
    if world.size > config.lanes:
        notes.append(
            f"{world.size} ranks share {config.lanes} lanes, so that a shard is read by several; "
            f"a new run with --set data.lanes={world.size} would read each once"
        )
    return notes


def _with_statistics(
    contract: Contract, input_spec: InputSpec | None, pixels: Pixels | None, splits: Splits
) -> Contract:
    """`contract` with mean and standard deviation: the backbone's, or of the training images."""
    if input_spec is not None:
        return contract.with_statistics(*input_spec.statistics(contract.channels))
    if pixels is not None:
        return contract.with_statistics(*find_statistics(pixels, splits.train))
    if not contract.mean:
        return contract.with_statistics((0.5,) * contract.channels, (0.25,) * contract.channels)
    return contract


def _notes_on(data: Data, pixels: Pixels | None) -> list[str]:
    """What a person should know of the source and of images that can't be read."""
    notes = [*data.notes, *describe_ignored(data.ignored)]
    return notes if pixels is None else [*notes, *pixels.notes, *describe_bad(pixels.bad)]


def open_source(config: DataConfig, source: Any) -> Data:
    """`open_data` with the settings' options."""
    return open_data(
        source,
        image_column=config.image_column,
        label_column=config.label_column,
        label_separator=config.label_separator,
        image_folder=config.image_folder,
        split_column=config.split_column,
        label_pattern=config.label_pattern,
        layout=config.layout,
        class_names=config.class_names,
        download=config.download,
    )


def align_classes(data: Data, class_names: Sequence[str]) -> Data:
    """`data` with its labels renumbered to `class_names`, by name.

    Data that carries numbers only is taken to count the same classes. DataError for a class
    that the model does not know.
    """
    own = data.samples.class_names
    if own == tuple(class_names):
        return data
    place = {name: number for number, name in enumerate(class_names)}
    unknown = [name for name in own if name not in place]
    counts = data.samples.class_counts()
    if unknown and any(counts[own.index(name)] for name in unknown):
        raise DataError(
            f"{plural(len(unknown), 'class', 'classes')} of the data the model does not know: "
            + ", ".join(printable(name, 60) for name in unknown[:5]),
            "the model knows " + ", ".join(printable(name, 60) for name in class_names[:8]),
        )
    target = np.array([place.get(name, 0) for name in own], dtype=np.int64)
    labels = data.samples.labels
    if data.samples.is_multi_label:
        aligned = np.zeros((len(labels), len(class_names)), dtype=labels.dtype)
        aligned[:, target] = labels
    else:
        aligned = target[labels]
    samples = replace(data.samples, labels=aligned, class_names=tuple(class_names))
    return replace(data, samples=samples)


def describe_ignored(ignored: Mapping[str, int]) -> list[str]:
    """A note on files that are no images, if there are any."""
    total = sum(ignored.values())
    return [f"{plural(total, 'file')} passed over: {count_ignored(ignored)}"] if total else []


def describe_bad(bad: Sequence[BadImage]) -> list[str]:
    """A note for each of the first images that were set aside, and one that counts all by kind."""
    shown = [f"set aside: {printable(image.id)}: {image.reason}" for image in bad[:10]]
    counted = f"set aside: {len(bad):,} images in total ({count_kinds(bad)})"
    return [*shown, counted] if len(bad) > 1 else shown
