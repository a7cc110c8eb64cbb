"""The members of a tar shard put together as samples: NAME.jpg with NAME.cls or NAME.json.

As in WebDataset a name ends at the first dot of its last part, so that `a.seg.png` is another
member of the sample `a`. Pairs with dots in their names (`a.001.jpg`, `a.001.cls`) are samples of
their own. The members of a sample may lie anywhere in the shard.
"""

import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from torchloupe.data.image.formats import IMAGE_SUFFIXES
from torchloupe.data.sources.shard_labels import (
    JSON,
    LABEL_ENDINGS,
    LARGEST_JSON_BYTES,
    LARGEST_LABEL_BYTES,
    read_json_columns,
    read_json_label,
    require_plain,
)
from torchloupe.errors import DataError, printable


@dataclass(frozen=True)
class Columns:
    """Which members of a sample are its image and its label, by their endings.

    `image` is an ending such as `left.png`, `label` one such as `txt`, or `json.NAME` for an
    entry of the `.json` member; "auto" takes the usual ones.
    """

    image: str = "auto"
    label: str = "auto"

    def is_image(self, ending: str) -> bool:
        """Whether a member with this ending (in lower case, without its dot) is the image."""
        if self.image != "auto":
            return ending == _plain(self.image)
        return f".{ending}" in IMAGE_SUFFIXES

    def is_label(self, ending: str) -> bool:
        """Whether a member with this ending may hold the label."""
        if self.label == "auto":
            return ending in (*LABEL_ENDINGS, JSON)
        return ending == (JSON if self.is_json else _plain(self.label))

    @property
    def is_json(self) -> bool:
        """Whether the label is typed to be in `.json` members."""
        return _plain(self.label).partition(".")[0] == JSON

    @property
    def entry(self) -> str:
        """The entry of `.json` members that is typed to be the label; "" for the usual ones."""
        return self.label.removeprefix(".").partition(".")[2] if self.is_json else ""


USUAL = Columns()


def _plain(ending: str) -> str:
    return ending.removeprefix(".").lower()


@dataclass
class Sample:
    """What is in a shard of one sample."""

    key: str
    ending: str  # of the member that it was first seen in
    images: dict[str, tarfile.TarInfo] = field(default_factory=dict)  # by ending
    labels: dict[str, str] = field(default_factory=dict)  # by ending, or `json.NAME`
    columns: dict[str, str] = field(default_factory=dict)  # its split and group, from `.json`

    @property
    def label(self) -> tuple[str, str] | None:
        """Where the label is from, and its text; None without one."""
        usual = [(ending, self.labels[ending]) for ending in LABEL_ENDINGS if ending in self.labels]
        return next(iter([*usual, *self.labels.items()]), None)


def read_samples(
    path: Path, columns: Columns, ignored: Counter[str], needs_labels: bool = True
) -> list[Sample]:
    """The samples of a shard in the order of their first members; what is passed over is counted.

    Without `needs_labels` every image is one, and labels are passed over. DataError for a damaged
    file, and for a member that is there twice.
    """
    samples: dict[str, Sample] = {}
    extras: dict[str, str] = {}  # the key of a sample with a dot in its name to that without
    seen: set[str] = set()
    for member, content in _members(path, columns):
        if member.name in seen:
            raise DataError(
                f"{printable(path)} holds {printable(member.name)} twice",
                "write it again, with a name of its own for each sample",
            )
        seen.add(member.name)
        key, ending = _cut(member.name, columns)
        if not (columns.is_image(ending) or columns.is_label(ending)):
            ignored[f".{ending}"[:20]] += 1
            continue
        if (whole := _first_cut(member.name)) != key:
            extras[key] = whole
        sample = samples.setdefault(key, Sample(key, ending))
        if columns.is_image(ending):
            sample.images[ending] = member
        elif ending != JSON:
            if content.strip():
                sample.labels[ending] = require_plain(content, path, member.name)
        else:
            text = content.decode("utf-8", "backslashreplace")
            found = read_json_label(text, columns.entry)
            sample.columns.update(read_json_columns(text) if needs_labels else {})
            if found:
                sample.labels[f"{JSON}.{found[0]}".rstrip(".")] = found[1]
            else:
                ignored[f".{JSON}"] += 1
    for key, whole in extras.items():
        if needs_labels and not _is_pair(samples[key], beside=whole in samples):
            ending = f"{key[len(whole) :]}.{samples[key].ending}"
            ignored[ending[:20]] += 1
            del samples[key]
    return list(samples.values())


def _cut(name: str, columns: Columns) -> tuple[str, str]:
    """The key of a member and its ending, in lower case and without its dot."""
    key = _first_cut(name)
    ending = name[len(key) + 1 :].lower()
    last = ending.rpartition(".")[2]
    is_known = columns.is_image(ending) or columns.is_label(ending)
    if not is_known and (columns.is_image(last) or columns.is_label(last)):
        return name.rpartition(".")[0], last
    return key, ending


def _first_cut(name: str) -> str:
    """A name up to the first dot of its last part."""
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{file.partition('.')[0]}"


def _is_pair(sample: Sample, beside: bool) -> bool:
    """Whether `a.seg` is a sample of its own; `beside` an `a`, its `.json` may describe it."""
    own = [ending for ending in sample.labels if not beside or ending in LABEL_ENDINGS]
    return bool(sample.images) and bool(own)


def _members(path: Path, columns: Columns) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """The plain files in a tar, with the bytes of those that may be labels."""
    shown = printable(path)
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # or a million of them stay in memory
                if not member.isreg() or member.issparse() or _is_hidden(member.name):
                    continue
                content = b""
                _, ending = _cut(member.name, columns)
                if columns.is_label(ending):
                    if member.size <= _most_bytes(ending):
                        file.seek(member.offset_data)
                        content = file.read(member.size)
                    elif ending != JSON:
                        raise DataError(
                            f"{shown}: {printable(member.name)} is not a label: "
                            f"{member.size:,} bytes",
                            f"a .{ending} file holds one class name or number",
                        )
                yield member, content
            # tarfile takes a damaged header for the end; a real end is a block of zeros.
            file.seek(archive.offset)
            if file.read(512) != bytes(512):
                raise _unreadable(shown, f"damaged or cut at byte {archive.offset:,}")
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise _unreadable(shown, str(error)) from None
    except OSError as error:
        raise _unreadable(shown, error.strerror or str(error)) from None


def _most_bytes(ending: str) -> int:
    return LARGEST_JSON_BYTES if ending == JSON else LARGEST_LABEL_BYTES


def _unreadable(shown: str, reason: str) -> DataError:
    return DataError(
        f"{shown} can't be read as a tar file: {printable(reason)}",
        "fetch it again; a compressed one has to be decompressed first",
    )


def _is_hidden(name: str) -> bool:
    return name.rpartition("/")[2].startswith(".")
