"""The index of a large folder: what was found in it, kept so that it need not be listed again.

It is used only if every folder is unchanged and holds the same names: no file was added, removed
or renamed. The size and times of a file are checked when its pixels are first used, and those of
some others with each batch, so that all are checked within the first epoch: no changed file is
trained on, and a million files don't delay the first batch.
"""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.samples import Samples
from torchloupe.data.sources.source import Data, FileReader, short_name
from torchloupe.data.sources.walk import Walk, file_facts, folder_facts
from torchloupe.errors import DataError, ResourceError, printable
from torchloupe.system import cache
from torchloupe.system.cache import Kept, find_cache, read_kept, write_kept

FORMAT = 4  # raised when the same folder would give other samples
SETTLED_NS = 2 * 10**9  # a file changed this recently may change again unnoticed
_AT_ONCE = 1000  # files that are looked at when the index is opened
_PIECE_BYTES = 2**20  # of names that are Python strings at a time


class Index:
    """The stored index of one folder, and whether it is still valid."""

    def __init__(self, path: Path, class_names: Sequence[str]) -> None:
        """`class_names` are the setting data.class_names, which numbers the labels."""
        self._path = path
        self._began_ns = time.time_ns()
        folder = find_cache()
        text = json.dumps([FORMAT, os.path.abspath(path), list(class_names)])  # noqa: PTH100
        key = hashlib.sha256(text.encode("ascii")).hexdigest()[:40]
        self._file = folder / "packs" / f"{key}.index" if folder else None

    def read(self) -> Data | None:
        """What was found in the folder, if another walk would find the same."""
        if self._file is None or not self._file.exists():
            return None
        kept = read_kept(self._file)
        if kept is None or not self._is_unchanged(kept):
            return None
        facts, arrays = kept.facts, kept.arrays
        ids = _split_names(arrays["ids"], len(arrays["labels"]))
        exact = {int(row): name for row, name in facts["exact"]}
        root = os.path.join(self._path, facts["below"])  # noqa: PTH118
        reader = IndexedReader(root, ids, exact, arrays["files"], self._file)
        if len(reader.find_changed(np.linspace(0, len(ids) - 1, _AT_ONCE).astype(np.int64))):
            return None
        with suppress(OSError):  # of a cache that can be read only
            self._file.touch()  # tells when it was last used
        labels = arrays["labels"].astype(np.int64)
        return Data(
            name=short_name(self._path.resolve().name),
            kind="folder",
            samples=Samples(ids, labels, tuple(facts["classes"]), known_keys=arrays["keys"]),
            given=arrays.get("given"),
            reader=reader,
            ignored=facts["ignored"],
            notes=tuple(facts["notes"]),
            stamp=facts["stamp"],
        )

    def keep(
        self,
        data: Data,
        files: NDArray[np.int64],
        exact: dict[int, str],
        walk: Walk,
        below: str = "",
    ) -> None:
        """Keep what a walk through a large folder found; `files` [N, 3] are the files' facts.

        `below` is the folder in it that ids are relative to. Nothing is kept where something
        may have changed while it was listed, or may change without a trace.
        """
        if self._file is None or len(data.samples) < cache.LARGE or walk.has_loose_links:
            return
        folders = np.array(list(walk.folders.values()), dtype=np.int64)
        fresh, now = self._began_ns - SETTLED_NS, time.time_ns() + SETTLED_NS
        times = files[:, 1:]  # one in the future was given to the file, not taken from a clock
        if (folders[:, 2:4] > fresh).any() or ((times > fresh) & (times < now)).any():
            return
        arrays: dict[str, NDArray[Any]] = {
            "ids": _join_names(data.samples.ids),
            "keys": data.samples.keys,
            "labels": data.samples.labels.astype(np.int32),
            "files": files,
            "folders": folders,
        }
        if data.given is not None:
            arrays["given"] = data.given
        facts = {
            "name": data.name,
            "below": below,
            "folders": list(walk.folders),
            "classes": data.samples.class_names,
            "exact": list(exact.items()),
            "ignored": dict(data.ignored),
            "notes": data.notes,
            "stamp": data.stamp,
        }
        with suppress(OSError, ResourceError):  # the disk is full: it is listed again
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_kept(self._file, Kept(facts, arrays))

    def _is_unchanged(self, kept: Kept) -> bool:
        """Whether every folder that was read is as it was."""
        try:
            now = [folder_facts(os.path.join(self._path, name)) for name in kept.facts["folders"]]  # noqa: PTH118
        except OSError:
            return False
        return np.array_equal(np.array(now, dtype=np.int64), kept.arrays["folders"])


class IndexedReader(FileReader):
    """Files known from an index: each is looked at again before pixels made of it are used."""

    def __init__(
        self,
        root: str,
        names: NDArray[Any],
        exact: dict[int, str],
        facts: NDArray[np.int64],
        index: Path,
    ) -> None:
        """`facts` [N, 3] are sizes and times when the files were listed; `index` says where."""
        super().__init__(root, names, exact)
        self._facts = facts
        self._index = index
        self._is_known = np.zeros(len(names), dtype=np.bool_)
        self._next = 0  # all before are known

    def require_unchanged(self, rows: NDArray[np.int64] | None = None) -> None:
        """DataError if a file of `rows` (or any) was changed; then the folder is listed again.

        As many other files are checked each time, so that a change in a file that is used last,
        such as a test image, is found early.
        """
        count = len(self._is_known)
        if self._next >= count:
            return
        end = count if rows is None else min(count, self._next + len(rows))
        wanted = np.arange(self._next, end)
        if rows is not None:
            wanted = np.concatenate([rows, wanted])
        wanted = wanted[~self._is_known[wanted]]
        changed = self.find_changed(wanted)
        if len(changed):
            with suppress(OSError):  # of a cache that can't be written
                self._index.unlink()
            raise DataError(
                f"{printable(self.path(int(changed[0])))} was changed since the folder was listed",
                "run the command again: the folder is then listed again",
            )
        self._is_known[wanted] = True
        self._next = end

    def find_changed(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of `rows` whose file has another size or other times than listed."""
        now = [file_facts(self.path(row)) for row in rows.tolist()]
        facts = np.array(now, dtype=np.int64).reshape(-1, 3)
        differs: NDArray[np.bool_] = (facts != self._facts[rows]).any(axis=1)
        return rows[differs]


def _join_names(names: NDArray[Any]) -> NDArray[np.uint8]:
    """Names as UTF-8, each with a zero byte after it."""
    blob = b"".join(
        "\0".join([*names[start : start + 65_536], ""]).encode()
        for start in range(0, len(names), 65_536)
    )
    return np.frombuffer(blob, dtype=np.uint8)


def _split_names(blob: NDArray[np.uint8], count: int) -> NDArray[Any]:
    """The names that `_join_names` joined."""
    names = np.empty(count, dtype=np.dtypes.StringDType())
    ends = np.flatnonzero(blob == 0) + 1
    done, start = 0, 0
    while done < count:
        after = max(done + 1, int(np.searchsorted(ends, start + _PIECE_BYTES)))
        stop = int(ends[after - 1])
        names[done:after] = blob[start : stop - 1].tobytes().decode().split("\0")
        done, start = after, stop
    return names
