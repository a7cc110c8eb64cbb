"""What can only be read in sequence: IterableDatasets, and DataLoaders with ways of their own."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset

from torchloupe.data.samples import Samples, make_ids
from torchloupe.data.sources.dataset_labels import is_one_hot, known_labels, names_of
from torchloupe.data.sources.datasets import unite_classes
from torchloupe.data.sources.labels import sort_names
from torchloupe.data.sources.loaders import find_batch, note_kept
from torchloupe.data.sources.pairs import describe_item, take_pair
from torchloupe.data.sources.repeatable import note_unrepeatable_stream
from torchloupe.data.sources.source import Data, name_some, short_name
from torchloupe.data.sources.text_labels import as_text_label
from torchloupe.data.sources.unused_columns import note_unused_in_stream
from torchloupe.data.sources.worker_check import check_workers
from torchloupe.data.split import SPLIT_NAMES, TRAIN
from torchloupe.errors import DataError, UsageError

_NAME_THEM = (
    'name them: settings={"data.class_names": ["a", "b"]}, class_names=("a", "b") of open_data, or '
    "a `classes` attribute of the dataset"
)


class StreamReader:
    """Loaders by split name ("train", "val", "test"), given as they are.

    `batch_total` is the batch size of the training loader; 0 if it gives single samples.
    """

    def __init__(self, loaders: Mapping[str, Any], batch_total: int = 0) -> None:
        self.loaders = dict(loaders)
        self.batch_total = batch_total

    def read(self, row: int) -> bytes:
        """Refused: a stream has no rows."""
        raise DataError(f"a stream can't be read at row {row}", "iterate over its loaders instead")


def open_streams(parts: Mapping[int, Any], *, name: str, class_names: Sequence[str] = ()) -> Data:
    """Data of kind "stream": no ids, only class names and the loaders themselves."""
    notes: tuple[str, ...] = ()
    for part, loader in parts.items():
        _refuse_unaligned(getattr(loader, "dataset", loader))
        notes += check_workers(loader, SPLIT_NAMES[part] if len(parts) > 1 else "")
        if part == TRAIN:
            notes += note_unrepeatable_stream(loader, "")
    named = {part: names_of(getattr(loader, "dataset", loader)) for part, loader in parts.items()}
    known = {names for names in named.values() if names}
    if len(known) > 1:
        raise DataError(
            "the splits name their classes differently: "
            + "; ".join(f"{SPLIT_NAMES[part]} {name_some(n, 3)}" for part, n in named.items()),
            "give all splits the same classes in the same order",
        )
    names = tuple(class_names) or (known.pop() if known else ())
    if not names:
        names, counted = _count_classes(
            parts[TRAIN] if TRAIN in parts else next(iter(parts.values()))
        )
        notes += counted
    notes += note_unused_in_stream(next(iter(parts.values())))
    if list(parts) == [TRAIN]:
        notes += (note_kept(parts[TRAIN]),)
    empty = np.zeros(0, dtype=np.int64)
    return Data(
        name=short_name(name),
        kind="stream",
        samples=Samples(make_ids(range(0)), empty, names),
        given=None,
        reader=StreamReader(
            {SPLIT_NAMES[part]: loader for part, loader in parts.items()},
            find_batch(parts[TRAIN]) if TRAIN in parts else 0,
        ),
        notes=notes,
    )


def _refuse_unaligned(dataset: Any) -> None:
    """DataError for a ConcatDataset whose parts number other classes: a stream keeps its labels."""
    if isinstance(dataset, IterableDataset) or unite_classes(dataset) is dataset:
        return
    raise DataError(
        "a ConcatDataset in a DataLoader that is used as it is joins datasets whose classes differ",
        "give the ConcatDataset itself, or a DataLoader with shuffle=True alone: its classes are "
        "then aligned by name",
    )


def _count_classes(loader: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Class numbers as names, found from known labels or by reading the stream once."""
    dataset = getattr(loader, "dataset", loader)
    labels = None if isinstance(dataset, IterableDataset) else known_labels(dataset)
    if labels is not None and len(labels):
        count = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
        return tuple(str(number) for number in range(count)), ()
    if not hasattr(loader, "__len__") or not _has_length(loader):
        raise UsageError(
            "the stream doesn't say how many classes it has",
            _NAME_THEM,
        )
    lowest, highest = 2**62, -1
    texts: set[str] = set()
    for item in loader:
        pair = take_pair(item)
        if pair is None:
            raise DataError(
                f"the stream gives {describe_item(item)}; wanted (image, label)",
                "let it give pairs of image and label",
            )
        found = np.asarray(pair[1])
        if found.dtype.kind in "US":
            texts |= {text for each in np.atleast_1d(found) if (text := as_text_label(each.item()))}
            continue
        if found.dtype.kind == "f" and is_one_hot(np.atleast_2d(found)):
            found = np.array([0, found.shape[-1] - 1])
        if found.dtype.kind not in "biu":
            raise UsageError(
                f"the stream's labels are of type {found.dtype}, not class numbers",
                _NAME_THEM,
            )
        highest = max(highest, int(found.max(initial=-1)))
        lowest = min(lowest, int(found.min(initial=lowest)))
    if texts and highest < 0:
        return tuple(sort_names(sorted(texts))), (
            f"the stream was read once: its labels are texts, {name_some(sorted(texts))}; "
            "data.class_names avoids that",
        )
    if texts:
        raise DataError(
            f"some labels of the stream are texts, such as {name_some(sorted(texts), 1)}, and "
            "others are numbers",
            "let all be class numbers from 0, or all class names",
        )
    if highest < 0:
        raise DataError("the stream gives no samples", "give one that can be read again and again")
    notes = ["the stream was read once to count its classes; data.class_names avoids that"]
    if lowest == 1 < highest:
        notes.append(
            f"labels run from 1 to {highest}: class '0' has no image; let the stream give "
            "label - 1 to leave it out",
        )
    return tuple(str(number) for number in range(highest + 1)), tuple(notes)


def _has_length(loader: Any) -> bool:
    try:
        return len(loader) >= 0
    except TypeError:
        return False
