"""A survey of some images, to choose the preprocessing of all.

Up to LOOKED_AT images are read, picked by their keys and so spread over all classes; of most only
the header. Arrays have their shape already.
"""

from dataclasses import dataclass, field
from itertools import islice
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.image.decode import decode_image, find_peak, is_grey, read_size
from torchloupe.data.image.modes import choose_white_level
from torchloupe.data.sources.pairs import describe_item, is_batch, take_pair, to_pixels
from torchloupe.data.sources.source import Data
from torchloupe.data.split import TRAIN
from torchloupe.errors import DataError, UsageError, printable
from torchloupe.system.generators import NO_GENERATORS, find_generators
from torchloupe.system.seeding import rng_preserved, seed_all

LOOKED_AT = 200
LOOKED_AT_OF_OWN = 32  # items of a user's Dataset: each may cost a whole transform
PLAIN_LOOKED_AT = 32  # images whose background is measured
PLAIN_LEVELS = 12  # by how much a plain background may differ from its median, of 255
GREY_PIXELS = 200 * 10**6  # decoded at most to find out whether images have colour
CHUNK_VALUES = 2**24
LARGEST_SIDE = 16_384


@dataclass
class Survey:
    """What the images looked at are like."""

    sizes: list[tuple[int, int]] = field(default_factory=list)  # (height, width), upright
    channels: set[int] = field(default_factory=set)
    is_float: bool = False
    low: float = np.inf  # of float pixels
    high: float = -np.inf
    examples: list[NDArray[Any]] = field(default_factory=list)  # arrays among those looked at

    @property
    def is_one_size(self) -> bool:
        """Whether all have the same size."""
        return len(set(self.sizes)) == 1

    @property
    def shorter_side(self) -> int:
        """The median of the shorter sides."""
        return max(1, int(median(min(size) for size in self.sizes)))

    @property
    def long_fraction(self) -> float:
        """The share of images more than twice as long as they are wide, or the reverse."""
        return sum(max(size) > 2 * min(size) for size in self.sizes) / len(self.sizes)

    @property
    def value_range(self) -> tuple[float, float]:
        """The usual range that holds all float pixels, or their own where none does."""
        if self.low >= 0 and self.high <= 1:
            return 0.0, 1.0
        if self.low >= -1 and self.high <= 1:
            return -1.0, 1.0
        if self.low >= 0 and 128 <= self.high <= 255:
            return 0.0, 255.0
        return self.low, self.high if self.high > self.low else self.low + 1.0

    def choose_mode(self) -> str:
        """L or RGB for 1 or 3 channels, and for uint8 images of which only some have them."""
        if len(self.channels) == 1:
            return {1: "L", 3: "RGB"}.get(max(self.channels), "array")
        if self.channels <= {1, 3, 4} and not self.is_float:
            return "RGB"
        listed = ", ".join(map(str, sorted(self.channels)))
        raise DataError(
            f"images have different numbers of channels: {listed}", "give all of them the same"
        )

    def choose_size(self, largest: int, is_own: bool) -> tuple[int, int]:
        """The common size up to `largest` (a user's own Dataset: any), else a square."""
        if self.is_one_size and (is_own or max(self.sizes[0]) <= largest):
            return self.sizes[0]
        return (min(self.shorter_side, largest),) * 2


def parse_size(size: str | tuple[int, int]) -> tuple[int, int]:
    """(height, width) from `"64"`, `"48x64"` or a pair; UsageError for anything else."""
    sides = [part.strip() for part in size.lower().split("x")] if isinstance(size, str) else size
    try:
        height, width = (int(side) for side in (sides if len(sides) == 2 else [*sides] * 2))
    except ValueError:
        height = width = 0
    if not (1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE):
        raise UsageError(
            f"data.size is {printable(size)!r}; wanted a side, or height x width, of 1 to "
            f"{LARGEST_SIDE} pixels",
            "for example --set data.size=64 or --set data.size=48x64",
        )
    return height, width


def look_at(data: Data) -> Survey:
    """What the images of `data` are like; DataError if none of those looked at can be read."""
    array = getattr(data.reader, "array", None)
    survey = Survey()
    if array is not None:
        _, height, width, channels = array.shape
        survey.sizes, survey.channels = [(height, width)], {channels}
        survey.is_float = array.dtype != np.uint8
        if survey.is_float:
            rows = max(1, CHUNK_VALUES // max(1, array[0].size))
            for start in range(0, len(array), rows):
                _widen(survey, array[start : start + rows])
            some = np.linspace(0, len(array) - 1, min(len(array), rows, LOOKED_AT)).astype(int)
            survey.examples = [array[row] for row in some]
    else:
        own = find_generators(data.reader) if data.kind in ("dataset", "stream") else NO_GENERATORS
        with rng_preserved(own):  # a user's transforms may draw: the same every time, and unnoticed
            seed_all(0, own)
            (_look_at_stream if data.kind == "stream" else _look_at_rows)(data, survey)
    if survey.is_float and not np.isfinite([survey.low, survey.high]).all():
        raise DataError("no image holds a finite number", "check how the arrays were made")
    return survey


def measure_plain_fraction(data: Data) -> float:
    """The fraction of images on a plain background, such as drawings, cut-outs and scans.

    Measured at the border of a few images; 0 if none of them can be read.
    """
    plain = []
    for row in _pick(data, PLAIN_LOOKED_AT):
        try:
            image = data.reader.read(row)
            if isinstance(image, bytes):
                white_level = choose_white_level(find_peak(image))
                image = decode_image(image, 3, (64, 64), fit="stretch", white_level=white_level)
        except DataError:
            continue
        border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]).astype(np.int64)
        distance = np.abs(border - np.median(border, axis=0)).max(axis=1)
        plain.append(bool((distance <= PLAIN_LEVELS).mean() > 0.75))
    return sum(plain) / len(plain) if plain else 0.0


def fetch_ahead(data: Data, rows: NDArray[np.int64]) -> None:
    """Fetch these images at once, if they are far away and would be waited for one by one."""
    warm = getattr(data.reader, "warm", None)
    if warm is not None:
        warm(rows)


def _look_at_rows(data: Data, survey: Survey) -> None:
    looked_at = LOOKED_AT_OF_OWN if data.kind == "dataset" else LOOKED_AT
    is_all_grey, pixels, failures, hints = True, 0, [], []
    picked = _pick(data, looked_at)
    fetch_ahead(data, np.array(picked, dtype=np.int64))
    for row in picked:
        try:
            image = data.reader.read(row)
            if not isinstance(image, bytes):
                _add_array(survey, image)
                continue
            height, width = read_size(image)
            if is_all_grey and pixels < GREY_PIXELS:
                is_all_grey = is_grey(image)
                pixels += height * width
        except DataError as error:
            failures.append(f"{printable(data.samples.ids[row])}: {error.message}")
            hints.append(error.hint)
            continue
        survey.sizes.append((height, width))
    if not survey.sizes:
        raise DataError(
            f"none of {len(failures)} images checked can be read; {failures[0]}",
            hints[0] or "check that these are sound image files",
        )
    if not survey.channels:
        survey.channels = {1 if is_all_grey else 3}


def _pick(data: Data, count: int) -> list[int]:
    """Up to `count` rows, of the training part where the source names one."""
    rows = np.arange(len(data.samples))
    if data.given is not None and (data.given == TRAIN).any():
        rows = rows[data.given == TRAIN]
    order = np.argsort(data.samples.keys[rows], kind="stable")
    return [int(row) for row in rows[order[:count]]]


def _look_at_stream(data: Data, survey: Survey) -> None:
    loaders = data.reader.loaders  # type: ignore[attr-defined]
    loader = loaders["train"] if "train" in loaders else next(iter(loaders.values()))
    for item in islice(iter(loader), LOOKED_AT_OF_OWN):
        pair = take_pair(item)
        if pair is None:
            raise DataError(
                f"the stream gives {describe_item(item)}; wanted (image, label)",
                "let it give pairs of image and label",
            )
        images = pair[0] if is_batch(*pair) else [pair[0]]
        for image in images:
            _add_array(survey, to_pixels(image))
        if len(survey.sizes) >= LOOKED_AT_OF_OWN:
            break
    if not survey.sizes:
        raise DataError("the stream gives no samples", "give one that can be read again and again")


def _add_array(survey: Survey, pixels: NDArray[Any]) -> None:
    height, width, channels = pixels.shape
    survey.examples.append(pixels)
    survey.sizes.append((height, width))
    survey.channels.add(channels)
    if pixels.dtype != np.uint8:
        survey.is_float = True
        _widen(survey, pixels)


def _widen(survey: Survey, values: NDArray[Any]) -> None:
    finite = values[np.isfinite(values)]
    if finite.size:
        survey.low = min(survey.low, float(finite.min()))
        survey.high = max(survey.high, float(finite.max()))
