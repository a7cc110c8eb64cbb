"""What a run remembers of its data (ids, labels, content hashes), and what changed since."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.samples import Samples
from torchloupe.errors import CheckpointError, printable
from torchloupe.system import files
from torchloupe.system.counter_rng import Keys, make_key
from torchloupe.units import plural


@dataclass(frozen=True)
class DataChange:
    """How the images of a run differ from those it was started with."""

    added: int
    removed: int
    edited: int  # the same name, another content
    relabelled: int
    renamed: tuple[tuple[str, str], ...]  # classes that only have a new name
    new_classes: tuple[str, ...]
    lost_classes: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(
            self.added
            or self.removed
            or self.edited
            or self.relabelled
            or self.renamed
            or self.new_classes
            or self.lost_classes
        )

    def __str__(self) -> str:
        parts = [
            f"{plural(count, 'image')} {what}"
            for what, count in (
                ("added", self.added),
                ("removed", self.removed),
                ("edited", self.edited),
                ("with another label", self.relabelled),
            )
            if count
        ]
        if self.renamed:
            pairs = ", ".join(f"{printable(a, 60)} to {printable(b, 60)}" for a, b in self.renamed)
            parts.append(f"{plural(len(self.renamed), 'class', 'classes')} renamed ({pairs})")
        for what, names in (("new", self.new_classes), ("missing", self.lost_classes)):
            if names:
                shown = ", ".join(printable(name, 60) for name in names[:5])
                parts.append(f"{plural(len(names), 'class', 'classes')} {what} ({shown})")
        return ", ".join(parts)


@dataclass(frozen=True, eq=False)
class DataRecord:
    """The images of a run as keys, sorted by `ids`; all arrays are [N]."""

    class_names: tuple[str, ...]
    ids: Keys
    labels: NDArray[np.int64]  # class numbers, or a key of the row if there are several labels
    content: Keys  # zeros if pixels are not read ahead (a Dataset of the user's)

    @staticmethod
    def of(samples: Samples, content: Keys | None = None) -> "DataRecord":
        """The record of these samples and their content."""
        labels = samples.labels
        if samples.is_multi_label:
            rows = np.ascontiguousarray(labels > 0.5)
            labels = np.array([make_key(row.tobytes()) for row in rows], dtype=np.uint64)
            labels = labels.view(np.int64)
        found = np.zeros(len(samples), dtype=np.uint64) if content is None else content
        order = np.argsort(samples.keys, kind="stable")
        return DataRecord(
            samples.class_names,
            samples.keys[order],
            labels[order].astype(np.int64),
            np.asarray(found)[order],
        )

    @staticmethod
    def read(path: Path) -> "DataRecord":
        """The record in a data.npz; CheckpointError if it is missing or damaged."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                names = json.loads(arrays["class_names"].tobytes())
                ids, labels, content = arrays["ids"], arrays["labels"], arrays["content"]
            _require_same_length(ids, labels, content)
            class_names = tuple(map(str, names))
        except Exception as error:  # over damaged files numpy raises nearly every type there is
            raise CheckpointError(
                f"{printable(path)} can't be read ({printable(error)})",
                "copy the run folder again, or say --accept-new-data to go on without it",
            ) from None
        return DataRecord(class_names, ids, labels, content)

    def write(self, path: Path) -> None:
        """Write the record to `path`, whole or not at all."""
        names = np.frombuffer(json.dumps(self.class_names).encode(), dtype=np.uint8)
        file = io.BytesIO()
        np.savez(file, class_names=names, ids=self.ids, labels=self.labels, content=self.content)
        files.replace_file(path, file.getvalue())

    def compare(self, now: "DataRecord") -> DataChange:
        """What is different in `now`. Content is compared only if both have one."""
        renamed = self._renamed_classes(now)
        names = dict(renamed)
        own_labels = np.array([names.get(name, name) for name in self.class_names], dtype=object)
        new_labels = np.array(now.class_names, dtype=object)
        shared, own, new = np.intersect1d(self.ids, now.ids, return_indices=True)
        if self._has_names() and now._has_names():
            relabelled = own_labels[self.labels[own]] != new_labels[now.labels[new]]
        else:
            relabelled = self.labels[own] != now.labels[new]
        has_content = bool(self.content.any() and now.content.any())
        edited = has_content & (self.content[own] != now.content[new])
        moved = sum(self._count(old) for old, _ in renamed if self._is_gone(old, shared))
        return DataChange(
            added=len(now.ids) - len(shared) - moved,
            removed=len(self.ids) - len(shared) - moved,
            edited=int(edited.sum()),
            relabelled=int(relabelled.sum()),
            renamed=renamed,
            new_classes=_without(now.class_names, (*self.class_names, *(b for _, b in renamed))),
            lost_classes=_without(self.class_names, (*now.class_names, *(a for a, _ in renamed))),
        )

    def _has_names(self) -> bool:
        """Whether labels are class numbers, not keys of several labels."""
        return not len(self.labels) or int(self.labels.max()) < len(self.class_names)

    def _count(self, name: str) -> int:
        return int((self.labels == self.class_names.index(name)).sum())

    def _is_gone(self, name: str, shared: Keys) -> bool:
        """Whether the ids of the class changed with its name, as those of a folder do."""
        ids = self.ids[self.labels == self.class_names.index(name)]
        return not np.isin(ids, shared).any()

    def _renamed_classes(self, now: "DataRecord") -> tuple[tuple[str, str], ...]:
        """Classes of which only the name changed: (was, is)."""
        own = self._images_of(_without(self.class_names, now.class_names))
        new = now._images_of(_without(now.class_names, self.class_names))
        found = []
        for name, images in own.items():
            match = next((other for other, those in new.items() if those == images), None)
            if match is not None and images:
                found.append((name, match))
                del new[match]
        return tuple(found)

    def _images_of(self, names: tuple[str, ...]) -> dict[str, bytes]:
        """The sorted content of each class."""
        if not self._has_names() or not self.content.any():
            return {}
        return {
            name: np.sort(self.content[self.labels == self.class_names.index(name)]).tobytes()
            for name in names
        }


def _require_same_length(ids: Keys, labels: NDArray[Any], content: Keys) -> None:
    kinds = [array.dtype.kind for array in (ids, labels, content)]
    if kinds != ["u", "i", "u"] or not ids.ndim == labels.ndim == content.ndim == 1:
        raise ValueError("its arrays have other types")
    if not len(ids) == len(labels) == len(content):
        raise ValueError("its arrays differ in length")


def _without(names: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    known = set(others)
    return tuple(name for name in names if name not in known)
