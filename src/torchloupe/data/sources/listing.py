"""The listing: image files as a walk finds them, with class, part and facts, in compact arrays."""

from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.sources.walk import Facts, as_text
from torchloupe.data.split import TRAIN

_CHUNK = 65_536  # names held as Python strings before they become an array


class Listing:
    """Image names with class, part, size and times, growing in compact chunks."""

    def __init__(self) -> None:
        self.classes: list[str] = []
        self._numbers: dict[str, int] = {}
        self._now = (0, TRAIN)
        self._names: list[str] = []
        self._chunks: list[NDArray[Any]] = []
        self._odd: dict[int, str] = {}
        self._codes = array("i")
        self._parts = array("b")
        self._facts = array("q")
        self._dropped: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return self.count - sum(stop - start for start, stop in self._dropped)

    @property
    def count(self) -> int:
        """How many images were added, those dropped later included."""
        return len(self._codes)

    def start_class(self, name: str, part: int) -> None:
        """The images added from now on are of this class and part."""
        if name not in self._numbers:
            self._numbers[name] = len(self.classes)
            self.classes.append(name)
        self._now = (self._numbers[name], part)

    def add(self, name: str, facts: Facts) -> None:
        """Take in one image, given with its size and its two times of change."""
        self._names.append(name)
        self._codes.append(self._now[0])
        self._parts.append(self._now[1])
        self._facts.extend(facts)
        if len(self._names) == _CHUNK:
            self._flush()

    def drop(self, start: int, stop: int) -> None:
        """Leave out the images that were added from the `start`-th on and before the `stop`-th."""
        self._dropped.append((start, stop))

    def _flush(self) -> None:
        done = self.count - len(self._names)
        try:
            chunk = np.array(self._names, dtype=np.dtypes.StringDType())
        except UnicodeEncodeError:
            texts = [as_text(name) for name in self._names]
            pairs = enumerate(zip(self._names, texts, strict=True))
            self._odd |= {done + k: name for k, (name, text) in pairs if name != text}
            chunk = np.array(texts, dtype=np.dtypes.StringDType())
        self._chunks.append(chunk)
        self._names.clear()

    def table(
        self,
    ) -> tuple[Any, NDArray[np.int32], NDArray[np.int8], NDArray[np.int64], dict[int, str]]:
        """Ids, class codes, parts and facts of the files, sorted by id; odd names by row."""
        self._flush()
        ids = np.concatenate(self._chunks)
        self._chunks.clear()
        order = np.argsort(ids, kind="stable")
        if self._dropped:
            stays = np.ones(len(ids), dtype=np.bool_)
            for start, stop in self._dropped:
                stays[start:stop] = False
            order = order[stays[order]]
        ids = ids[order]
        codes = np.frombuffer(self._codes, dtype=np.intc)[order].astype(np.int32, copy=False)
        parts = np.frombuffer(self._parts, dtype=np.int8)[order]
        facts = np.frombuffer(self._facts, dtype=np.int64).reshape(-1, 3)[order]
        exact: dict[int, str] = {}
        if self._odd:
            rows = {int(index): row for row, index in enumerate(order.tolist())}
            exact = {rows[index]: name for index, name in self._odd.items() if index in rows}
        return ids, codes, parts, facts, exact
