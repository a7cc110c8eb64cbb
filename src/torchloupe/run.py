"""The run folder: the only thing with side effects during training, and all that is left after it.

It owns the lock, the log of events, the checkpoints and the wish to stop. What is written here
is the interface of everything after training (DESIGN: config, contract, environment, events,
metrics, predictions, checkpoints).
"""

import json
import math
import os
import signal
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from torchloupe import checkpoint, disk
from torchloupe.errors import (
    CheckpointError,
    Interrupted,
    LoupeError,
    ResourceError,
    Terminated,
    UsageError,
    printable,
)
from torchloupe.state import State
from torchloupe.wishes import Wishes

FILES = (
    *("config.json", "contract.json", "data.npz", "environment.json", "events.jsonl"),
    *("metrics.json", "predictions.parquet", "best", "last"),
)
FOLDS = "folds.json"  # marks the folder of a cross-validation, which holds a run for each fold
BEFORE_THE_FIRST_STEP = {"contract.json", "data.npz", "environment.json"}


class Listener(Protocol):
    """Whoever follows a run: a display, a tracker. Calls come from the training thread."""

    def start(self, facts: Mapping[str, Any]) -> None:
        """Called once, before the first step, with what is known of the run."""

    def record(self, event: Mapping[str, Any]) -> None:
        """Called with each event: an object of events.jsonl, `{"note": ...}` or a phase."""

    def close(self) -> None:
        """Called once, whatever happened."""


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
        self.wishes = Wishes(save_every_seconds, ranks)
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
        line = json.dumps(_finite(event)) + "\n"
        try:
            disk.append_line(self.path / "events.jsonl", line.encode())
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
        disk.replace_file(path, lines.encode())

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
        self.wishes.forget_save()
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
        disk.point_link(self.path / "last", path)
        if is_best:
            disk.point_link(self.path / "best", path)
        checkpoint.prune_checkpoints(self.checkpoints, self.keep, spare={best})

    def save_wanted(self) -> bool:
        """Whether a checkpoint is due by time, or was asked for with SIGUSR1."""
        return self.wishes.save

    def stop_requested(self) -> bool:
        """Whether a signal asked for a stop at the next step boundary."""
        return self.wishes.stop_signal != 0

    def stop_error(self, step: int) -> LoupeError:
        """The error that ends a run which was asked to stop, once its checkpoint is written."""
        kind = Interrupted if self.wishes.stop_signal == signal.SIGINT else Terminated
        what = "Ctrl-C" if kind is Interrupted else "SIGTERM"
        return kind(
            f"stopped by {what} after step {step:,}; the checkpoint is in {printable(self.path)}",
            f"loupe resume {printable(self.path)} goes on from there",
        )

    def stopping_on_signals(self) -> AbstractContextManager[None]:
        """Inside, signals are wishes; see Wishes.listening."""
        return self.wishes.listening(lambda text: self.tell({"note": text}))


def create_run(out: Path | None, name: str) -> Path:
    """Make a new, empty run folder: `out`, or the next free `runs/NAME-001`.

    Raises UsageError where `out` already holds something, so that no run is ever written over.
    """
    try:
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            if not _is_free(out):
                is_run = (out / "config.json").exists()
                raise UsageError(
                    f"--out {printable(out)} is not empty",
                    f"continue it with `loupe resume {printable(out)}`, or give another --out"
                    if is_run
                    else "give a new folder for --out",
                )
            return out
        parent = Path("runs")
        safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip("-.")[:40]
        parent.mkdir(exist_ok=True)
        for number in range(1, 1_000_000):
            path = parent / f"{safe or 'run'}-{number:03d}"
            try:
                path.mkdir()
            except FileExistsError:
                continue
            return path
    except (FileExistsError, NotADirectoryError):
        raise UsageError(
            f"--out {printable(out or 'runs')} is a file, not a folder",
            "give a new folder for --out",
        ) from None
    except OSError as error:
        raise ResourceError(
            f"can't make the run folder {printable(out or 'runs')}: {error.strerror or error}",
            "give an --out that can be written",
        ) from error
    raise ResourceError("runs/ is full", "give --out")


def _is_free(folder: Path) -> bool:
    """Whether a run may begin in `folder`: it is empty, or one was killed there before it began."""
    before = {f".{name}.writing" for name in (*BEFORE_THE_FIRST_STEP, "config.json")}
    return {entry.name for entry in folder.iterdir()} <= {".lock", *BEFORE_THE_FIRST_STEP, *before}


def find_run(path: Path) -> Path:
    """`path` if it is a run folder, else UsageError that says what is there instead."""
    if (path / FOLDS).is_file():
        raise UsageError(
            f"{printable(path)} is a cross-validation, which has a run for each fold",
            f"give one of them, such as {printable(path / 'fold-1')}",
        )
    if (path / "config.json").is_file():
        return path
    if not path.exists():
        near = [p.parent.as_posix() for p in sorted(path.parent.glob("*/config.json"))][-3:]
        raise UsageError(
            f"there is no run folder {printable(path)}",
            f"runs beside it: {', '.join(map(printable, near))}"
            if near
            else "loupe train makes one",
        )
    if path.is_dir() and any(path.iterdir()) and _is_free(path):
        raise UsageError(
            f"the run in {printable(path)} was stopped before it began (it has no config.json)",
            f"start it again: loupe train DATA --out {printable(path)}",
        )
    raise UsageError(
        f"{printable(path)} is not a run folder (it has no config.json)",
        "give the folder that `loupe train` printed, such as runs/digits-001",
    )


def read_events(run: Path) -> list[dict[str, Any]]:
    """The whole lines of RUN/events.jsonl; a last line that was cut short is left out."""
    try:
        text = (run / "events.jsonl").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    events = []
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            events.append(event)
    return events


def write_json(path: Path, content: Any) -> None:
    """Write `path` whole or not at all; numbers that are not finite become null, text stays."""
    text = content if isinstance(content, str) else json.dumps(_finite(content), indent=1)
    disk.replace_file(path, text.encode("utf-8", "surrogateescape"))


def read_json(path: Path) -> Any:
    """The content of a JSON file of a run; CheckpointError where it can't be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{printable(path)} can't be read ({error})", "the run folder is damaged; train again"
        ) from None


def _finite(value: Any) -> Any:
    """`value` with NaN and infinities as None, since JSON has neither."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def is_writable(path: Path) -> bool:
    """Whether files can be made in `path`."""
    return os.access(path, os.W_OK | os.X_OK)
