"""Items of a user's own Dataset as batches of arrays, with their random numbers seeded.

Before each item torch, numpy, random and the generators that its transforms keep are seeded by
(seed, epoch, sample), so that any number of workers and a resumed run give the same batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from torchloupe.data.contract import Contract
from torchloupe.data.feeds.epochs import parts_with, tell_epoch
from torchloupe.data.feeds.heartbeats import Heartbeats
from torchloupe.data.image.formats import ImageError
from torchloupe.data.sources.dataset_labels import class_number, has_no_randomness
from torchloupe.data.sources.pairs import read_item, to_pixels
from torchloupe.errors import DataError, LoupeError, printable
from torchloupe.system.counter_rng import Keys, hash_parts
from torchloupe.system.generators import NO_GENERATORS, find_generators
from torchloupe.system.seeding import rng_preserved, seed_all
from torchloupe.system.user_code import Carried

Ask = tuple[int, NDArray[np.int64]]  # epoch, rows


@dataclass(frozen=True, eq=False)
class Items:
    """What a dataset gave for some rows: images [B, H, W, C] uint8 or [B, C, H, W] float32."""

    rows: NDArray[np.int64]
    epoch: int
    images: NDArray[Any]
    labels: tuple[Any, ...]


@dataclass(frozen=True)
class Refusal:
    """Why a batch could not be made; an exception would lose its text between processes."""

    message: str
    hint: str


class ItemReader(Dataset[Items | Refusal]):
    """Reads whole batches: asked for (epoch, rows), it gives their Items."""

    def __init__(self, dataset: Any, contract: Contract, keys: Keys, seed: int) -> None:
        self.dataset = dataset
        self.contract = contract
        self.keys = keys
        self.seed = seed
        self.is_plain = has_no_randomness(dataset)
        self.heartbeats: Heartbeats | None = None
        self._own = NO_GENERATORS if self.is_plain else find_generators(dataset)
        self._told: dict[str, Any] = {"epoch": None, "parts": None}

    def tell_epochs(self, rows: NDArray[np.int64]) -> None:
        """Tell the dataset, or its parts that hold `rows`, each epoch that is asked for."""
        self._told = {"epoch": -1, "parts": parts_with(self.dataset, rows)}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "dataset": Carried(self.dataset), "_own": NO_GENERATORS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, dataset=state["dataset"].value)
        self._own = NO_GENERATORS if self.is_plain else find_generators(self.dataset)

    def __getitem__(self, ask: Ask) -> Items | Refusal:
        epoch, rows = ask
        try:
            self._tell(epoch)
            if self.is_plain:
                pairs = [self._read(int(row)) for row in rows]
            else:
                pairs = self._read_seeded(epoch, rows)
            names = [f"row {row}" for row in rows]
            images = stack_images([image for image, _ in pairs], self.contract, names)
        except LoupeError as error:
            return Refusal(error.message, error.hint)
        if self.heartbeats is not None:
            self.heartbeats.rests()
        return Items(rows, epoch, images, tuple(plain_label(label) for _, label in pairs))

    def _read_seeded(self, epoch: int, rows: NDArray[np.int64]) -> list[tuple[Any, Any]]:
        seeds = hash_parts(self.seed, 0x17E35, epoch, self.keys[rows])
        pairs = []
        with rng_preserved(self._own):
            for row, seed in zip(rows, seeds, strict=True):
                seed_all(int(seed), self._own)
                pairs.append(self._read(int(row)))
        return pairs

    def _tell(self, epoch: int) -> None:
        if self._told["epoch"] in (None, epoch):
            return
        self._told["epoch"], parts = epoch, self._told["parts"]
        whole = self.dataset
        for each in [whole] if parts is None else [whole.datasets[part] for part in parts]:
            tell_epoch(each, epoch)

    def _read(self, row: int) -> tuple[Any, Any]:
        if self.heartbeats is not None:
            self.heartbeats.reads(row)
        return read_item(self.dataset, row)


def stack_images(images: Sequence[Any], contract: Contract, names: Sequence[str]) -> NDArray[Any]:
    """uint8 [B, H, W, C] fitted by the contract, or float32 [B, C, H, W] exactly as given.

    `names` say in an error which image it is about.
    """
    found = []
    for image, name in zip(images, names, strict=True):
        try:
            found.append(_see(_values_of(image, contract), contract))
        except DataError as error:
            raise DataError(
                f"{name}: {error.message}",
                error.hint or "let every item be an image of one kind, as the first ones are",
            ) from None
    return np.ascontiguousarray(np.stack(found))


def _values_of(image: Any, contract: Contract) -> NDArray[Any]:
    """The pixels of an item; whole numbers of 16 bits stay values among floats, dark or not."""
    pixels, kind = to_pixels(image), str(getattr(image, "dtype", ""))
    is_wide = "int" in kind and not kind.endswith("int8")
    return pixels.astype(np.float32) if contract.is_float and is_wide else pixels


def _see(pixels: NDArray[Any], contract: Contract) -> NDArray[Any]:
    """One image for a stack; a float one must have the size that the model was made for."""
    if not contract.is_float:
        return contract.decode(pixels)
    shape = (*contract.size, contract.channels)
    if pixels.dtype == np.float32 and pixels.shape != shape:
        raise ImageError(f"an image of {_describe(pixels.shape)}; wanted {_describe(shape)}")
    return (pixels if pixels.dtype == np.float32 else contract.decode(pixels)).transpose(2, 0, 1)


def to_device(images: NDArray[Any], contract: Contract, device: torch.device) -> Tensor:
    """Stacked images as the model takes them, [B, C, H, W] float32 on `device`.

    Floats of a dataset that a run was trained on reach the model unchanged; those of another one
    are normalised for a model that was trained on float arrays.
    """
    tensor = torch.from_numpy(images)
    if device.type == "cuda":
        tensor = tensor.pin_memory().to(device, non_blocking=True)
    else:
        tensor = tensor.to(device)
    if not contract.is_float:
        return contract.normalise(tensor)
    is_as_given = contract == contract.as_given()
    return tensor if is_as_given else contract.normalise(tensor.permute(0, 2, 3, 1))


def plain_label(label: Any) -> Any:
    """A label as a number or an array: no tensor, whose memory would be shared by processes."""
    if hasattr(label, "detach"):
        label = label.detach().cpu().numpy()
    return label.item() if getattr(label, "ndim", 1) == 0 else label


class LabelCheck:
    """Finds labels that changed since the dataset was opened.

    A run follows the table of samples, whose classes may be numbered in another way than the
    dataset's, but one for one: the same number must always mean the same class.
    """

    def __init__(self, labels: NDArray[Any]) -> None:
        self._labels = labels
        self._class_of: dict[int, tuple[int, int]] = {}  # of a label, and the row it is known of
        self._number_of: dict[int, tuple[int, int]] = {}  # the label of a class, and that row

    def check(self, items: Items) -> None:
        """DataError naming two rows, one of which has another label than when it was opened."""
        if self._labels.ndim != 1:
            return
        for row, label in zip(items.rows.tolist(), items.labels, strict=True):
            known, number = int(self._labels[row]), class_number(label)
            if not isinstance(number, (int, float)) or int(number) != number:
                raise DataError(
                    f"row {row} has label {printable(number, 40)}, and class {known} when the "
                    "dataset was opened",
                    "a row must keep its label: let the dataset give the same one every time",
                )
            self._compare(row, int(number), known)

    def _compare(self, row: int, number: int, known: int) -> None:
        """Refuse a label that an earlier row gave another class, or a class another label."""
        its_class, like = self._class_of.setdefault(number, (known, row))
        its_number, of_class = self._number_of.setdefault(known, (number, row))
        seen = ""
        if its_class != known:
            seen = (
                f"rows {like} and {row} have label {number}, and had the classes {its_class} and "
                f"{known} when the dataset was opened"
            )
        elif its_number != number:
            seen = (
                f"row {of_class} has label {its_number} and row {row} label {number}, and both had "
                f"class {known} when the dataset was opened"
            )
        if seen:
            raise DataError(
                f"labels differ from those that the dataset told: {seen}",
                "a row must keep its label, as `targets` tells it: where a bad row gives another "
                "row's item, leave such rows out instead: Subset(dataset, sound_rows)",
            )


def _describe(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}x{shape[1]} pixels with {shape[2]} channel{'s' * (shape[2] != 1)}"
