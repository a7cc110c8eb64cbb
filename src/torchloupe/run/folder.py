"""The run folder: the only thing with side effects during training, and all that is left after it.

It owns the lock, the log of events, the checkpoints and the wish to stop. What is written here
is the interface of everything after training (DESIGN: config, contract, environment, events,
metrics, predictions, checkpoints).
"""

import json
import os
import shlex
import signal
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from torchloupe.errors import (
    Interrupted,
    LoupeError,
    ResourceError,
    Terminated,
    printable,
)
from torchloupe.run import checkpoint
from torchloupe.run.events import read_events
from torchloupe.run.json_files import finite, write_json
from torchloupe.run.listener import Listener
from torchloupe.run.state import State
from torchloupe.system import files
from torchloupe.system.stop_requests import StopRequests

FILES = (
    *("config.json", "contract.json", "data.npz", "environment.json", "events.jsonl"),
    *("metrics.json", "predictions.parquet", "best", "last"),
)


class RunFolder:
    """One run on disk, locked while it is open. Use as a context manager."""

    def __init__(
        self,
        path: Path,
        listeners: Sequence[Listener] = (),
        *,
        keep: int = 2,
        save_every_seconds: float = 0.0,
        ranks: int = 1,
    ) -> None:
        self.path = path
        self.listeners = list(listeners)
        self.keep = keep
        self.requests = StopRequests(save_every_seconds, ranks)
        self.pause_seconds = 0.0  # how long training waited for its checkpoints
        self._lock = FileLock(path / ".lock")
        self._writing: Future[None] | None = None

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    def __enter__(self) -> "RunFolder":
        try:
            if (self.path / ".lock").is_symlink():
                (self.path / ".lock").unlink()  # planted: locking would write to where it leads
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ResourceError(
                f"another process is working on {printable(self.path)}",
                "wait for it, stop it, or give another --out",
            ) from None
        except OSError as error:
            raise ResourceError(
                f"can't write in {printable(self.path)}: {error.strerror or error}",
                "give an --out that can be written",
            ) from error
        self._clear_unfinished()
        return self

    def __exit__(self, *_: object) -> None:
        if self._writing is not None:
            wait([self._writing])
        # The name goes first, so that it can't be that of a lock which another process took.
        with suppress(OSError):
            (self.path / ".lock").unlink(missing_ok=True)
        self._lock.release()
        if os.name == "nt":  # where an open file can't be removed
            (self.path / ".lock").unlink(missing_ok=True)

    def _clear_unfinished(self) -> None:
        """Remove what was being written when the last owner was killed."""
        checkpoint.clear_unfinished(self.checkpoints)
        for name in FILES:
            path = self.path / f".{name}.writing"
            if path.is_symlink() or path.is_file():
                path.unlink()

    def write_json(self, name: str, content: Any) -> None:
        """Write RUN/name, as `write_json` does."""
        write_json(self.path / name, content)

    def record(self, event: Mapping[str, Any]) -> None:
        """Append one event to events.jsonl, as one whole line, and tell the listeners."""
        line = json.dumps(finite(event)) + "\n"
        try:
            files.append_line(self.path / "events.jsonl", line.encode())
        except OSError as error:  # a full disk must not stop the training that made the event
            self.tell({"note": f"an event was not written to events.jsonl ({error.strerror})"})
        self.tell(event)

    def note(self, text: str) -> None:
        """Leave a remark in the log and tell the listeners."""
        self.record({"note": text})

    def tell(self, event: Mapping[str, Any]) -> None:
        """Tell the listeners without writing."""
        for listener in self.listeners:
            listener.record(event)

    def forget_events_after(self, step: int) -> None:
        """Drop the events of steps that a resumed run will do again, and a line cut short."""
        path = self.path / "events.jsonl"
        if not path.exists() and not path.is_symlink():
            return
        kept = [event for event in read_events(self.path) if event.get("step", 0) <= step]
        lines = "".join(json.dumps(event) + "\n" for event in kept)
        files.replace_file(path, lines.encode())

    def save(self, state: State) -> None:
        """Take a snapshot of `state` now, and write it as a checkpoint while training goes on.

        Waits for the save before, if it is still being written: there are never two at once.
        An error of that one is raised here, or by `finish_saving`.
        """
        self.finish_saving()
        start = time.perf_counter()
        trees = checkpoint.to_cpu(state.trees())
        is_best = state.best_step == state.step and state.best_value is not None
        writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing = writer.submit(
            self._write, trees, state.step, is_best, checkpoint.checkpoint_name(state.best_step)
        )
        # The thread ends with its work. While a second thread that has used torch's own threads
        # lives, OpenMP lets all of them sleep between operations, and small steps take 60 % longer.
        writer.shutdown(wait=False)
        self.requests.forget_save()
        self.pause_seconds += time.perf_counter() - start

    def finish_saving(self) -> None:
        """Wait until the checkpoint being written is on disk; raises what went wrong with it."""
        if self._writing is not None:
            start = time.perf_counter()
            writing, self._writing = self._writing, None
            writing.result()
            self.pause_seconds += time.perf_counter() - start

    def _write(self, trees: Mapping[str, Any], step: int, is_best: bool, best: str) -> None:
        path = checkpoint.write_checkpoint(self.checkpoints, step, trees)
        files.point_link(self.path / "last", path)
        if is_best:
            files.point_link(self.path / "best", path)
        checkpoint.prune_checkpoints(self.checkpoints, self.keep, spare={best})

    def save_wanted(self) -> bool:
        """Whether a checkpoint is due by time, or was asked for with SIGUSR1."""
        return self.requests.save

    def stop_requested(self) -> bool:
        """Whether a signal asked for a stop at the next step boundary."""
        return self.requests.stop_signal != 0

    def stop_error(self, step: int) -> LoupeError:
        """The error that ends a run which was asked to stop, once its checkpoint is written."""
        kind = Interrupted if self.requests.stop_signal == signal.SIGINT else Terminated
        what = "Ctrl-C" if kind is Interrupted else "SIGTERM"
        return kind(
            f"stopped by {what} after step {step:,}; the checkpoint is in {printable(self.path)}",
            f"loupe resume {shlex.quote(printable(self.path))} goes on from there",
        )

    def stopping_on_signals(self) -> AbstractContextManager[None]:
        """Inside, signals are wishes; see StopRequests.listening."""
        return self.requests.listening(lambda text: self.tell({"note": text}))


def is_writable(path: Path) -> bool:
    """Whether files can be made in `path`."""
    return os.access(path, os.W_OK | os.X_OK)


class Follower(RunFolder):
    """A RunFolder that leaves the folder to rank 0."""

    def __enter__(self) -> "Follower":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was opened."""

    def write_json(self, name: str, content: Any) -> None:
        """Leave it to rank 0."""

    def record(self, event: Mapping[str, Any]) -> None:
        """Leave it to rank 0."""

    def forget_events_after(self, step: int) -> None:
        """Leave it to rank 0."""

    def save(self, state: State) -> None:
        """Hand over this rank's part of a state that is spread over the ranks."""
        state.trees()
        self.requests.forget_save()
