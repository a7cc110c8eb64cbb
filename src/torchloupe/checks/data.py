"""Silent mistakes in the data: images, labels, splits. The place where data checks are called.

What is looked at is chosen here, so that a run spends little on it; what it means is decided by
pure functions in images, splits, near_copies and shortcuts.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torchloupe.checks.combined import find_ground_shortcut, find_joint_shortcut
from torchloupe.checks.file_facts import list_properties, read_facts
from torchloupe.checks.images import FEW, find_image_mistakes, judge_changes, judge_split_scales
from torchloupe.checks.near_copies import (
    FEWEST_PIXELS,
    find_near_copies,
    join_prints,
    take_prints,
)
from torchloupe.checks.readings import names_randomness, read_items, spread_rows
from torchloupe.checks.shortcuts import find_border_shortcuts, find_file_shortcuts
from torchloupe.checks.splits import (
    find_contradictions,
    find_missing_classes,
    find_shared_images,
    find_torn_groups,
    judge_near_copies,
)
from torchloupe.data.contract import Contract
from torchloupe.data.feeds.feed import Batch
from torchloupe.data.pack.pixels import Pixels
from torchloupe.data.samples import Samples
from torchloupe.data.sources import Data
from torchloupe.data.split import SPLIT_NAMES, Splits
from torchloupe.run.events import Verdict

LOOKED_AT, LOOKED_AT_THOROUGHLY = 64, 512  # images, to see what they are like
LOOKED_AT_NUMBERS = 2**21  # pixels of these, at most; thoroughly in proportion
ITEM_SECONDS, ITEM_SECONDS_THOROUGHLY = 0.3, 5.0  # for a Dataset, whose items may be slow
COMPARED, COMPARED_THOROUGHLY = 1_000, 50_000  # images, to find near copies
COMPARED_BYTES = 2**31  # of pixels, at most
FILES, FILES_THOROUGHLY = 200, 2_000  # whose headers and borders are looked at
FILE_SECONDS, FILE_SECONDS_THOROUGHLY = 0.3, 20.0
TRAINING, VALIDATION = 0, 1

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class DataEvidence:
    """What the checks of data may look at."""

    samples: Samples  # empty for a stream
    splits: Splits
    contract: Contract
    pixels: Pixels | None  # None: images are read from their source each time, which may be slow
    read: Callable[..., Iterable[Batch]]  # rows of samples as the model gets them, not augmented
    source: Data | None = None


def check_data(data: DataEvidence, *, thorough: bool = False) -> list[Verdict]:
    """Every verdict on the data; nothing is changed and no generator is drawn from.

    A run calls the cheap checks; `thorough`, as `loupe check` does, allows a minute.
    """
    if not len(data.samples):
        return []
    found = find_missing_classes(data.samples, data.splits)
    found += find_torn_groups(data.samples, data.splits)
    if data.pixels is not None:
        found += find_contradictions(data.samples, data.pixels.content)
        found += find_shared_images(data.samples, data.splits, data.pixels.content)
        found += check_pixels(data, LOOKED_AT_THOROUGHLY if thorough else LOOKED_AT)
        found += check_shortcuts(data, thorough=thorough)
        found += check_near_copies(data, COMPARED_THOROUGHLY if thorough else COMPARED)
    elif data.source is not None and data.source.kind == "dataset":
        seconds = ITEM_SECONDS_THOROUGHLY if thorough else ITEM_SECONDS
        found += check_items(data, data.source, seconds)
    return found


def check_pixels(data: DataEvidence, most: int) -> list[Verdict]:
    """Verdicts on some decoded images; what is not finite was set aside before."""
    assert data.pixels is not None
    height, width = data.contract.size
    few = LOOKED_AT_NUMBERS // (height * width * data.contract.channels)
    rows = spread_rows(data.splits.train, max(FEW, most * min(few, LOOKED_AT) // LOOKED_AT))
    images = _gather(data.pixels, rows)
    found = find_image_mistakes(images)
    if data.contract.is_float:  # arrays: what is in files has one scale
        for split in ("val", "test"):
            held = spread_rows(getattr(data.splits, split), len(rows))
            found += judge_split_scales(images, _gather(data.pixels, held), split)
    return found


def _gather(pixels: Pixels, rows: Rows) -> NDArray[np.float32]:
    """The images at `rows` as float32 [N, C, H, W]."""
    return pixels.gather(rows).numpy().transpose(0, 3, 1, 2).astype(np.float32)


def check_shortcuts(data: DataEvidence, *, thorough: bool) -> list[Verdict]:
    """Verdicts on what tells the class without a look at the picture: files and borders."""
    samples, contract = data.samples, data.contract
    if samples.is_multi_label or data.source is None or data.pixels is None:
        return []
    train = data.splits.train
    drawn = train[np.argsort(samples.keys[train], kind="stable")]
    found: list[Verdict] = []
    rows = drawn[: FILES_THOROUGHLY if thorough else FILES]
    names = [str(name) for name in samples.ids[rows]]
    seconds = FILE_SECONDS_THOROUGHLY if thorough else FILE_SECONDS
    facts = read_facts(data.source.reader, rows.tolist(), names, seconds)
    labels = samples.labels[rows[: len(facts)]]
    properties = list_properties(facts)
    found += find_file_shortcuts(properties, labels, samples.class_names)
    if not found:
        found += find_joint_shortcut(properties, labels, samples.class_names)
    if not contract.is_float:
        images = data.pixels.gather(rows).numpy()
        marks = find_border_shortcuts(images, samples.labels[rows], samples.class_names)
        ground = find_ground_shortcut(images, samples.labels[rows], samples.class_names)
        found += marks or ground
    return found


def check_items(data: DataEvidence, source: Data, seconds: float) -> list[Verdict]:
    """Verdicts on some items of a user's Dataset, read twice with other random numbers."""
    dataset = source.reader.dataset  # type: ignore[attr-defined]
    found: list[Verdict] = []
    seen: dict[str, NDArray[np.float32]] = {}
    for split in SPLIT_NAMES if source.given is not None else SPLIT_NAMES[:2]:
        is_training = split == "train"
        rows = spread_rows(getattr(data.splits, split), LOOKED_AT)
        if not len(rows):
            continue
        first = seen[split] = read_items(dataset, data.contract, rows, TRAINING, seconds)
        if split == "test":  # its transforms are seldom others than those of val
            continue
        again = read_items(dataset, data.contract, rows[: len(first)], VALIDATION, seconds)
        if is_training:
            found += find_image_mistakes(first, is_scaled=not data.contract.is_float)
        is_one = any(verdict.verdict == "one-image-for-all" for verdict in found)
        if len(again) and not is_one:
            found += judge_changes(
                first[: len(again)],
                again,
                is_training=is_training,
                draws=names_randomness(dataset),
            )
    train = seen.pop("train", np.zeros((0, 1, 1, 1), dtype=np.float32))
    for split, images in seen.items():
        found += judge_split_scales(train, images, split)
    return found


def check_near_copies(data: DataEvidence, most: int) -> list[Verdict]:
    """Verdicts on nearly identical images in different splits; of many images some are compared.

    Images of fewer than FEWEST_PIXELS a side are left out: in these, many look the same.
    """
    assert data.pixels is not None
    contract, splits = data.contract, data.splits
    if min(contract.size) < FEWEST_PIXELS or contract.is_float:
        return []
    if not len(splits.val) + len(splits.test):
        return []
    most = min(most, COMPARED_BYTES // (contract.size[0] * contract.size[1] * contract.channels))
    held = np.concatenate([splits.val, splits.test])
    held = spread_rows(held, max(most // 3, most - len(splits.train)))
    rows = np.sort(np.concatenate([held, spread_rows(splits.train, most - len(held))]))
    pieces = [
        take_prints(data.pixels.gather(rows[start : start + 512]).numpy())
        for start in range(0, len(rows), 512)
    ]
    return judge_near_copies(data.samples, splits, rows, find_near_copies(join_prints(pieces)))
