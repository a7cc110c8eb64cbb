"""The page of a run that is still going on, served to this machine alone.

A server on a loopback port reads what the training writes; the training knows nothing of it. The
page asks once a second for new curves, and when the run is finished it shows the final page.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from torchloupe.errors import CheckpointError
from torchloupe.report.document import to_script
from torchloupe.run.events import parse_event
from torchloupe.run.json_files import read_json
from torchloupe.trained.facts.curves import training_charts
from torchloupe.trained.facts.page import Material, make_page
from torchloupe.trained.report import PAGE
from torchloupe.trained.run import read_contract
from torchloupe.units import format_seconds

HOST = "127.0.0.1"
QUIET_SECONDS = 60.0  # without a sign of life, after which a page is told so
LAST_SECONDS = 5.0  # in which open pages fetch what came last, before the server ends
POLL_SECONDS = 0.5
_LOCKS = Path("/proc/locks")  # of Linux


class GrowingEvents:
    """The events of a run that goes on; what was read before is not read again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._end = 0  # of the bytes that were read
        self._last = b""  # the last line of these: a file that was begun anew has another one
        self.events: list[Mapping[str, Any]] = []

    def read(self) -> Sequence[Mapping[str, Any]]:
        """All events so far; an incomplete last line waits for the next call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._end - len(self._last))
                if file.read(len(self._last)) != self._last:
                    file.seek(0)
                    self._end, self._last, self.events = 0, b"", []
                content = file.read()
        except OSError:
            return self.events
        lines = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
        for line in lines:
            if (event := parse_event(line)) is not None:
                self.events.append(event)
        if lines:
            self._end, self._last = self._end + sum(map(len, lines)), lines[-1]
        return self.events


class LivePage:
    """What the server answers for one run folder; safe to call from several threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._growing = GrowingEvents(folder / "events.jsonl")
        self._drawn: tuple[Any, str] = (None, "")  # count and last of events, their charts as JSON

    @property
    def is_complete(self) -> bool:
        """Whether the run is finished and its page written."""
        return (self.folder / PAGE).is_file() and not is_locked(self.folder)

    @property
    def has_ended(self) -> bool:
        """Whether no process works on the run any more."""
        return not is_locked(self.folder)

    def page(self) -> str:
        """The final page of a finished run, else that of the run so far."""
        if self.is_complete:
            return (self.folder / PAGE).read_text(encoding="utf-8")
        contract = read_contract(self.folder)
        return make_page(Material(self.folder, contract, is_brief=True), state=self.state())

    def facts(self) -> str:
        """What is new, as JSON: curves, the words of the state, and whether the run has ended."""
        known = {
            "is_complete": self.is_complete,
            "has_ended": self.has_ended,  # asked before the words, which then say so too
            **self.state(),
        }
        return f'{to_script(known)[:-1]}, "charts": {self._charts()}}}'

    def state(self) -> dict[str, Any]:
        """How far the run is, in words and as a fraction."""
        events = self._events()
        steps = [event for event in events if "train_loss" in event]
        if not steps:
            return {"words": "before the first log line", "fraction": 0.0}
        last = steps[-1]
        total = float(self._epochs() or 0)
        fraction = min(1.0, float(last["epoch"]) / total) if total else 0.0
        words = f"epoch {last['epoch']:.2f}"
        words += f" of {total:g}, {100 * fraction:.0f} %" if total else ""
        words += f", {format_seconds(float(last['seconds']))} of training"
        if self.is_complete:
            return {"words": "the run is finished", "fraction": 1.0}
        if self.has_ended and (self.folder / "metrics.json").is_file():
            words = f"the run is finished, and wrote no report; {words}"
        elif self.has_ended:
            words = f"no process trains this run any more; it stopped at {words}"
        else:
            with suppress(OSError):
                silent = time.time() - (self.folder / "events.jsonl").stat().st_mtime
                if silent > QUIET_SECONDS:
                    words += f"; nothing new for {format_seconds(silent)}"
        return {"words": words, "fraction": fraction}

    def _epochs(self) -> float:
        with suppress(CheckpointError, KeyError, TypeError):
            settings = read_json(self.folder / "config.json")["settings"]
            return float(settings["train.epochs"]["value"])
        return 0.0

    def _events(self) -> Sequence[Mapping[str, Any]]:
        """The events so far, as a list of their own."""
        with self._lock:
            return list(self._growing.read())

    def _charts(self) -> str:
        """The curves as JSON, drawn again only where there are new events."""
        events = self._events()
        key = len(events), *events[-1:]
        with self._lock:
            if key != self._drawn[0]:
                self._drawn = key, to_script(training_charts(events))
            return self._drawn[1]


def is_locked(folder: Path) -> bool:
    """Whether a process holds the lock of the run folder, which is not touched to find out.

    Where the system has no list of locks, the lock's file counts; a process that was killed
    leaves it behind.
    """
    try:
        inode = (folder / ".lock").stat().st_ino
    except OSError:
        return False
    try:
        lines = [line.split() for line in _LOCKS.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return True
    return any(cells[5].rpartition(":")[2] == str(inode) for cells in lines if len(cells) > 5)


def open_server(live: LivePage, port: int = 0) -> ThreadingHTTPServer:
    """A server of the page on a loopback port (0: any free one), not yet serving."""

    class Answer(BaseHTTPRequestHandler):
        """Answers two addresses, the page and its news; everything else is 404."""

        def do_GET(self) -> None:
            """Send the page or the news."""
            host = (self.headers.get("Host") or "").rpartition(":")[0]
            if host not in (HOST, "localhost"):  # another site's name that leads here
                self.send_error(403)
            elif self.path in ("/", "/report.html"):
                self._send(live.page(), "text/html; charset=utf-8")
            elif self.path == "/facts.json":
                self._send(live.facts(), "application/json")
            else:
                self.send_error(404)

        def _send(self, text: str, kind: str) -> None:
            content = text.encode()
            with suppress(ConnectionError):  # the page was closed meanwhile
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Cache-Control", "no-store")
                self.send_header("X-Content-Type-Options", "nosniff")
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, format: str, *_: Any) -> None:
            """Nothing is logged: a page asks every second."""

    server = ThreadingHTTPServer((HOST, port), Answer)
    server.daemon_threads = True
    return server


def serve_until_end(server: ThreadingHTTPServer, live: LivePage) -> None:
    """Serve until the run has ended and open pages had time to show it."""
    thread = threading.Thread(target=server.serve_forever, name="live-page", daemon=True)
    thread.start()
    try:
        while not live.has_ended:
            time.sleep(POLL_SECONDS)
        time.sleep(LAST_SECONDS)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
