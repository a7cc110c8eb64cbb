"""Predictions for images: decoding by the contract of the run, batches, and the ranking."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from torchloupe.data.contract import Contract
from torchloupe.data.inputs import Named, list_images
from torchloupe.errors import DataError, printable
from torchloupe.evaluation.inference import LARGEST_BATCH, to_probabilities
from torchloupe.system.limits import usable_cores
from torchloupe.units import plural

PREDICT_BATCH = 32  # images that are looked at first
AT_ONCE_VALUES = 2**24  # pixels of the batches after it, about

Row = tuple[NDArray[np.float32], NDArray[np.float32]]  # logits and probabilities of one image


@dataclass(frozen=True)
class Prediction:
    """The classes of one image, or in `error` why it could not be read."""

    path: str
    label: str = ""
    confidence: float = 0.0
    probabilities: Mapping[str, float] | None = None  # by class name, largest first
    labels: tuple[str, ...] = ()  # with several labels an image: all above one half
    error: str = ""
    unsure: bool | None = None  # is the confidence below the threshold? None: there is none


def predict_images(
    source: Any,
    contract: Contract,
    classify: Callable[[NDArray[Any]], NDArray[np.float32]],
    top: int,
    *,
    raw: bool = False,
) -> list[Prediction]:
    """A Prediction for each image that `list_images` finds in `source`.

    `classify` gives logits [B, K] for decoded images [B, H, W, C]; temperature and threshold are
    those of `contract`, or left out if `raw`. Raises DataError for no images at all, and where the
    first image is an array of another kind than the model takes.
    """
    if raw:
        contract = replace(contract, temperature=1.0, threshold=None)
    found: list[Prediction] = []
    images = list_images(source, contract)
    height, width = contract.size
    many = AT_ONCE_VALUES // (height * width * contract.channels)
    many = max(PREDICT_BATCH, min(LARGEST_BATCH, many // PREDICT_BATCH * PREDICT_BATCH))
    with ThreadPoolExecutor(max_workers=max(4, usable_cores())) as pool:

        def begin(count: int) -> tuple[list[Named], list[Future[NDArray[Any] | str]]]:
            chunk = list(islice(images, count))
            return chunk, [pool.submit(decode, named, contract) for named in chunk]

        coming = begin(PREDICT_BATCH)
        while coming[0]:
            chunk, decoded = coming[0], [image.result() for image in coming[1]]
            if not found:
                _refuse_other_kind(chunk[0], decoded[0], contract)
            coming = begin(many)  # they are decoded while the model looks at these
            good = [pixels for pixels in decoded if not isinstance(pixels, str)]
            rows = _pair(classify(np.stack(good)), contract) if good else iter(())
            found += _describe_all([name for name, _ in chunk], decoded, rows, contract, top)
    if not found:
        raise DataError("there are no images to predict", "give image files or a folder of them")
    return found


def decode(named: Named, contract: Contract) -> NDArray[Any] | str:
    """The pixels of one image, or the reason why it can't be read."""
    _, image = named
    try:
        if isinstance(image, DataError):
            raise image
        return contract.decode(image.read_bytes() if isinstance(image, Path) else image)
    except DataError as error:
        return error.message
    except OSError as error:
        return error.strerror or str(error)


def decode_one(named: Named, contract: Contract) -> NDArray[Any]:
    """The pixels of one image; DataError where it can't be read or is of another kind."""
    pixels = decode(named, contract)
    if isinstance(pixels, str):
        _refuse_other_kind(named, pixels, contract)
        raise DataError(f"{printable(named[0])} can't be read: {pixels}", "give another image")
    return pixels


def _refuse_other_kind(named: Named, decoded: NDArray[Any] | str, contract: Contract) -> None:
    """DataError if the first image is of a kind that the model doesn't take, or such an array."""
    name, image = named
    if isinstance(decoded, str) and getattr(image, "dtype", np.uint8) == np.uint8:
        try:
            contract.refuse_levels()
        except DataError as error:
            raise DataError(f"{printable(name)}: {error.message}", error.hint) from None
    if isinstance(decoded, str) and isinstance(image, np.ndarray):
        height, width = contract.size
        channels = plural(contract.channels, "channel")
        values = (
            f"numbers from {contract.value_low:g} to {contract.value_high:g}"
            if contract.is_float
            else "whole numbers from 0 to 255"
        )
        raise DataError(
            f"{printable(name)} can't be used: {decoded}",
            f"the model was trained on {height} x {width} pixels of {channels}, {values}",
        )


def _describe_all(
    names: Sequence[str],
    decoded: Sequence[NDArray[Any] | str],
    rows: Iterator[Row],
    contract: Contract,
    top: int,
) -> Iterator[Prediction]:
    for name, pixels in zip(names, decoded, strict=True):
        if isinstance(pixels, str):
            yield Prediction(name, error=pixels)
        else:
            yield _describe(name, next(rows), contract, top)


def _pair(logits: NDArray[np.float32], contract: Contract) -> Iterator[Row]:
    """Logits [K] and probabilities [K] of each image."""
    p = to_probabilities(torch.from_numpy(logits), contract.multi_label, contract.temperature)
    return zip(logits, p.numpy(), strict=True)


def _describe(name: str, row: Row, contract: Contract, top: int) -> Prediction:
    logits, p = row
    class_names = contract.class_names
    order = np.argsort(-logits, kind="stable")  # probabilities may round two classes to one number
    best = int(order[0])
    several = tuple(class_names[k] for k in order if logits[k] > 0)
    confidence = float(p[best])
    return Prediction(
        path=name,
        label=class_names[best],
        confidence=confidence,
        probabilities={class_names[k]: float(p[k]) for k in order[: max(top, 1)]},
        labels=several if contract.multi_label else (class_names[best],),
        unsure=None if contract.threshold is None else confidence < contract.threshold,
    )
