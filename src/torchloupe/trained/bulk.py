"""Predictions for shards of images: a Parquet file for each shard, each image once, any time again.

A part is written whole or not at all and says what it was made from; one that is there is left. So
a prediction that was stopped goes on with the parts that are missing, with any number of ranks.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torchloupe.data.contract import Contract
from torchloupe.data.shards.addresses import is_url, join, name_of
from torchloupe.data.shards.network import open_network
from torchloupe.data.sources.shard_inputs import ShardInputs
from torchloupe.data.sources.source import Data
from torchloupe.errors import CheckpointError, DataError, UsageError, printable
from torchloupe.system.files import make_folder, replace_file
from torchloupe.system.limits import usable_cores
from torchloupe.trained.prediction import Prediction
from torchloupe.trained.prediction_rows import as_row, column_names, read_facts, to_parquet

FORMAT = 1  # raised when the same images would give other parts
SUMMARY = "predictions.json"
NAMED_IN_PART = 100  # unreadable images that a part names outside its rows
TIMED = 256  # images that are decoded to find out how fast that is
_PREFIX = "torchloupe."


class Labeller(Protocol):
    """A run or an exported folder, opened."""

    @property
    def folder(self) -> Path: ...

    @property
    def contract(self) -> Contract: ...

    def predict(self, images: Any, *, top: int, raw: bool) -> Any: ...


@dataclass(frozen=True)
class Asked:
    """How predictions are to be made."""

    top: int = 1
    raw: bool = False
    views: str = "one"
    fast: bool = False  # folded: within 1e-5 of the run's probabilities


@dataclass(frozen=True)
class Part:
    """What is in one file of predictions."""

    name: str
    images: int
    bad: int  # images that could not be read
    bad_images: tuple[tuple[str, str], ...]  # the first of them: name and reason
    is_new: bool = False  # written just now

    def to_json(self) -> dict[str, Any]:
        """For the summary."""
        return {"name": self.name, "images": self.images, "unreadable": self.bad}


class Outbox:
    """The folder that parts are written to: on this machine, or at a URL."""

    def __init__(self, place: str) -> None:
        self.place = place
        self._network = open_network(place) if is_url(place) else None
        if self._network is None:
            make_folder(Path(place).expanduser(), "give --out a folder that can be written")

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if it is not there."""
        if self._network is not None:
            address = join(self.place, name)
            return self._network.read(address) if self._network.exists(address) else None
        path = Path(self.place).expanduser() / name
        return path.read_bytes() if path.is_file() else None

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all."""
        if self._network is not None:
            self._network.write(join(self.place, name), content)
        else:
            replace_file(Path(self.place).expanduser() / name, content)


def predict_part(
    opened: Labeller, inputs: ShardInputs, number: int, asked: Asked, out: Outbox
) -> Part:
    """The predictions for one shard, made and written unless they are there.

    UsageError if there are others: of another run, another shard or other options.
    """
    name = part_name(inputs, number)
    key = part_key(opened, inputs, number, asked)
    found = find_part(out, name, key)
    if found is not None:
        return found
    more = {} if asked.views == "one" else {"views": asked.views}
    data = inputs.open(number)
    predictions: list[Prediction] = []
    if len(data.samples):
        predictions = opened.predict(data, top=asked.top, raw=asked.raw, **more)
    says_unsure = opened.contract.threshold is not None and not asked.raw
    rows = [as_row(one, asked.top, says_unsure) for one in predictions]
    bad = [(one.path, one.error) for one in predictions if one.error]
    named = bad[:NAMED_IN_PART]
    facts = {
        "key": key,
        "images": str(len(rows)),
        "unreadable": str(len(bad)),
        "unreadable_images": json.dumps([[str(row[0]), row[1]] for row in named]),
    }
    names = column_names(asked.top, says_unsure=says_unsure)
    content = to_parquet(names, rows, {_PREFIX + name: value for name, value in facts.items()})
    out.write(name, content)
    return Part(name, len(rows), len(bad), tuple(named), is_new=True)


def find_part(out: Outbox, name: str, key: str) -> Part | None:
    """The part that was made for `key`, if it is there; UsageError if another one is."""
    content = out.read(name)
    if content is None:
        return None
    facts = {k.removeprefix(_PREFIX): value for k, value in read_facts(content).items()}
    if facts.get("key") != key:
        raise UsageError(
            f"{printable(join(out.place, name))} is there, and of another run, other shards or "
            "other options",
            "give --out an empty folder",
        )
    named = tuple((str(a), str(b)) for a, b in json.loads(facts["unreadable_images"]))
    return Part(name, int(facts["images"]), int(facts["unreadable"]), named)


def part_name(inputs: ShardInputs, number: int) -> str:
    """`a.parquet` for the shard `a.tar`."""
    return f"{name_of(inputs.addresses[number]).rpartition('.')[0]}.parquet"


def part_key(opened: Labeller, inputs: ShardInputs, number: int, asked: Asked) -> str:
    """A hash of all that the predictions of a shard depend on."""
    facts = [
        FORMAT,
        identify(opened),
        name_of(inputs.addresses[number]),
        inputs.stamps[number],
        *(asked.top, asked.raw, asked.views),
        *(["fast"] if asked.fast else ()),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def identify(opened: Labeller) -> str:
    """A hash of the weights and the contract of a run or an exported folder."""
    places = ("best/manifest.json", "last/manifest.json", "export.json")
    manifest = next((opened.folder / p for p in places if (opened.folder / p).is_file()), None)
    if manifest is None:
        raise CheckpointError(
            f"{printable(opened.folder)} has neither a checkpoint nor an export",
            "copy the folder again",
        )
    facts = manifest.read_bytes() + opened.contract.to_json().encode()
    return hashlib.sha256(facts).hexdigest()


def summarise(
    opened: Labeller, inputs: ShardInputs, asked: Asked, out: Outbox
) -> dict[str, Any] | None:
    """What all parts hold, also written beside them; None while one is missing.

    It depends on the parts alone, so that it does not matter which rank writes it.
    """
    parts = []
    for number in range(len(inputs)):
        part = find_part(out, part_name(inputs, number), part_key(opened, inputs, number, asked))
        if part is None:
            return None
        parts.append(part)
    facts = {
        "images": sum(part.images for part in parts),
        "unreadable": sum(part.bad for part in parts),
        "unreadable_images": [
            {"path": path, "error": error} for part in parts for path, error in part.bad_images
        ],
        "parts": [part.to_json() for part in parts],
    }
    out.write(SUMMARY, (json.dumps(facts, indent=1) + "\n").encode())
    return facts


def time_decoding(data: Data, contract: Contract) -> float:
    """Images that this machine decodes in a second, without a model."""
    rows = range(min(TIMED, len(data.samples)))

    def decode(row: int) -> None:
        try:
            contract.decode(data.reader.read(row))
        except DataError:
            return

    began = time.perf_counter()
    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="timed") as pool:
        list(pool.map(decode, rows))
    return len(rows) / max(1e-9, time.perf_counter() - began)


def own_parts(count: int, rank: int, ranks: int) -> Sequence[int]:
    """The numbers of the shards that a rank predicts."""
    return range(rank, count, ranks)


def predict_shards(
    opened: Labeller,
    inputs: ShardInputs,
    asked: Asked,
    out: Outbox,
    ranks: tuple[int, int] = (0, 1),
    progress: Callable[[int, int], None] | None = None,
) -> list[Part]:
    """The parts of this rank, `ranks` being (rank, size); the next shards are fetched meanwhile."""
    own = list(own_parts(len(inputs), *ranks))
    parts = []
    missing = [
        number
        for number in own
        if find_part(out, part_name(inputs, number), part_key(opened, inputs, number, asked))
        is None
    ]
    try:
        for done, number in enumerate(own):
            later = [other for other in missing if other >= number]
            inputs.want(later[:3])
            parts.append(predict_part(opened, inputs, number, asked, out))
            if progress is not None:
                progress(done + 1, len(own))
    finally:
        inputs.leave()
    return parts
