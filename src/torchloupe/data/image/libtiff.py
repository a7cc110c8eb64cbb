"""What is reported of a TIFF file and would otherwise be printed on the terminal.

Pillow leaves libtiff's own handlers in place. Where the library can be found, its errors go to
the thread that decodes, and its warnings nowhere; so do those that Pillow logs. What other code
decodes is printed as before.
"""

import ctypes
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from PIL import _imaging

_LONGEST = 1000  # characters of a message
_NAMELESS = "tempfile.tif"  # how Pillow calls every file
_MOST = 20  # messages of a file
_Handler = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
_thread = threading.local()


@contextmanager
def listening() -> Iterator[list[str]]:
    """A context with the list of errors that libtiff and Pillow report in this thread."""
    _install()
    said: list[str] = []
    _thread.said = said
    try:
        yield said
    finally:
        _thread.said = None


@cache
def _install() -> tuple[Any, ...]:
    """Set the handlers in libtiff; what must stay alive for it, nothing if it is not found."""
    logging.getLogger("PIL.TiffImagePlugin").addFilter(_take_record)
    for path in _find_libraries():
        try:
            library = ctypes.CDLL(path)
            set_error, set_warning = library.TIFFSetErrorHandler, library.TIFFSetWarningHandler
        except (OSError, AttributeError):
            continue
        on_error, on_warning = _Handler(_take_error), _Handler(_take_warning)
        for setter, handler in ((set_error, on_error), (set_warning, on_warning)):
            setter.argtypes, setter.restype = [_Handler], ctypes.c_void_p
            setter(handler)
        return library, on_error, on_warning
    return ()


def _find_libraries() -> list[str]:
    """The libtiff that Pillow has loaded: it is mapped on Linux, and lies beside it on macOS."""
    try:
        lines = Path("/proc/self/maps").read_text(errors="replace").splitlines()
        return sorted({line[line.index("/") :] for line in lines if "/libtiff" in line})
    except OSError:
        beside = Path(_imaging.__file__).parent / ".dylibs"
        return sorted(map(str, beside.glob("libtiff*.dylib")))


def _take_record(record: logging.LogRecord) -> bool:
    """Whether a record of Pillow's log is to be logged: not while this thread listens."""
    said = getattr(_thread, "said", None)
    if said is not None and record.levelno >= logging.ERROR:
        said.append(record.getMessage())
    return said is None


def _take_error(module: bytes | None, form: bytes | None, values: int | None) -> None:
    said = getattr(_thread, "said", None)
    text = _spell(module, form, values)
    if said is None:
        print(text, file=sys.stderr)
    elif len(said) < _MOST:
        said.append(text)


def _take_warning(module: bytes | None, form: bytes | None, values: int | None) -> None:
    if getattr(_thread, "said", None) is None:
        print(_spell(module, form, values), file=sys.stderr)


def _spell(module: bytes | None, form: bytes | None, values: int | None) -> str:
    """A message as C's printf would write it."""
    text = ctypes.create_string_buffer(_LONGEST)
    ctypes.CDLL(None).vsnprintf(
        text, ctypes.c_size_t(_LONGEST), ctypes.c_char_p(form or b""), ctypes.c_void_p(values)
    )
    name = (module or b"").decode("utf-8", "replace")
    name = "" if name == _NAMELESS else name
    words = text.value.decode("utf-8", "replace")
    return f"{name}: {words}" if name else words
