"""Choosing a contract: mode, size, fit and the range of values, from a look at the images."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import PIL
import simplejpeg
from numpy.typing import NDArray

from torchloupe.data.contract import EXACT, FITS, MODES, Contract
from torchloupe.data.image.decode import FULL_WHITE, find_peak
from torchloupe.data.image.modes import choose_white_level
from torchloupe.data.image.resize import KERNELS
from torchloupe.data.levels import BYTE, UNIT, Levels, find_levels
from torchloupe.data.sources.source import Data
from torchloupe.data.sources.transforms import is_stock, read_chains
from torchloupe.data.survey import Survey, fetch_ahead, look_at, parse_size
from torchloupe.errors import DataError, UsageError, did_you_mean, printable
from torchloupe.system.heap import keep_freed_blocks
from torchloupe.system.limits import usable_cores

RANGE_LOOKED_AT = 200  # images checked for 16 bits
RANGE_SEARCHED = 20_000  # if any has 16 bits: images searched for the largest value


def decoder_versions() -> str:
    """The libraries that decode, with their versions: pixels may differ between them."""
    return f"simplejpeg {simplejpeg.__version__}, pillow {PIL.__version__}"


def choose_contract(
    data: Data,
    *,
    mode: str = "auto",
    size: str | tuple[int, int] = "auto",
    fit: str = "auto",
    kernel: str = "bilinear",
    largest: int = 64,
) -> Contract:
    """The contract for `data`: each argument as given, or chosen from some of the images.

    Images of one size up to `largest` keep it; others become squares with the median shorter
    side, `largest` at most. Grey files are read as L. A user's own Dataset keeps what it gives;
    its float tensors are taken as they are, at their size, unless `fit` says how others are
    resized, and for uint8 `mean` and `std` are estimated from the images looked at. For
    everything else they are measured later, by `statistics`.
    """
    keep_freed_blocks()  # before there are threads
    survey = look_at(data)
    is_own = data.kind in ("dataset", "stream")
    if mode == "auto":
        mode = survey.choose_mode()
    channels = MODES.get(mode) or max(survey.channels)
    chosen = survey.choose_size(largest, is_own) if size == "auto" else parse_size(size)
    if fit == "auto" and is_own and survey.is_float:
        fit = EXACT
    elif fit == "auto":
        fit = "stretch" if survey.is_one_size else "pad" if survey.long_fraction > 0.25 else "crop"
    _check_choice(mode, fit, kernel, survey)
    low, high = survey.value_range if survey.is_float else (0.0, 255.0)
    contract = Contract(
        mode=mode,
        channels=channels,
        size=chosen,
        fit=fit,
        kernel=kernel,
        dtype="float32" if survey.is_float else "uint8",
        value_low=low,
        value_high=high,
        class_names=data.samples.class_names,
        multi_label=data.samples.is_multi_label,
        decoder=decoder_versions(),
        white_level=find_white_level(data),
        levels=choose_levels(data, survey),
    )
    if not is_own:
        return contract
    if not survey.is_float:
        seen = np.stack([contract.decode(image) for image in survey.examples]) / 255
        mean, std = seen.mean((0, 1, 2)), seen.std((0, 1, 2))
        return contract.with_statistics(tuple(mean), tuple(np.where(std < 1e-6, 1, std)))
    if survey.sizes[0] != chosen or survey.channels != {channels}:
        found = " or ".join(f"{h}x{w}" for h, w in sorted(set(survey.sizes))[:3])
        raise UsageError(
            f"the dataset gives float tensors of {found} pixels and "
            f"{' or '.join(map(str, sorted(survey.channels)))} channels, which are taken as they "
            f"are; size {chosen[0]}x{chosen[1]} with {channels} is something else",
            "resize in the dataset's own transform, or let it give PIL or uint8 images",
        )
    return contract.as_given()


def _check_choice(mode: str, fit: str, kernel: str, survey: Survey) -> None:
    """UsageError for an unknown mode, fit or kernel, or a mode that these images don't have."""
    for name, value, known in (
        ("mode", mode, (*MODES, "array")),
        ("fit", fit, (*FITS, EXACT)),
        ("kernel", kernel, tuple(KERNELS)),
    ):
        if value not in known:
            raise UsageError(f"data.{name} is {printable(value)!r}", did_you_mean(value, known))
    if mode in MODES and not survey.channels <= {1, 3, 4}:
        listed = ", ".join(map(str, sorted(survey.channels)))
        raise UsageError(
            f"data.mode is {mode}, and the images have {listed} channels",
            "leave data.mode at auto: they are taken with all their channels",
        )
    if mode in MODES and survey.is_float and survey.channels != {MODES[mode]}:
        raise UsageError(
            f"data.mode is {mode}, and the images are float arrays of "
            f"{' or '.join(map(str, sorted(survey.channels)))} channels",
            "leave data.mode at auto, or give uint8 images",
        )


def refuse_images(data: Data, contract: Contract) -> None:
    """DataError for 8-bit images where they can't become the floats that a model takes.

    A Dataset says what it gives only when it is read.
    """
    if not contract.is_float or data.kind in ("dataset", "stream") or not len(data.samples):
        return
    try:
        image = data.reader.read(0)
    except DataError:  # it is named with its reason when all are decoded
        return
    if isinstance(image, bytes) or image.dtype == np.uint8:
        contract.refuse_levels()


def choose_levels(data: Data, survey: Survey) -> Levels | None:
    """What levels 0..255 are as the floats of `data`, where these and its transforms prove it."""
    if not survey.is_float or not survey.examples:
        return None
    chains = read_chains(getattr(data.reader, "dataset", None), survey.sizes[0])
    if not chains:
        return find_levels(survey.examples)
    chain = chains[0]
    if len(chains) > 1 or not chain.is_known:
        return None
    made = [Levels(plain.scale, chain.mean, chain.std) for plain in (UNIT, BYTE)]
    return find_levels(survey.examples, made)


def find_white_level(data: Data) -> int:
    """The value of 16-bit image files that is white: 2**bits - 1 for the bits that they use.

    Cameras and scanners store 10, 12 or 14 bits in files of 16. FULL_WHITE for images that use
    all 16, and for those of 8 bits.
    """
    if data.kind in ("dataset", "stream") or getattr(data.reader, "array", None) is not None:
        return FULL_WHITE
    order = np.argsort(data.samples.keys, kind="stable")
    top = _find_top(data, order[:RANGE_LOOKED_AT])
    if 0 < top <= FULL_WHITE // 2:
        top = max(top, _find_top(data, order[RANGE_LOOKED_AT:RANGE_SEARCHED]))
    return choose_white_level(top)


def describe_range(contract: Contract, data: Data | None = None) -> list[str]:
    """A note if 16-bit images use only a part of their range, or on how floats were made."""
    if contract.white_level == FULL_WHITE:
        return [] if data is None else _note_levels(data, contract)
    return [
        f"16-bit images use values up to {contract.white_level:,} of {FULL_WHITE:,}: "
        f"{contract.white_level:,} is taken for white"
    ]


def _note_levels(data: Data, contract: Contract) -> list[str]:
    """A note where code of the user's own made floats of which the values show the scale alone."""
    is_own = data.kind in ("dataset", "stream")
    if contract.levels is None or not is_own or is_stock(getattr(data.reader, "dataset", None)):
        return []
    return [
        "image files will be predicted by this run as well: the values of the dataset show how "
        "they are scaled, but not whether its code also swaps colours, inverts or turns images"
    ]


def _find_top(data: Data, rows: NDArray[np.int64]) -> int:
    """The largest 16-bit value of the images at `rows`; 0 if none has 16 bits.

    The search ends with the first value that needs all 16 bits.
    """
    top = 0
    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="range") as pool:
        for part in _pieces(rows):
            fetch_ahead(data, np.array(part, dtype=np.int64))
            top = max(top, *pool.map(lambda row: _peak_of(data, row), part))
            if top > FULL_WHITE // 2:
                break
    return top


def _pieces(rows: NDArray[np.int64]) -> Iterator[list[int]]:
    for start in range(0, len(rows), 256):
        yield rows[start : start + 256].tolist()


def _peak_of(data: Data, row: int) -> int:
    try:
        image = data.reader.read(row)
        return find_peak(image) if isinstance(image, bytes) else 0
    except DataError:  # it is named with its reason when all are decoded
        return 0
