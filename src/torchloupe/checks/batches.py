"""The batches of a loop of one's own: their images, and labels that can't be learned from."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from torchloupe.checks.images import find_image_mistakes
from torchloupe.data.contract_choice import choose_contract
from torchloupe.data.feeds.items import stack_images, to_device
from torchloupe.data.sources import Data, open_data
from torchloupe.data.sources.dataset_labels import class_number
from torchloupe.data.sources.pairs import is_batch, take_pair
from torchloupe.errors import UsageError
from torchloupe.run.events import Verdict

IMAGES = 16  # of a trial
FEW_IMAGES = 6  # where they are large
LARGE = 3 * 128**2  # numbers of an image
LABELS = 4096  # that are read to count classes
BATCHES = 32
FEWEST_LABELS = 32
FEWEST_BATCHES = 4
SURELY = 4.0  # standard deviations
# Of images in a tensor nothing else is said: those of a trial may be noise.
_TOLD = {"images-not-finite", "blank-images", "one-image-for-all", "images-badly-scaled"}


def judge_images(images: Tensor) -> list[Verdict]:
    """Verdicts on images [B, C, H, W] as the model gets them."""
    if images.ndim != 4 or not images.is_floating_point():
        return []
    found = find_image_mistakes(images.detach().float().cpu().numpy(), is_scaled=False)
    return [v for v in found if v.verdict in _TOLD or "reshaped" in v.seen]


def judge_labels(batches: Sequence[Tensor]) -> list[Verdict]:
    """Verdicts on the labels of some batches in a row, class numbers [B] each."""
    if not batches or any(labels.ndim != 1 for labels in batches):
        return []
    labels = torch.cat(list(batches))
    if len(labels) < FEWEST_LABELS:
        return []
    if bool((labels == labels[0]).all()):
        return _judge_constant(labels, len(batches))
    if len(batches) >= FEWEST_BATCHES:
        of_one = sum(bool((each == each[0]).all()) for each in batches if len(each) > 1)
        if 2 * of_one > len(batches) and of_one > _most_by_chance(batches, labels):
            return [_sorted(of_one, len(batches))]
    return []


def _most_by_chance(batches: Sequence[Tensor], labels: Tensor) -> float:
    """How many batches of one class a shuffled loader hardly gives."""
    shares = torch.bincount(labels.long() - int(labels.min())) / len(labels)
    chances = [float((shares ** len(each)).sum()) for each in batches if len(each) > 1]
    spread = math.sqrt(sum(chance * (1 - chance) for chance in chances))
    return sum(chances) + SURELY * spread


def _judge_constant(labels: Tensor, batches: int) -> list[Verdict]:
    if batches >= FEWEST_BATCHES:
        return [_sorted(batches, batches)]
    return [
        Verdict(
            "labels-constant",
            "error",
            seen=f"all {len(labels)} labels are {int(labels[0])}",
            remedy="look at how labels are read: an index that is overwritten, a comparison, a "
            "division, a column that is no label",
            where="labels",
            why="the model learns one answer for everything, with a loss near 0",
            numbers={"labels": len(labels)},
        )
    ]


def _sorted(of_one: int, batches: int) -> Verdict:
    return Verdict(
        "batches-of-one-class",
        "warning",
        seen=f"{of_one} of the first {batches} batches hold images of one class only",
        remedy="shuffle the training images: DataLoader(..., shuffle=True)",
        where="labels",
        why="each step unlearns the other classes, and BatchNorm sees one class at a time",
        numbers={"of_one_class": of_one, "batches": batches},
    )


@dataclass(frozen=True, eq=False)
class Read:
    """What was read of the batches of a loop."""

    images: Tensor  # [B, ...], up to IMAGES
    labels: Tensor  # theirs
    all_labels: list[Tensor]  # of each batch that was read


def read_batches(batches: Any) -> Read:
    """Up to IMAGES images of various classes with their labels, and the labels of some more.

    `batches` gives (images, labels), is such a pair, or a dataset of samples, which are prepared
    as `fit` does and taken in any order. Raises UsageError, and DataError for a dataset.
    """
    images: list[Tensor] = []
    labels: list[Tensor] = []
    for batch in _prepared(batches) if _holds_samples(batches) else _pairs(batches):
        if not isinstance(batch, (tuple, list)) or len(batch) < 2:
            raise UsageError(
                f"a batch is a {type(batch).__name__}, and checks take (images, labels)",
                "give a DataLoader or an iterable of such pairs",
            )
        if sum(map(len, images)) < IMAGES:
            images.append(torch.as_tensor(batch[0]))
        labels.append(torch.as_tensor(batch[1]))
        if not labels[-1].ndim:
            raise UsageError(
                "a batch holds a single label; wanted images [B, C, H, W] and a label for each",
                "give a Dataset of samples, or a DataLoader that makes batches of them",
            )
        if len(labels) >= BATCHES or sum(map(len, labels)) >= LABELS:
            break
    if not images:
        raise UsageError("there is no batch to check with", "give (images, labels)")
    seen = torch.cat(labels)
    most = FEW_IMAGES if images[0][:1].numel() > LARGE else IMAGES
    rows = _various(seen[: sum(map(len, images))], most)
    return Read(torch.cat(images)[rows], seen[rows], labels)


def _holds_samples(batches: Any) -> bool:
    """Whether this is a map-style dataset, or a list, of single images with their labels."""
    if isinstance(batches, Data):
        return True
    if isinstance(batches, DataLoader) or not hasattr(batches, "__getitem__"):
        return False
    try:
        pair = take_pair(batches[0])
    except Exception:  # what batches of the user's own raise is told where they are read
        return False
    return pair is not None and not is_batch(*pair) and np.ndim(class_number(pair[1])) == 0


def _prepared(dataset: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of samples of a dataset, as a run would train on them."""
    data = open_data(dataset)
    contract = choose_contract(data)
    seeded = torch.Generator().manual_seed(0)
    order = torch.randperm(len(data.samples), generator=seeded).tolist()
    for start in range(0, len(order), IMAGES):
        rows = order[start : start + IMAGES]
        images = stack_images(
            [data.reader.read(row) for row in rows], contract, [f"row {row}" for row in rows]
        )
        labels = torch.from_numpy(data.samples.labels[rows])
        yield to_device(images, contract, torch.device("cpu")), labels


def _pairs(batches: Any) -> Iterator[Any]:
    is_pair = isinstance(batches, (tuple, list)) and len(batches) == 2
    if is_pair and isinstance(batches[0], Tensor) and isinstance(batches[1], Tensor):
        return iter([batches])
    return iter(batches)


def _various(labels: Tensor, most: int) -> Tensor:
    """Rows of up to `most` labels, different ones first."""
    if labels.ndim > 1:
        return torch.arange(min(len(labels), most))
    order: list[int] = []
    turns: dict[int, int] = {}
    keyed = []
    for row, label in enumerate(labels.tolist()):
        turns[label] = turns.get(label, 0) + 1
        keyed.append((turns[label], row))
    order = [row for _, row in sorted(keyed)[:most]]
    return torch.tensor(order)


@contextmanager
def generators_kept(batches: Any) -> Iterator[None]:
    """Inside, generators that a DataLoader or its sampler hold may be drawn from."""
    holders = [batches, getattr(batches, "sampler", None), getattr(batches, "dataset", None)]
    found = {
        id(generator): (generator, generator.get_state())
        for holder in holders
        if isinstance(generator := getattr(holder, "generator", None), torch.Generator)
    }
    try:
        yield
    finally:
        for generator, state in found.values():
            generator.set_state(state)
