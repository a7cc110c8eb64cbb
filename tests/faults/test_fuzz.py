"""S2: mutated safetensors and JSON behind manifests that list their hashes."""

import json
import random
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from saves import begin, forge_manifest, make_state

from torchloupe.config.settings import Settings, read_settings
from torchloupe.data.contract import Contract
from torchloupe.errors import CheckpointError, LoupeError
from torchloupe.run import checkpoint
from torchloupe.run.data_record import DataRecord
from torchloupe.run.events import read_events
from torchloupe.trained.run import read_contract

MOST_SECONDS = 10  # a file that is refused at once takes a hundredth of one
MOST_MEGABYTES = 200  # more than before, over all files


def mutate(content: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, cut out, doubled or put in; most of them near the front."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = int(chance.random() ** 2 * len(changed))
        kind = chance.randrange(6)
        if kind == 0 and changed:
            changed[min(at, len(changed) - 1)] = chance.choice((0, 255, 127, 34, 91, 123, 57))
        elif kind == 1:
            del changed[at : at + chance.choice((1, 7, 64))]
        elif kind == 2:
            changed[at:at] = changed[at : at + chance.choice((1, 9, 33))]
        elif kind == 3:
            changed[at:at] = chance.choice(PIECES)
        elif kind == 4:
            changed[:8] = struct.pack("<Q", chance.choice((0, 1, 2**31, 2**63, 2**64 - 1, 10**9)))
        else:
            changed[at : at + 1] = bytes(chance.randrange(256) for _ in range(3))
    return bytes(changed)


PIECES = [
    *(b"99999999999999999999", b"-1", b"null", b"[]", b"{}", b'"', b"\\u0000", b"1e999", b"NaN"),
    *(b"[" * 5000, b'{"a":' * 5000, b'"F64"', b'"shape":[18446744073709551615]', b"\xff\xfe"),
]


def header(content: dict[str, object], data: bytes = b"") -> bytes:
    """A safetensors file with a header of one's own."""
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text + data


TREE = {"__metadata__": {"tree": '{"a": "tensor:a"}'}}
HOSTILE = {
    "huge header": struct.pack("<Q", 2**63) + b"{}",
    "header longer than the file": struct.pack("<Q", 100) + b"{}",
    "overlapping tensors": header(
        {
            **TREE,
            "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
        },
        bytes(12),
    ),
    "shape overflow": header(
        {**TREE, "a": {"dtype": "F32", "shape": [2**32, 2**32], "data_offsets": [0, 0]}}
    ),
    "shape of exabytes": header(
        {**TREE, "a": {"dtype": "F32", "shape": [2**60], "data_offsets": [0, 2**62]}}, bytes(8)
    ),
    "offsets backwards": header(
        {**TREE, "a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}, bytes(8)
    ),
    "unknown type": header(
        {**TREE, "a": {"dtype": "OBJECT", "shape": [1], "data_offsets": [0, 8]}}, bytes(8)
    ),
    "no tree": header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
    "tree that names no tensor": header({"__metadata__": {"tree": '["tensor:b"]'}}),
    "deep tree": header({"__metadata__": {"tree": "[" * 100_000}}),
}


@pytest.fixture
def run(quick_folder: Path) -> Path:
    begin(quick_folder / "run")
    return quick_folder / "run"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_safetensors_are_refused_at_once(run: Path, name: str) -> None:
    path = run / "checkpoints" / "step-00000002"
    forge_manifest(path, "model.safetensors", HOSTILE[name])
    start = time.perf_counter()
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        checkpoint.read_checkpoint(path)
    assert time.perf_counter() - start < MOST_SECONDS


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write_the_rest(run: Path) -> None:
    """The other files of a run folder that are read again."""
    contract = Contract("L", 1, (8, 8), class_names=("a", "b"), mean=(0.5,), std=(0.2,))
    (run / "contract.json").write_text(contract.to_json())
    (run / "config.json").write_text(Settings().to_json())
    keys = np.arange(9, dtype=np.uint64)
    DataRecord(("a", "b"), keys, np.arange(9) % 2, keys).write(run / "data.npz")
    events = [{"step": step, "train_loss": 0.5} for step in range(20)]
    (run / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))


@pytest.mark.parametrize(
    "count",
    [2000, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])],
)
def test_mutated_files_of_a_run_are_refused_or_read_and_nothing_else(
    run: Path, count: int, record_property: Callable[[str, object], None]
) -> None:
    """A process that dies, an error of another kind or a leak ends this test."""
    record_property("tries", count)
    write_the_rest(run)
    path, state, chance = run / "checkpoints" / "step-00000002", make_state(1), random.Random(0)
    readers: dict[str, Callable[[Path], object]] = {
        "contract.json": read_contract,
        "config.json": lambda run: read_settings(run / "config.json"),
        "data.npz": lambda run: DataRecord.read(run / "data.npz"),
        "events.jsonl": read_events,
        **dict.fromkeys(
            (f"{path.relative_to(run)}/{file.name}" for file in path.iterdir()),
            lambda _: state.load(checkpoint.read_checkpoint(path)),
        ),
    }
    assert len(readers) == 8
    sound = {name: (run / name).read_bytes() for name in readers}
    refused, slowest, before = dict.fromkeys(readers, 0), 0.0, peak_megabytes()
    for _ in range(count):
        name = chance.choice(list(readers))
        content = mutate(sound[name], chance)
        if (run / name).parent == path and not name.endswith("manifest.json"):
            forge_manifest(path, Path(name).name, content)
        else:
            (run / name).write_bytes(content)
        start = time.perf_counter()
        try:
            readers[name](run)
        except LoupeError as error:
            refused[name] += 1
            assert error.exit_code in (2, 4)
            assert len(error.message) < 5000
        slowest = max(slowest, time.perf_counter() - start)
        for each in (name, f"{path.relative_to(run)}/manifest.json"):
            (run / each).write_bytes(sound[each])
    assert all(refused[name] for name in readers if name != "events.jsonl")
    assert sum(refused.values()) > count / 2
    assert slowest < MOST_SECONDS
    assert peak_megabytes() - before < MOST_MEGABYTES
    for reader in readers.values():
        reader(run)
    assert state.step == 2
