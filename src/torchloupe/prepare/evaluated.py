"""What is evaluated of data that are handed over from Python: a loader alone, or the test split."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from torchloupe.data.contract import Contract
from torchloupe.data.sources import Data
from torchloupe.data.sources.dataset_labels import names_of
from torchloupe.data.sources.loaders import is_stream, take_apart
from torchloupe.data.sources.restarts import as_restarting
from torchloupe.data.sources.source import SPLIT_WORDS, name_some
from torchloupe.data.sources.stream_labels import look_through
from torchloupe.data.sources.streams import StreamReader, open_streams
from torchloupe.data.split import SPLIT_NAMES, TEST, TRAIN
from torchloupe.errors import DataError, UsageError


def single_out(source: Any, class_names: Sequence[str]) -> Any:
    """`source`, or what of it is evaluated where that needs no train split.

    The test split of a dict without train (else its val), the dataset in a DataLoader, and a
    stream opened as the split "test", whose labels are those of `class_names`. DataError for a
    stream that numbers its classes in another order.
    """
    if isinstance(source, Mapping):
        parts = {SPLIT_WORDS.get(str(key).lower()): value for key, value in source.items()}
        if parts and None not in parts and TRAIN not in parts:
            source = parts.get(TEST, next(iter(parts.values())))
    if isinstance(source, DataLoader) and (inside := take_apart(source, TEST)) is not None:
        return inside.dataset
    if isinstance(source, Data) or not is_stream(source):
        return source
    source = as_restarting(source)
    own = names_of(getattr(source, "dataset", source))
    data = open_streams({TEST: source}, name=type(source).__name__, class_names=class_names)
    if own and own != tuple(class_names)[: len(own)] and not _gives_texts(source):
        raise DataError(
            f"the stream numbers its classes as {name_some(own)}, and the model as "
            f"{name_some(class_names)}",
            "let it give class names as labels, or number its classes in the model's order",
        )
    return data


def _gives_texts(loader: Any) -> bool:
    """Whether the labels of a stream are class names."""
    return bool(look_through(loader, lambda _: True).texts)


def rename_stream(data: Data) -> Data:
    """A stream with its only loader as the split "test"; UsageError for several without test."""
    if data.kind != "stream" or SPLIT_NAMES[TEST] in data.reader.loaders:  # type: ignore[attr-defined]
        return data
    loaders: Mapping[str, Any] = data.reader.loaders  # type: ignore[attr-defined]
    if len(loaders) > 1:
        raise UsageError(
            f"the loaders have no test split: they are {' and '.join(loaders)}",
            "give the one to evaluate alone, or a dict with the key test",
        )
    (loader,) = loaders.values()
    return replace(data, reader=StreamReader({SPLIT_NAMES[TEST]: loader}))


def align_kind(data: Data, contract: Contract) -> Data:
    """`data` with rows of labels where the model gives several labels an image.

    DataError for images with several labels where the model gives one.
    """
    samples = data.samples
    if samples.is_multi_label == contract.multi_label:
        return data
    if samples.is_multi_label:
        raise DataError(
            "images of the data may have several labels, or none, and the model gives each one",
            "give a class number for each image, or train the model with such labels",
        )
    rows = np.eye(len(samples.class_names), dtype=np.float32)[samples.labels]
    aligned = replace(data, samples=replace(samples, labels=rows))
    if data.kind == "stream":
        return aligned
    note = (
        f"each image of the data has exactly one of the {len(samples.class_names)} labels, of "
        "which the model may give several"
    )
    return replace(aligned, notes=(*data.notes, note))
