"""The run folder: the only thing with side effects during training, and all that is left after it.

It owns the lock, the log of events, the checkpoints and the requests to stop or save. The files
written here are the interface of everything after training; docs/run-folder.md lists them.
"""

import json
import os
import shlex
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from torchloupe.distributed.parallel import snapshot
from torchloupe.errors import (
    Interrupted,
    LoupeError,
    ResourceError,
    Terminated,
    printable,
)
from torchloupe.run import checkpoint
from torchloupe.run.draft import checkpoint_name
from torchloupe.run.events import Choice, Chosen, Event, Note, read_events
from torchloupe.run.json_files import finite, write_json
from torchloupe.run.ledger import INDEX, Ledger
from torchloupe.run.listener import Listener
from torchloupe.run.mailbox import Mailbox
from torchloupe.run.parts import MARKER, Parts
from torchloupe.run.state import State
from torchloupe.system import files
from torchloupe.system.stop_requests import StopRequests

FILES = (
    *("config.json", "contract.json", "data.npz", "environment.json", "events.jsonl"),
    *("metrics.json", "predictions.parquet", "report.html", "best", "last"),
    *(INDEX, "suspected-labels.csv"),
)


class RunFolder:
    """One run on disk, locked while it is open. Use as a context manager.

    With `writes` False, as on every rank but the first, nothing is locked or written; the rank
    still takes part in what all ranks decide, and hands over its share of a sharded state, or
    writes it where there are `parts`.
    """

    def __init__(
        self,
        path: Path,
        listeners: Sequence[Listener] = (),
        *,
        keep: int = 2,
        save_every_seconds: float = 0.0,
        ranks: int = 1,
        writes: bool = True,
    ) -> None:
        self.path = path
        self.writes = writes
        self.listeners = list(listeners)
        self.keep = keep
        self.requests = StopRequests(save_every_seconds, ranks)
        self.ledger: Ledger | None = None  # of the training samples, where there is a table
        self.pause_seconds = 0.0  # how long training waited for its checkpoints
        self.mailbox = Mailbox(path)  # of `loupe tell`
        self.parts: Parts | None = None  # where each rank writes its part of a checkpoint
        self._lock = FileLock(path / ".lock")
        self._writing: Future[None] | None = None

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    def __enter__(self) -> "RunFolder":
        if not self.writes:
            return self
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
        if self.parts is not None:
            self.parts.end()
        if self._writing is not None:
            wait([self._writing])
        if not self.writes:
            return
        self.mailbox.clear()
        # The name goes first, so that it can't be that of a lock which another process took.
        with suppress(OSError):
            (self.path / ".lock").unlink(missing_ok=True)
        self._lock.release()
        if os.name == "nt":  # where an open file can't be removed
            (self.path / ".lock").unlink(missing_ok=True)

    def _clear_unfinished(self) -> None:
        """Remove files that an interrupted process left half written."""
        checkpoint.clear_unfinished(self.checkpoints)
        self.mailbox.clear()
        for path in self.path.glob(f"{MARKER}*"):
            files.remove(path)
        for name in FILES:
            path = self.path / f".{name}.writing"
            if path.is_symlink() or path.is_file():
                path.unlink()

    def write_json(self, name: str, content: Any) -> None:
        """Write RUN/name, as `write_json` does."""
        if self.writes:
            write_json(self.path / name, content)

    def record(self, event: Event) -> None:
        """Pass an event to the listeners; one to be kept becomes a line of events.jsonl."""
        if not self.writes:
            return
        if event.is_kept:
            line = json.dumps(finite(event.as_json())) + "\n"
            try:
                files.append_line(self.path / "events.jsonl", line.encode())
            except OSError as error:  # a full disk must not stop the training
                self._pass_on(Note(f"an event was not written to events.jsonl ({error.strerror})"))
        self._pass_on(event)

    def note(self, text: str) -> None:
        """Record a note; `Chosen` text is one on a choice."""
        self.record(Choice(text) if isinstance(text, Chosen) else Note(text))

    def _pass_on(self, event: Event) -> None:
        for listener in self.listeners:
            listener.record(event)

    def forget_events_after(self, step: int) -> None:
        """Drop the events of steps that a resumed run repeats, and an incomplete line.

        Verdicts stay: a resumed run doesn't check data and model again.
        """
        path = self.path / "events.jsonl"
        if not self.writes or (not path.exists() and not path.is_symlink()):
            return
        kept = [
            event
            for event in read_events(self.path)
            if event.get("step", 0) <= step or "verdict" in event
        ]
        lines = "".join(json.dumps(event) + "\n" for event in kept)
        files.replace_file(path, lines.encode())

    def save(self, state: State) -> None:
        """Take a snapshot of `state` now, and write it as a checkpoint while training goes on.

        Waits for the previous save, so that there are never two at once. An error of that save is
        raised here, or by `finish_saving`.
        """
        self.finish_saving()
        start = time.perf_counter()
        in_parts = self.parts is not None
        trees = state.trees(partial(snapshot, keeps=self.writes, in_parts=in_parts))
        if not self.writes and self.parts is None:
            self.requests.forget_save()
            return
        write: Callable[[], Path | None]
        if self.parts is not None:
            write = self.parts.begin(self.checkpoints, state.step, trees)
        else:
            write = partial(checkpoint.write_checkpoint, self.checkpoints, state.step, trees)
        del trees  # the thread lets go of them when they are written
        is_best = state.best_step == state.step and state.best_value is not None
        writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing = writer.submit(self._write, write, is_best, checkpoint_name(state.best_step))
        # The thread ends with its work. While a second thread that has used torch's own threads
        # lives, OpenMP lets all of them sleep between operations, and small steps take 60 % longer.
        writer.shutdown(wait=False)
        self.requests.forget_save()
        self.pause_seconds += time.perf_counter() - start

    def finish_saving(self) -> None:
        """Wait until the checkpoint being written is on disk; raises its error."""
        if self._writing is None:
            return
        start = time.perf_counter()
        if self.parts is not None:
            self.parts.wait_for(self._writing)
        writing, self._writing = self._writing, None
        writing.result()
        self.pause_seconds += time.perf_counter() - start

    def _write(self, write: Callable[[], Path | None], is_best: bool, best: str) -> None:
        path = write()
        if path is None:
            return
        files.point_link(self.path / "last", path)
        if is_best:
            files.point_link(self.path / "best", path)
        checkpoint.prune_checkpoints(self.checkpoints, self.keep, spare={best})

    def save_wanted(self) -> bool:
        """Whether a checkpoint is due by time, or was requested by SIGUSR1."""
        return self.requests.save

    def stop_requested(self) -> bool:
        """Whether a signal requested a stop after the current step."""
        return self.requests.stop_signal != 0

    def stop_error(self, step: int) -> LoupeError:
        """The error that ends a run after a requested stop, once its checkpoint is written."""
        kind = Interrupted if self.requests.stop_signal == signal.SIGINT else Terminated
        what = self.requests.asked_by or ("Ctrl-C" if kind is Interrupted else "SIGTERM")
        return kind(
            f"stopped by {what} after step {step:,}; the checkpoint is in {printable(self.path)}",
            f"loupe resume {shlex.quote(printable(self.path))} continues from there",
        )

    def stopping_on_signals(self) -> AbstractContextManager[None]:
        """A context in which signals are requests; see StopRequests.listening."""
        return self.requests.listening(lambda text: self._pass_on(Note(text)))
