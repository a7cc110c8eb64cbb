"""The ranks of a run: who takes part, what they agree on, and how they end together.

Ranks are processes started by torchrun (or `launch`), numbered by its environment variables. They
communicate through torch.distributed: gradients by the device's own backend, everything here by
gloo, so that an agreement between ranks never waits for a GPU.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore  # type: ignore[attr-defined]

from torchloupe.distributed.meeting import meet, open_store
from torchloupe.distributed.rank import Rank, find_rank
from torchloupe.errors import LoupeError, RankFailed, ResourceError, UsageError, printable

T = TypeVar("T")
N = TypeVar("N", int, float)

TIMEOUT_SECONDS = 60.0  # without a sign of the other ranks in a step, before a rank gives up
PATIENCE = timedelta(days=1)  # while rank 0 works and the others wait: decoding, compiling, writing
LAST_WORDS_SECONDS = 3.0  # how long a rank waits to hear why another one ended


class LostRank(ResourceError):  # noqa: N818
    """Another rank ended, or has not answered in time."""


@dataclass(frozen=True)
class Failed:
    """What rank 0 gives the others where it failed."""

    exit_code: int
    message: str


class World:
    """All ranks, seen from one of them; a world of one needs no communication.

    Every rank must call each method, in the same order, but for `post` and `posted`. Raises
    LostRank if one is gone.
    """

    def __init__(
        self,
        launched: Rank | None = None,
        quick: Any = None,
        patient: Any = None,
        store: Any = None,
    ) -> None:
        self.launched = launched
        self.rank = launched.rank if launched else 0
        self.size = launched.size if launched else 1
        self.is_joined = launched is not None
        self._quick = quick  # gives up after the timeout
        self._patient = patient
        self._store = store

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, the only one that writes and prints."""
        return self.rank == 0

    def highest(self, numbers: Sequence[N]) -> list[N]:
        """The largest of each number over all ranks."""
        return self._reduce(numbers, dist.ReduceOp.MAX)

    def total(self, numbers: Sequence[N]) -> list[N]:
        """The sum of each number over all ranks, of fractions in double precision."""
        return self._reduce(numbers, dist.ReduceOp.SUM)

    def gather(self, thing: T) -> list[T]:
        """What each rank has, in the order of ranks."""
        if self.size == 1:
            return [thing]
        found: list[Any] = [None] * self.size
        with self.talking():
            dist.all_gather_object(found, thing, group=self._patient)
        return found

    def first(self, thing: T | None) -> T:
        """The value of rank 0, on every rank; the others wait without a timeout."""
        held = [thing]
        if self.size > 1:
            with self.talking():
                dist.broadcast_object_list(held, src=0, group=self._patient)
        if isinstance(held[0], Failed) and not self.leads:
            raise RankFailed(held[0].message, held[0].exit_code)
        return held[0]  # type: ignore[return-value]

    @contextmanager
    def others_told(self) -> Iterator[None]:
        """Inside, rank 0 works while the others wait in `first`: an error ends them too."""
        try:
            yield
        except LostRank:
            raise
        except Exception as error:
            if self.size > 1:
                code = error.exit_code if isinstance(error, LoupeError) else 1
                self.first(Failed(code, printable(error, 500)))
            raise

    def wait(self) -> None:
        """Wait until every rank is here, as long as it takes."""
        if self.size > 1:
            with self.talking():
                dist.barrier(group=self._patient)

    def post(self, name: str, word: Any) -> None:
        """Leave a plain value under a new name. Any rank may call this by itself, in any thread."""
        with self.talking():
            self._store.set(f"posted/{name}", json.dumps(word))

    def posted(self, name: str) -> Any:
        """What a rank left under this name; None if nothing yet. As `post`, it waits for nobody."""
        with self.talking():
            if not self._store.check([f"posted/{name}"]):
                return None
            return json.loads(self._store.get(f"posted/{name}"))

    @contextmanager
    def talking(self) -> Iterator[None]:
        """Turns what torch.distributed raises inside, when a rank is gone, into LostRank."""
        try:
            yield
        except RuntimeError as error:  # its own errors are RuntimeErrors, gloo's plain ones
            raise self.lost(error) from error

    def lost(self, error: RuntimeError) -> LostRank:
        """What torch.distributed raised, as the error of this rank."""
        return LostRank(
            f"rank {self.rank} of {self.size} lost the others: {printable(error)}",
            "find out why a rank ended (its own message, or dmesg); then `loupe resume RUN`",
        )

    def _reduce(self, numbers: Sequence[N], how: Any) -> list[N]:
        if self.size == 1:
            return list(numbers)
        is_whole = all(isinstance(number, int) for number in numbers)
        tensor = torch.tensor(numbers, dtype=torch.int64 if is_whole else torch.float64)
        with self.talking():
            dist.all_reduce(tensor, op=how, group=self._quick)
        return tensor.tolist()


ALONE = World()


@contextmanager
def join(device: torch.device, timeout_seconds: float = TIMEOUT_SECONDS) -> Iterator[World]:
    """A context with the world that torchrun started, or ALONE.

    An error on one rank ends all: it is raised as RankFailed on the others.
    """
    launched = find_rank()
    if launched is None:
        yield ALONE
        return
    if device.type == "mps":
        raise UsageError("ranks can't share an Apple GPU", "train without torchrun")
    timeout = timedelta(seconds=timeout_seconds)
    was_joined = dist.is_initialized()  # by the script that calls us: then it is theirs to end
    store = open_store()
    name, _ = meet(launched, store)  # torchrun's store may hold keys of ranks before a restart
    store = PrefixStore(name, store)
    if not was_joined:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=PrefixStore("default", store),
            rank=launched.rank,
            world_size=launched.size,
            timeout=timeout,
            device_id=device if device.type == "cuda" else None,
        )
    world = World(
        launched,
        dist.new_group(backend="gloo", timeout=timeout),
        dist.new_group(backend="gloo", timeout=PATIENCE),
        store,
    )
    try:
        yield world
        world.wait()
    except BaseException as error:
        if isinstance(error, RuntimeError) and _is_of_exchange(error):
            lost = world.lost(error)
            _end_together(PrefixStore("ends", store), world, lost)
            raise lost from error
        _end_together(PrefixStore("ends", store), world, error)
        raise
    finally:
        if not was_joined and dist.is_initialized():
            dist.destroy_process_group()


def _is_of_exchange(error: RuntimeError) -> bool:
    """Whether torch.distributed raised it, in a forward or backward of a sharded model."""
    return isinstance(error, dist.DistError) or "/gloo/" in str(error)


def _end_together(store: Any, world: World, error: BaseException) -> None:
    """Publish why this rank ends; raises RankFailed if another rank failed first."""
    code = error.exit_code if isinstance(error, LoupeError) else 1
    message = error.message if isinstance(error, LoupeError) else str(error)
    if isinstance(error, RankFailed):  # rank 0 told it, and says it
        heard, is_known = _listen(store, range(1)), True
    elif isinstance(error, LostRank):
        heard = _listen(store, range(world.size))
        is_known = heard is not None or _count(store, "lost") > 1  # the first to notice says it
    else:
        heard = _listen(store, range(1)) if world.rank else None
        is_known = heard is not None and heard[0] == code
    if not is_known:
        with suppress(RuntimeError):
            store.set(f"said/{world.rank}", json.dumps([code, message]))
    _count(store, "left")
    if world.leads:  # rank 0 may hold the store, which the others could not reach any more
        end = time.monotonic() + LAST_WORDS_SECONDS
        while _count(store, "left", 0) < world.size and time.monotonic() < end:
            time.sleep(0.02)
    if is_known:
        raise RankFailed(message, heard[0] if heard else code) from error


def _listen(store: Any, ranks: range) -> tuple[int, str] | None:
    """Exit code and message of the first of `ranks` that failed."""
    end = time.monotonic() + LAST_WORDS_SECONDS
    while time.monotonic() < end:
        for rank in ranks:
            with suppress(RuntimeError):  # the store may be gone with the rank that held it
                if store.check([f"said/{rank}"]):
                    code, message = json.loads(store.get(f"said/{rank}"))
                    return int(code), str(message)
        time.sleep(0.05)
    return None


def _count(store: Any, what: str, more: int = 1) -> int:
    """How many ranks counted so far, after `more` of them now; many where the store is gone."""
    try:
        return int(store.add(what, more))
    except RuntimeError:
        return 2**31 if not more else 1
