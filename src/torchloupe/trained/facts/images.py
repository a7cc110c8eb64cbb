"""The images that a page shows: their names, labels, predictions and thumbnails.

An image is a row of the samples table; without one (a stream, data that can't be opened again) a
place in the predictions, and then it has no thumbnail.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.errors import LoupeError, printable
from torchloupe.prepare.run_data import PackedData, RunData
from torchloupe.report.colours import Pixels, to_pixels
from torchloupe.report.sprite import Tiles, shrink, thumbnail_size
from torchloupe.trained.facts.predictions import Predictions

MOST_EVALUATED = 10_000  # images of the evaluated split in a page; more: all wrong, some right ones
READ_SECONDS = 6.0  # for images that are not in a pack: what is not read by then has no thumbnail
_AT_ONCE = 512
_TRAIN, _VAL, _TEST = range(3)


class ImageTable:
    """Images by number, in the order in which they were added."""

    def __init__(self, run_data: RunData | None, found: Predictions | None) -> None:
        self.run_data = run_data if run_data is not None and len(run_data.samples) else None
        self.found = found
        self.keys: list[int] = []  # rows of the samples; places in the predictions without them
        self._number: dict[int, int] = {}
        self.rows_of_places = self._find_rows()  # [N] the row of each prediction, -1 where unknown
        self._place_of_row = {int(row): k for k, row in enumerate(self.rows_of_places) if row >= 0}
        self._part = self._find_parts()
        self._guesses: dict[int, tuple[int, float]] = {}
        self.tiles: Tiles = np.zeros((0, 1, 1, 3), dtype=np.uint8)
        self._tile: dict[int, int] = {}

    def add(self, row: int) -> int:
        """The number of the image at this row of the samples table."""
        if row not in self._number:
            self._number[row] = len(self.keys)
            self.keys.append(row)
        return self._number[row]

    def add_place(self, place: int) -> int:
        """The number of the image at this place in the predictions."""
        return self.add(int(self.rows_of_places[place]) if self.run_data is not None else place)

    def add_evaluated(self) -> None:
        """Add the evaluated images: all, or all that are wrong and an even part of the rest."""
        if self.found is None:
            return
        places = np.arange(len(self.found))
        if len(places) > MOST_EVALUATED:
            wrong = np.flatnonzero(~self.found.right)[: MOST_EVALUATED // 2]
            right = np.flatnonzero(self.found.right)
            some = np.linspace(0, len(right) - 1, MOST_EVALUATED - len(wrong)).round().astype(int)
            places = np.union1d(wrong, right[some])
        for place in places:
            self.add_place(int(place))

    def guess(self, row: int, said: int, confidence: float) -> None:
        """Note what the model says of an image that is not in the predictions."""
        self._guesses[row] = (said, confidence)

    def columns(self) -> dict[str, list[Any]]:
        """What is known of each image, as columns; `tile` is its place among the thumbnails."""
        names = ("id", "label", "prediction", "confidence", "right", "split", "evaluated")
        made: dict[str, list[Any]] = {name: [] for name in names}
        for key in self.keys:
            for name, value in zip(names, self._describe(key), strict=True):
                made[name].append(value)
        return {**made, "tile": [self._tile.get(key) for key in self.keys]}

    def _describe(self, key: int) -> tuple[Any, ...]:
        place = self._place_of_row.get(key, -1) if self.run_data is not None else key
        if place >= 0 and self.found is not None:
            found = self.found
            right, sure = bool(found.right[place]), float(found.confidence[place])
            name = printable(found.ids[place])
            known = (found.label_of(place), found.said_of(place), sure, right)
            return (name, *known, self._part_of(key), True)
        assert self.run_data is not None
        samples = self.run_data.samples
        label: Any = samples.labels[key]
        label = [int(k) for k in np.flatnonzero(label > 0.5)] if np.ndim(label) else int(label)
        said, confidence = self._guesses.get(key, (None, None))
        right = said is None or said == label
        answer = (label, said, confidence, right)
        return (printable(samples.ids[key]), *answer, self._part_of(key), False)

    def _part_of(self, key: int) -> int:
        return int(self._part[key]) if self.run_data is not None else _TEST

    def _find_rows(self) -> NDArray[np.int64]:
        if self.found is None:
            return np.zeros(0, dtype=np.int64)
        if self.run_data is None:
            return np.full(len(self.found), -1, dtype=np.int64)
        wanted = set(self.found.ids)
        known = {
            name: row
            for row, name in enumerate(map(str, self.run_data.samples.ids))
            if name in wanted
        }
        rows = [known.get(name, -1) for name in self.found.ids]
        if -1 in rows:  # the data are not those that were evaluated
            self.run_data = None
            return np.full(len(rows), -1, dtype=np.int64)
        return np.array(rows, dtype=np.int64)

    def _find_parts(self) -> NDArray[np.int8]:
        if self.run_data is None:
            return np.zeros(0, dtype=np.int8)
        parts = np.zeros(len(self.run_data.samples), dtype=np.int8)
        parts[self.run_data.splits.val], parts[self.run_data.splits.test] = _VAL, _TEST
        return parts

    def load(self, first: Sequence[int]) -> None:
        """Read the thumbnails of all images added so far; `first` are numbers to begin with.

        From a pack that is all of them, else as many as READ_SECONDS allow.
        """
        if self.run_data is None:
            return
        size = thumbnail_size(*self.run_data.contract.size, len(self.keys))
        order = list(dict.fromkeys([*first, *range(len(self.keys))]))
        tiles: list[Pixels] = []
        for number, pixels in self._read(order):
            self._tile[self.keys[number]] = len(tiles)
            tiles.append(shrink(pixels, size))
        if tiles:
            self.tiles = np.stack(tiles)

    def thumbnail(self, row: int) -> Pixels | None:
        """The thumbnail of the image at this row; None where it was not read."""
        place = self._tile.get(row)
        return None if place is None else self.tiles[place]

    def _read(self, numbers: Sequence[int]) -> Iterable[tuple[int, Pixels]]:
        """(number, pixels) of the images that can be read in time."""
        data = self.run_data
        assert data is not None
        if data.source.kind == "stream":
            return
        end = time.monotonic() + READ_SECONDS
        is_packed = isinstance(data, PackedData) and data.pixels is not None
        is_quick = is_packed and data.pixels is not None and data.pixels.array is not None
        for start in range(0, len(numbers), _AT_ONCE):
            part = numbers[start : start + _AT_ONCE]
            rows = [self.keys[number] for number in part]
            if is_packed:
                yield from zip(part, _gather(data, rows), strict=False)
            for number, row in () if is_packed else zip(part, rows, strict=True):
                pixels = _read_one(data, row)
                if pixels is not None:
                    yield number, pixels
                if time.monotonic() > end:
                    return
            if time.monotonic() > end and not is_quick:
                return


def _gather(data: RunData, rows: Sequence[int]) -> Iterable[Pixels]:
    """The images at `rows`; none of them where one can't be read any more."""
    assert data.pixels is not None
    try:
        images = data.pixels.gather(np.array(rows, dtype=np.int64)).numpy()
    except (LoupeError, OSError):
        return
    for image in images:
        yield to_pixels(image)


def _read_one(data: RunData, row: int) -> Pixels | None:
    """An image of a Dataset; None where its code fails or it is no image any more."""
    try:
        return to_pixels(data.contract.decode(data.source.reader.read(row)))
    except Exception:  # code of the user's own, which may raise anything
        return None
