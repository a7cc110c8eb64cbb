"""What can only be read in sequence: IterableDatasets, and DataLoaders with ways of their own."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset

from torchloupe.data.samples import Samples, make_ids
from torchloupe.data.sources.dataset_labels import known_labels, names_of
from torchloupe.data.sources.datasets import unite_classes
from torchloupe.data.sources.kept_draws import note_kept_draws
from torchloupe.data.sources.labels import sort_names
from torchloupe.data.sources.loaders import find_batch, note_kept
from torchloupe.data.sources.repeatable import note_unrepeatable_stream
from torchloupe.data.sources.restarts import refuse_same_iterator
from torchloupe.data.sources.source import Data, name_some, short_name
from torchloupe.data.sources.stream_labels import (
    Look,
    length_of,
    look_at_all,
    look_briefly,
    note_first,
    note_length,
    refuse_mark,
)
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

    `batch_total` is the batch size of the training loader; 0 if it gives single samples. `counts`
    are the items (batches, or samples) that a pass of a loader was seen to give.
    """

    def __init__(
        self,
        loaders: Mapping[str, Any],
        batch_total: int = 0,
        counts: Mapping[str, int] | None = None,
    ) -> None:
        self.loaders = dict(loaders)
        self.batch_total = batch_total
        self.counts = dict(counts or {})

    def read(self, row: int) -> bytes:
        """Refused: a stream has no rows."""
        raise DataError(f"a stream can't be read at row {row}", "iterate over its loaders instead")


def open_streams(parts: Mapping[int, Any], *, name: str, class_names: Sequence[str] = ()) -> Data:
    """Data of kind "stream": no ids, only class names and the loaders themselves."""
    notes: tuple[str, ...] = ()
    for part, loader in parts.items():
        _refuse_unaligned(getattr(loader, "dataset", loader))
        where = SPLIT_NAMES[part] if len(parts) > 1 else ""
        refuse_same_iterator(loader, where)
        notes += check_workers(loader, where)
        if part == TRAIN:
            notes += note_first(loader)
            dataset = getattr(loader, "dataset", None)
            if dataset is not None and not isinstance(dataset, IterableDataset):
                notes += note_kept_draws(dataset, "the stream")
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
    train = parts[TRAIN] if TRAIN in parts else next(iter(parts.values()))
    names, look, found = _find_classes(train, parts, names)
    notes += found + note_length(train, look) + note_unused_in_stream(next(iter(parts.values())))
    if list(parts) == [TRAIN]:
        notes += (note_kept(parts[TRAIN]),)
    empty = np.zeros((0, len(names)), np.float32) if look.has_several else np.zeros(0, np.int64)
    return Data(
        name=short_name(name),
        kind="stream",
        samples=Samples(make_ids(range(0)), empty, names),
        given=None,
        reader=StreamReader(
            {SPLIT_NAMES[part]: loader for part, loader in parts.items()},
            find_batch(parts[TRAIN]) if TRAIN in parts else 0,
            {SPLIT_NAMES[TRAIN]: look.items} if TRAIN in parts and look.is_whole else {},
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


def _find_classes(
    loader: Any, parts: Mapping[int, Any], names: tuple[str, ...]
) -> tuple[tuple[str, ...], Look, tuple[str, ...]]:
    """Names of the classes, what was seen of the labels, and notes.

    Without `names` they are the numbers or texts of known labels, or of the stream read once.
    """
    count = 0 if names else _count_known(loader)
    if names or count:
        look = look_briefly(loader, parts)
        count = look.width or count
        names = names or _number(count)
        notes: tuple[str, ...] = ()
    else:
        look = look_briefly(loader, parts) if length_of(loader) is None else look_at_all(loader)
        if length_of(loader) is None and not look.width:
            raise UsageError(
                "the stream doesn't say how many classes it has",
                _NAME_THEM,
            )
        names, notes = _name_seen(look)
        if look.width and not look.has_several:
            look.has_several = look_briefly(loader, parts).has_several
    if look.has_several:
        notes += (f"an image may have several of the {len(names)} labels: this is multi-label",)
    return names, look, notes


def _count_known(loader: Any) -> int:
    """How many classes the labels have that the dataset in a loader tells; 0 if it tells none."""
    dataset = getattr(loader, "dataset", loader)
    labels = None if isinstance(dataset, IterableDataset) else known_labels(dataset)
    if labels is None or not len(labels):
        return 0
    if labels.ndim == 2:
        return int(labels.shape[1])
    refuse_mark(set(np.unique(labels).tolist()))
    return int(labels.max()) + 1


def _number(count: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(count))


def _name_seen(look: Look) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Class names from the labels that were read, and notes on it."""
    texts = look.texts
    if texts and look.highest < 0:
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
    if look.highest < 0:
        raise DataError("the stream gives no samples", "give one that can be read again and again")
    read = "the stream was read once"
    if not look.is_whole:
        read = f"the first {look.rows:,} samples of the stream were read"
    refuse_mark(look.numbers)
    notes = [f"{read} to count its classes; data.class_names avoids that"]
    if look.lowest == 1 < look.highest:
        notes.append(
            f"labels run from 1 to {look.highest}: class '0' has no image; let the stream give "
            "label - 1 to leave it out",
        )
    return _number(look.highest + 1), tuple(notes)
