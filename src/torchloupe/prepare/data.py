"""The data of a run, ready for the loop: opened, decoded, split, normalised.

The order is source, samples, contract, pixels, split: images that can't be read are set aside
before the split, so that the split is one of sound images.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from torchloupe.config.schema import DataConfig
from torchloupe.data.augmentation.augment import Augment
from torchloupe.data.contract import Contract, choose_contract
from torchloupe.data.feeds.feed import PixelFeed, PixelScan
from torchloupe.data.feeds.loader import LoaderFeed, LoaderScan
from torchloupe.data.feeds.rank_share import WHOLE, RankShare
from torchloupe.data.feeds.stream import Stream
from torchloupe.data.pack.pixels import Pixels, open_pixels, sound_rows
from torchloupe.data.samples import Samples
from torchloupe.data.sources import Data, open_data
from torchloupe.data.sources.kinds import unfit_options
from torchloupe.data.sources.source import count_ignored
from torchloupe.data.split import TEST, Splits
from torchloupe.data.split_cache import divide, find_statistics
from torchloupe.errors import DataError, UsageError, printable
from torchloupe.evaluation.inference import BATCH_MULTIPLE, LARGEST_BATCH
from torchloupe.model.backbones import InputSpec
from torchloupe.units import plural

Rows = NDArray[np.int64]
Progress = Callable[[int, int], None]

EVALUATION_PIXELS = 2**20  # values in one evaluation batch, of 16 to 256 images


@dataclass(frozen=True)
class RunData:
    """Everything the loop and the evaluation need of the data."""

    data: Data
    splits: Splits
    contract: Contract
    pixels: Pixels | None  # None: a Dataset of the user's, read through a DataLoader
    fingerprint: str
    workers: int
    notes: tuple[str, ...]
    rank_share: RankShare = WHOLE  # this rank's, of every batch and every scan of a split

    @property
    def samples(self) -> Samples:
        """The table of all samples; rows of the splits point into it."""
        return self.data.samples

    def rows(self, part: str) -> Rows:
        """The rows of "train", "val" or "test"; empty for a stream, which has none."""
        found: Rows = getattr(self.splits, part)
        return found

    def some_rows(self, most: int) -> Rows:
        """Up to `most` training rows from all over them; two where each costs a Dataset's time."""
        rows = self.splits.train
        count = min(most, len(rows)) if self.pixels is not None else min(2, len(rows))
        return rows[np.arange(count) * len(rows) // max(count, 1)]

    def has(self, part: str) -> bool:
        """Whether there is anything in "train", "val" or "test"."""
        if self.data.kind == "stream":
            return part in self.data.reader.loaders  # type: ignore[attr-defined]
        return len(self.rows(part)) > 0

    @property
    def train_count(self) -> int:
        """Training images; for a stream what its loader says, 0 where it doesn't."""
        if self.data.kind != "stream":
            return len(self.splits.train)
        loader = self.data.reader.loaders["train"]  # type: ignore[attr-defined]
        try:
            return len(getattr(loader, "dataset", loader))
        except TypeError:
            return 0

    def class_counts(self) -> NDArray[np.int64] | None:
        """Training images a class [K]; None for a stream."""
        if self.data.kind == "stream":
            return None
        return self.samples.class_counts(self.splits.train)

    def facts(self) -> dict[str, Any]:
        """What identifies the data, for environment.json and for refusing changed data."""
        counts = self.samples.class_counts()
        return {
            "name": self.data.name,
            "kind": self.data.kind,
            "fingerprint": self.fingerprint,
            "images": len(self.samples),
            "set_aside": len(self.pixels.bad) if self.pixels else 0,
            "ignored_files": dict(self.data.ignored),
            "train": self.train_count,
            "val": len(self.splits.val),
            "test": len(self.splits.test),
            "images_of_class": dict(zip(self.samples.class_names, map(int, counts), strict=True)),
        }

    def feed(
        self, batch_total: int, seed: int, augment: Augment, device: torch.device
    ) -> PixelFeed | LoaderFeed | Stream:
        """Training batches, endless, from any step; of each this rank's part."""
        feed: PixelFeed | LoaderFeed | Stream
        rows = self.splits.train
        if self.data.kind == "stream":
            if not augment.is_off:
                raise UsageError(
                    "a stream is trained on as it comes, and can't be augmented here",
                    "put the changes into the stream, and leave out the augment. settings",
                )
            feed = Stream(self.data, "train", self.contract, batch_total, seed, device)
        elif self.pixels is None:
            workers = self.workers
            feed = LoaderFeed(
                self.data, rows, self.contract, batch_total, seed, device, workers, augment
            )
        else:
            feed = PixelFeed(
                self.pixels, self.samples, rows, self.contract, augment, batch_total, seed, device
            )
        feed.rank_share = self.rank_share
        return feed

    def scan(self, part: str, device: torch.device) -> PixelScan | LoaderScan | Stream:
        """This rank's samples of "train", "val" or "test": each once over all ranks."""
        rows = self.rows(part)
        scan = self.scan_rows(rows[self.rank_share.span(len(rows))], device, part)
        if isinstance(scan, Stream):
            scan.rank_share = self.rank_share
        return scan

    def scan_rows(
        self, rows: Rows, device: torch.device, part: str = "train"
    ) -> PixelScan | LoaderScan | Stream:
        """The samples at `rows`, each once, in that order; of a stream always a whole part."""
        height, width = self.contract.size
        each = height * width * self.contract.channels
        batch = max(
            BATCH_MULTIPLE,
            min(LARGEST_BATCH, EVALUATION_PIXELS // each // BATCH_MULTIPLE * BATCH_MULTIPLE),
        )
        if self.data.kind == "stream":
            return Stream(self.data, part, self.contract, batch, 0, device)
        if self.pixels is None:
            return LoaderScan(self.data, rows, self.contract, batch, device, self.workers)
        return PixelScan(self.pixels, self.samples, rows, self.contract, batch, device)


def prepare(
    config: DataConfig,
    source: Any,
    *,
    seed: int,
    contract: Contract | None = None,
    input_spec: InputSpec | None = None,
    progress: Progress | None = None,
    announce: Callable[[str], None] | None = None,
) -> RunData:
    """Open `source` as the settings say; `contract` is that of a run to follow, else it is made.

    `input_spec` is that of a pretrained backbone, whose mean and standard deviation are then used.

    Raises DataError for data that can't be learned from, and where more than
    `config.bad_fraction` of the images can't be read.
    """
    data = open_source(config, source)
    if contract is not None:
        data = align_classes(data, contract.class_names)
    chosen = contract or choose_contract(
        data, mode=config.mode, size=config.size, fit=config.fit, kernel=config.kernel
    )
    notes = [*data.notes, *describe_ignored(data.ignored)]
    pixels = None
    if data.kind == "stream":
        none = np.zeros(0, dtype=np.int64)
        splits, fingerprint = Splits(none, none, none), data.samples.fingerprint()
    else:
        sound = np.arange(len(data.samples))
        if data.kind != "dataset":
            pixels = open_pixels(
                data, chosen, pack=config.pack, progress=progress, announce=announce
            )
            sound = sound_rows(pixels, config.bad_fraction)
            notes += [*pixels.notes, *describe_bad(pixels)]
        splits, fingerprint = divide(
            data,
            pixels,
            sound,
            fractions=(config.val_fraction, config.test_fraction),
            seed=seed,
            fold=(config.fold, config.folds) if config.fold else None,
            copies=config.copies,
        )
    notes += splits.notes
    if contract is None and input_spec is not None:
        chosen = chosen.with_statistics(*input_spec.statistics(chosen.channels))
    elif contract is None and pixels is not None:
        chosen = chosen.with_statistics(*find_statistics(pixels, splits.train))
    elif contract is None and not chosen.mean:
        chosen = chosen.with_statistics((0.5,) * chosen.channels, (0.25,) * chosen.channels)
    return RunData(
        data=data,
        splits=splits,
        contract=chosen,
        pixels=pixels,
        fingerprint=fingerprint,
        workers=config.workers,
        notes=tuple(notes),
    )


def open_ahead(
    config: DataConfig, source: Any, tell: Callable[[Mapping[str, Any]], None]
) -> tuple[str, Pixels]:
    """The name and the pixels of `source`, on disk, as a run with these settings will find them.

    `tell` gets events as a listener does: progress, and what is about to be done.
    """
    if config.pack not in ("auto", "disk"):
        raise UsageError(
            f"data.pack={config.pack} asks for no pack on disk", "leave it out to build one"
        )
    data = open_source(config, source)
    if data.kind in ("dataset", "stream"):
        raise UsageError(
            f"{printable(data.name)} is a Dataset of your own, which is read anew each time",
            "its own transforms decide its images; only files and arrays are packed",
        )
    contract = choose_contract(
        data, mode=config.mode, size=config.size, fit=config.fit, kernel=config.kernel
    )
    pixels = open_pixels(
        data,
        contract,
        pack="disk",
        progress=lambda done, total: tell({"phase": "pack", "done": done, "total": total}),
        announce=lambda text: tell({"about": text}),
    )
    return data.name, pixels


def prepare_evaluation_data(config: DataConfig, source: Any, contract: Contract) -> RunData:
    """Data to evaluate a trained model on: its test split where the source names one, else all.

    Options of the run's own data that don't fit `source` are left out. Classes are aligned with
    the contract's by name. Unreadable images are set aside as in
    training.
    """
    unfit = set(unfit_options(source))
    if source != config.source:
        unfit.add("image_folder")  # beside the table of the run
    left_out: dict[str, Any] = dict.fromkeys(unfit, "auto")
    options = replace(config, **left_out)
    data = align_classes(open_source(options, source), contract.class_names)
    none = np.zeros(0, dtype=np.int64)
    rows, pixels, content = np.arange(len(data.samples)), None, None
    notes = [*data.notes, *describe_ignored(data.ignored)]
    if data.kind not in ("dataset", "stream"):
        pixels = open_pixels(data, contract, pack=config.pack)
        rows = sound_rows(pixels, config.bad_fraction)
        content = pixels.content
        notes += [*pixels.notes, *describe_bad(pixels)]
    if data.given is not None and (data.given == TEST).any():
        rows = rows[data.given[rows] == TEST]
        notes.append("the data names a test split; that is what is evaluated")
    return RunData(
        data=data,
        splits=Splits(none, none, rows),
        contract=contract,
        pixels=pixels,
        fingerprint=data.samples.fingerprint(content),
        workers=config.workers,
        notes=tuple(notes),
    )


def open_source(config: DataConfig, source: Any) -> Data:
    """`open_data` with the settings' options."""
    return open_data(
        source,
        image_column=config.image_column,
        label_column=config.label_column,
        label_separator=config.label_separator,
        image_folder=config.image_folder,
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


def describe_bad(pixels: Pixels) -> list[str]:
    """A note for each of the first images that were set aside, with the reason."""
    shown = [f"set aside: {printable(bad.id)}: {bad.reason}" for bad in pixels.bad[:10]]
    rest = len(pixels.bad) - len(shown)
    return [*shown, f"set aside: {rest:,} more images"] if rest else shown
