"""Checkpoints of a sharded model, which ranks write and read in parts: nobody holds all of it.

Each rank writes its rows of every tensor to a file of its own, and says so through the ranks'
store; rank 0 adds what is not sharded and, last, the manifest, without which there is no
checkpoint. That takes a folder that all ranks see; where they don't, rank 0 gathers everything.
"""

import json
import secrets
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from torchloupe.distributed.parallel import Parallel
from torchloupe.distributed.world import LostRank, World
from torchloupe.errors import CheckpointError, LoupeError, ResourceError, printable
from torchloupe.run import checkpoint
from torchloupe.run.draft import PART, Draft, make_manifest
from torchloupe.run.tensor_files import Written, count_bytes, detach, read_whole, write_tensors
from torchloupe.system.files import disk_error, remove, replace_file

MARKER = ".seen-by-all-"  # begins the names of files that show whether all ranks see a folder
_LOOK_SECONDS = 3.0  # a network file system may show a new file late
_LAST_WAIT_SECONDS = 10.0  # for the parts of others, once this rank ends with an error
_POLL_SECONDS = 0.02
_HEAVY = ("model", "optimizer", "average")  # the trees that are read only as far as needed

T = TypeVar("T")
Read = tuple[dict[str, Any], Path, list[str]]


class Parts:
    """All ranks, which write and read the checkpoints of one run together."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._ends = Event()

    def begin(self, folder: Path, step: int, trees: Any) -> Callable[[], Path | None]:
        """Begin a checkpoint of what this rank has of the trees; returns what writes it.

        Every rank must call this, and then the function, for which a thread will do: on rank 0 it
        waits for the parts of the others, and returns the finished checkpoint.
        """
        draft = Draft(folder, step)
        with self.world.others_told():
            if self.world.leads:
                draft.begin(count_bytes(trees) * self.world.size)
        name = self.world.first(secrets.token_hex(8))  # of what is said about this checkpoint
        return lambda: self._write(draft, trees, name)

    def wait_for(self, writing: Future[None]) -> None:
        """Wait until every rank has written; LostRank if one is gone. Every rank must call this."""
        while any(self.world.highest([int(not writing.done())])):
            time.sleep(_POLL_SECONDS)

    def end(self) -> None:
        """From now on wait only a little for the parts of others: something went wrong."""
        self._ends.set()

    def _write(self, draft: Draft, trees: Any, name: str) -> Path | None:
        world = self.world
        if world.leads:
            try:
                own = draft.add(trees, 0, world.size)
                return draft.finish([own, *self._collect(name, draft.step)])
            except BaseException:
                draft.discard()
                raise
        try:
            world.post(f"{name}/{world.rank}", draft.add(trees, world.rank, world.size))
        except LostRank:
            raise
        except Exception as error:
            said = error.message if isinstance(error, LoupeError) else repr(error)
            world.post(f"{name}/{world.rank}", printable(said, 500))
            raise
        return None

    def _collect(self, name: str, step: int) -> list[dict[str, Written]]:
        """The files that each of the other ranks wrote, in their order."""
        found: list[dict[str, Written]] = []
        last = None
        while len(found) < self.world.size - 1:
            rank = len(found) + 1
            word = self.world.posted(f"{name}/{rank}")
            if isinstance(word, dict):
                found.append({file: Written(*facts) for file, facts in word.items()})
            elif word is not None:
                raise ResourceError(
                    f"rank {rank} could not write its part of a checkpoint: {word}",
                    "mend that, then `loupe resume RUN`; the checkpoints written before are intact",
                )
            elif last is None and self._ends.is_set():
                last = time.monotonic() + _LAST_WAIT_SECONDS
            elif last is not None and time.monotonic() > last:
                raise LostRank(
                    f"the part of rank {rank} of the checkpoint of step {step:,} did not come",
                    "`loupe resume RUN` takes the checkpoint before it",
                )
            else:
                time.sleep(_POLL_SECONDS)
        return found

    def read_newest(self, folder: Path, start: Path | None = None) -> Read:
        """As `checkpoint.read_newest`, with tensors that are still Stored; every rank calls this.

        `start` and the list of checkpoints are those of rank 0. Each rank verifies its share of
        the files.
        """
        world = self.world
        names: list[str] = []
        with world.others_told():
            if world.leads:
                names = [path.name for path in checkpoint.list_checkpoints(folder)]
                if start is not None:
                    names = [start.name, *(name for name in names if name != start.name)]
        passed_over = []
        for name in world.first(names):
            path = folder / name
            try:
                manifest = self._agree(partial(checkpoint.read_manifest, path))
                share = sorted(manifest.files)[world.rank :: world.size]
                self._agree(partial(checkpoint.verify_files, path, manifest, share))
                trees = self._agree(partial(checkpoint.open_checkpoint, path, manifest))
            except CheckpointError as error:
                passed_over.append(error.message)
                continue
            light = {n: read_whole(tree) for n, tree in trees.items() if n not in _HEAVY}
            return {**trees, **light}, path, passed_over
        raise checkpoint.no_sound_one(folder, passed_over)

    def _agree(self, look: Callable[[], T]) -> T:
        """What `look` gives; its CheckpointError, or that of the first other rank with one."""
        found, said = None, ("", "")
        try:
            found = look()
        except CheckpointError as error:
            said = (error.message, error.hint)
        for message, hint in self.world.gather(said):
            if message:
                raise CheckpointError(message, hint)
        return found  # type: ignore[return-value]


def read_newest(folder: Path, world: World, parts: Parts | None, start: Path | None = None) -> Read:
    """The newest sound checkpoint (or `start`, of rank 0, tried first), for every rank.

    As `checkpoint.read_newest`; with `parts` its tensors are still Stored. Every rank must call
    this.
    """
    if parts is not None:
        return parts.read_newest(folder, start)
    with world.others_told():
        found = checkpoint.read_newest(folder, start) if world.leads else None
    return world.first(found)


def make_parts(folder: Path, parallel: Parallel) -> tuple[Parts | None, list[str]]:
    """What writes the checkpoints of a sharded model in parts, and notes; None if they are whole.

    Every rank must call this.
    """
    world = parallel.world
    if not parallel.is_sharded or world.size == 1:
        return None, []
    blind = find_blind(folder, world)
    if not blind:
        return Parts(world), []
    who = f"rank {blind[0]}" + (f" and {len(blind) - 1} more" if blind[1:] else "")
    return None, [
        f"{who} can't write to the run folder, so rank 0 gathers each checkpoint in its memory; "
        "with an --out on a file system that all ranks share, each writes its part"
    ]


def find_blind(folder: Path, world: World) -> list[int]:
    """The ranks that don't see a file which rank 0 wrote to `folder`, or can't write one there.

    Every rank must call this.
    """
    marker = ""
    with world.others_told():
        if world.leads:
            marker = f"{MARKER}{secrets.token_hex(8)}"
            _touch(folder / marker)
    marker = world.first(marker)
    blind = [rank for rank, sees in enumerate(world.gather(_sees(folder / marker))) if not sees]
    if world.leads:
        (folder / marker).unlink(missing_ok=True)
    return blind


def _touch(path: Path) -> None:
    try:
        path.open("xb").close()
    except OSError as error:
        raise disk_error(error, path, 0) from error


def _sees(marker: Path) -> bool:
    """Whether the file is there, and one beside it can be written."""
    end = time.monotonic() + _LOOK_SECONDS
    while not marker.is_file():
        if time.monotonic() > end:
            return False
        time.sleep(_POLL_SECONDS)
    own = marker.with_name(f"{marker.name}-{secrets.token_hex(4)}")
    try:
        own.open("xb").close()
        own.unlink()
    except OSError:
        return False
    return True


def merge_parts(path: Path, name: str) -> None:
    """Make one file of the parts of a tree of the checkpoint at `path`, as one process writes it.

    Nothing changes before that file is whole, and no more than a part of one tensor is in memory.
    Raises CheckpointError for a damaged checkpoint, ResourceError if the disk is full or broken.
    """
    manifest = checkpoint.read_manifest(path)
    files = manifest.parts.get(name, [])
    if files:
        _replace_parts(path, manifest, name)
    for file in path.glob(f"{name}-*.safetensors"):
        is_old = file.name in files or file.name not in manifest.files
        if PART.fullmatch(file.name) and is_old:
            with suppress(OSError):  # no more than space is lost
                file.unlink()


def _replace_parts(path: Path, manifest: checkpoint.Manifest, name: str) -> None:
    files = manifest.parts[name]
    checkpoint.verify_files(path, manifest, files)
    tree = detach(checkpoint.open_checkpoint(path, manifest)[name])
    temporary, target = path / f".{name}.writing", path / f"{name}.safetensors"
    needed_bytes = sum(manifest.sizes_bytes[file] for file in files)
    try:
        remove(temporary)
        written = write_tensors(temporary, tree.tensors, {"tree": json.dumps(tree.plain)})
        temporary.replace(target)
    except OSError as error:
        with suppress(OSError):
            remove(temporary)
        raise disk_error(error, target, needed_bytes) from error
    left = {
        file: Written(sha256, manifest.sizes_bytes[file])
        for file, sha256 in manifest.files.items()
        if file not in files
    }
    content = make_manifest(manifest.step, {target.name: written, **left})
    replace_file(path / "manifest.json", content)
