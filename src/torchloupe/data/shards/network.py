"""Reading from far away through fsspec: sizes, pieces of files and listings, tried again.

A request that fails is repeated after a pause that doubles each time and is drawn at random, so
that many ranks don't come back at one moment. What is definitely not there is an error at once.
"""

import asyncio
import importlib.util
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from torchloupe.data.shards.addresses import EXTRAS, protocol_of
from torchloupe.errors import DataError, LoupeError, ResourceError, UsageError, printable

T = TypeVar("T")

WEB = ("http", "https")  # protocols of servers that list nothing
TRIES = 7
ASKERS = 16  # files that are asked for at a time
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 10.0
CONNECT_SECONDS, SILENCE_SECONDS = 10, 20  # for a connection; without a byte on it
READ_AHEAD_BYTES = 4 * 2**20  # that may wait in a connection; with less it is stopped all the time
CALL_SECONDS = 120  # for one piece, whatever the protocol does about its own timeouts

_lock = threading.Lock()
_drawn = random.Random()  # of its own: nobody's generator is touched


@dataclass(frozen=True)
class Facts:
    """What is known of a file before it is read."""

    size: int  # bytes
    tag: str  # a text that changes with the content, where the protocol has one


class Network:
    """The files of one protocol."""

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        self.repeats = 0  # requests that failed and were repeated
        self._system = _open_system(protocol)

    def facts(self, address: str) -> Facts:
        """Size and tag; DataError if there is no such file."""
        found = self._try(address, lambda: self._ask(address))
        tag = next(
            (
                found[name]
                for name in ("ETag", "etag", "md5Hash", "mtime", "LastModified")
                if found.get(name)
            ),
            "",
        )
        return Facts(int(found.get("size") or 0), str(tag))

    def _ask(self, address: str) -> Any:
        try:
            return self._system.info(address)
        except FileNotFoundError as error:
            if self.protocol in WEB and error.__cause__ is not None:
                raise error.__cause__ from None  # fsspec says so of whatever went wrong
            raise

    def facts_of(self, addresses: Sequence[str]) -> list[Facts]:
        """The facts of several files, asked for at once."""
        with ThreadPoolExecutor(ASKERS, thread_name_prefix="facts") as pool:
            return list(pool.map(self.facts, addresses))

    def read(self, address: str, start: int = 0, end: int | None = None) -> bytes:
        """Bytes `start` to `end` of a file.

        ResourceError if they can't be had, DataError if the file is gone. A server that ignores
        ranges sends the whole file, which is cut here.
        """

        def fetch() -> bytes:
            if end is None:
                return bytes(self._system.cat_file(address))
            found = bytes(self._system.cat_file(address, start=start, end=end))
            wanted = end - start
            if len(found) > wanted:
                found = found[start:end]
            if len(found) != wanted:
                raise OSError(f"{len(found):,} of {wanted:,} bytes came")
            return found

        return self._try(address, fetch)

    def exists(self, address: str) -> bool:
        """Whether there is such a file."""
        try:
            self.facts(address)
        except DataError:
            return False
        return True

    def matches(self, pattern: str) -> list[str]:
        """The addresses that a pattern with `*` stands for, sorted."""
        found = self._try(pattern, lambda: self._system.glob(pattern))
        return sorted(self._system.unstrip_protocol(name) for name in found)

    def names_in(self, folder: str) -> list[str]:
        """The addresses of the files in `folder`, sorted; none where it can't be listed."""
        listed = self._try(folder, lambda: self._system.ls(folder, detail=False))
        return sorted(self._system.unstrip_protocol(name) for name in listed)

    def write(self, address: str, content: bytes) -> None:
        """Write a whole file."""
        self._try(address, lambda: self._system.pipe_file(address, content))

    def _try(self, address: str, call: Callable[[], T]) -> T:
        pause, failed = FIRST_PAUSE_SECONDS, 0
        while True:
            try:
                return _in_time(call)
            except LoupeError:
                raise
            except Exception as error:
                if is_gone(error):
                    raise DataError(
                        f"{printable(address)} is not there",
                        "check the address, or that nobody moved it since the index was written",
                    ) from None
                if is_refused(error):
                    raise DataError(
                        f"{printable(address)} may not be read: {describe(error)}",
                        "give this machine access to it, as its library asks for",
                    ) from None
                failed += 1
                if failed == TRIES:
                    raise ResourceError(
                        f"{printable(address)} can't be read: {describe(error)}, {TRIES} times",
                        "check address and network; `loupe resume RUN` continues a run that began",
                    ) from None
                self.repeats += 1
                time.sleep(_drawn.uniform(pause / 2, pause))
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def is_gone(error: BaseException) -> bool:
    """Whether the file is definitely not there."""
    return isinstance(error, FileNotFoundError) or _status(error) in (404, 410)


def is_refused(error: BaseException) -> bool:
    """Whether it is there and this user may not read it."""
    return isinstance(error, PermissionError) or _status(error) in (401, 403)


def _status(error: BaseException) -> int:
    found = getattr(error, "status", 0)
    return found if isinstance(found, int) else 0


def describe(error: BaseException) -> str:
    """One line on an error of a library."""
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        return "no answer in time"
    return printable(f"{type(error).__name__}: {error}".rstrip(": "), 160)


def open_network(address: str) -> Network:
    """The network of an address; UsageError if its protocol needs an extra that is missing."""
    protocol = protocol_of(address)
    extra, package = EXTRAS.get(protocol, ("", ""))
    if package and importlib.util.find_spec(package) is None:
        raise UsageError(
            f"{printable(address)} needs the package {package} to be read",
            f"pip install 'torchloupe[{extra}]'",
        )
    return Network(protocol)


def _open_system(protocol: str) -> Any:
    import fsspec

    options: dict[str, Any] = {}
    if protocol in WEB:
        import aiohttp

        limits = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS
        )
        options = {"client_kwargs": {"timeout": limits, "read_bufsize": READ_AHEAD_BYTES}}
    elif protocol == "s3":
        options["config_kwargs"] = {
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": SILENCE_SECONDS,
            "retries": {"max_attempts": 1},
        }
    try:
        with _lock:
            return fsspec.filesystem(protocol, **options)
    except ImportError as error:
        raise UsageError(
            f"{protocol}:// can't be read: {describe(error)}", "install what fsspec asks for"
        ) from None
    except ValueError:
        raise UsageError(
            f"{protocol}:// is no protocol that fsspec knows",
            "give a path, or a URL of https, s3, gs or hf",
        ) from None


def _in_time(call: Callable[[], T]) -> T:
    """What `call` gives; TimeoutError after CALL_SECONDS. A call that hangs is left behind."""
    found: list[T] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            found.append(call())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True, name="fetch")
    thread.start()
    thread.join(CALL_SECONDS)
    if thread.is_alive():
        raise TimeoutError
    if failed:
        raise failed[0]
    return found[0]
