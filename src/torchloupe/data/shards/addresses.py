"""Where shards are: paths and URLs, with `{000..999}`, `{a,b}` and `*` expanded.

What a URL needs to be read is an extra of torchloupe; everything goes through fsspec.
"""

import itertools
import posixpath
import re
from collections.abc import Sequence

from torchloupe.errors import DataError, UsageError, printable

INDEX_NAME = "index.safetensors"  # the file beside shards that lists what is in them
MOST = 1_000_000  # shards of one set
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_OTHER_FILES = (".zip", ".gz", ".tgz", ".csv", ".tsv", ".parquet", ".npz", ".npy", ".h5")
_URL = re.compile(r"^([a-z][a-z0-9+.-]*)://", re.IGNORECASE)

# The extra that brings what a protocol needs, and the package in it.
EXTRAS = {
    "http": ("http", "aiohttp"),
    "https": ("http", "aiohttp"),
    "s3": ("s3", "s3fs"),
    "gs": ("gs", "gcsfs"),
    "gcs": ("gs", "gcsfs"),
    "hf": ("hf", "huggingface_hub"),
}


def protocol_of(text: str) -> str:
    """`s3` for `s3://bucket/a.tar`; empty for a path on this machine."""
    found = _URL.match(text)
    return found.group(1).lower() if found else ""


def is_url(text: str) -> bool:
    """Whether `text` is a URL, not a path."""
    return bool(protocol_of(text))


def has_braces(text: str) -> bool:
    """Whether `text` stands for several addresses: `{000..999}` or `{a,b}`."""
    return any("," in inner or _RANGE.fullmatch(inner) for inner in _BRACES.findall(text))


def expand(text: str) -> list[str]:
    """The addresses that `text` stands for, in the order of its ranges.

    >>> expand("s3://set/{08..10}.tar")
    ['s3://set/08.tar', 's3://set/09.tar', 's3://set/10.tar']
    """
    parts: list[Sequence[str]] = []
    end = 0
    count = 1
    for found in _BRACES.finditer(text):
        choices = _choices(found.group(1))
        if not choices:
            continue
        parts += [[text[end : found.start()]], choices]
        end, count = found.end(), count * len(choices)
        if count > MOST:
            raise UsageError(
                f"{printable(text)} stands for more than {MOST:,} shards", "write larger shards"
            )
    parts.append([text[end:]])
    return ["".join(chosen) for chosen in itertools.product(*parts)]


def _choices(inner: str) -> list[str]:
    """`000..002` and `a,b` as lists; empty for anything else."""
    if bounds := _RANGE.fullmatch(inner):
        first, last = bounds.groups()
        width = len(first) if first.startswith("0") or len(first) == len(last) else 0
        if int(last) - int(first) > MOST:
            raise UsageError(
                f"{{{printable(inner)}}} stands for more than {MOST:,} shards",
                "write larger shards",
            )
        if int(last) < int(first):
            raise UsageError(
                f"{{{printable(inner)}}} counts downwards", f"write {{{last}..{first}}}"
            )
        return [str(number).zfill(width) for number in range(int(first), int(last) + 1)]
    return inner.split(",") if "," in inner else []


def folder_of(address: str) -> str:
    """The address without its last part."""
    return address.rpartition("/")[0]


def name_of(address: str) -> str:
    """The last part of an address, without what follows `?` in a URL."""
    plain = address.partition("?")[0] if is_url(address) else address.replace("\\", "/")
    return posixpath.basename(plain.rstrip("/"))


def join(folder: str, name: str) -> str:
    """The address of `name` in `folder`."""
    return f"{folder.rstrip('/')}/{name}"


def refuse_on_the_web(address: str) -> None:
    """UsageError for a pattern, or a file of another kind, that no web server can answer."""
    if "*" in address:
        raise UsageError(
            f"{printable(address)} has a *, and a web server does not list its files",
            "write the range out: {000..099}.tar, or give a folder with an index",
        )
    if name_of(address).lower().endswith(_OTHER_FILES):
        raise UsageError(
            f"{printable(address)} is no tar shard, and only these are read from a web server",
            "download it first and give the path",
        )


def refuse_twins(addresses: Sequence[str]) -> None:
    """DataError where two shards have one name: their images could not be told apart."""
    seen: dict[str, str] = {}
    for address in addresses:
        twin = seen.setdefault(name_of(address), address)
        if twin != address:
            raise DataError(
                f"two shards have the same name: {printable(twin)} and {printable(address)}",
                "rename one: the ids of images begin with the name of their shard",
            )
