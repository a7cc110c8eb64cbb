"""The exceptions of torchloupe, each with the exit code of the command.

An error has two lines: what is wrong (the rule, the place, what was found) and one thing to do.
The command prints them as `error:` and `hint:`; in Python they are attributes.
"""

import difflib
from collections.abc import Iterable
from pathlib import PurePath


class LoupeError(Exception):
    """The base of all errors of torchloupe; `hint` is one thing to do about it."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class UsageError(LoupeError):
    """An invalid setting, option or argument (exit 2)."""

    exit_code = 2


class DataError(LoupeError):
    """Invalid or missing images or labels (exit 3)."""

    exit_code = 3


class CheckpointError(LoupeError):
    """A checkpoint, run folder or weights file that is damaged or doesn't match (exit 4)."""

    exit_code = 4


class NumericError(LoupeError):
    """A loss or gradient that is NaN or infinite (exit 5)."""

    exit_code = 5


class ResourceError(LoupeError):
    """No disk space, memory or device, or a run folder that is in use (exit 6)."""

    exit_code = 6


class HungError(ResourceError):
    """A thread made no progress for too long. It may still be running: the command exits without
    waiting for it, as Python otherwise would.
    """


class VerdictError(LoupeError):
    """A check found an error in data or model, and check.level is strict (exit 7)."""

    exit_code = 7


class RankFailed(ResourceError):
    """Another rank failed first and reports why; this one ends with the same exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message, "see the error of the other rank")
        self.exit_code = exit_code


class Interrupted(LoupeError, KeyboardInterrupt):
    """The run was stopped by Ctrl-C; its last checkpoint is in the run folder (exit 130).

    It is a KeyboardInterrupt too, so that a script catches Ctrl-C as it does anywhere.
    """

    exit_code = 130


class Terminated(LoupeError):
    """The run was stopped by SIGTERM; its last checkpoint is in the run folder (exit 143)."""

    exit_code = 143


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """A hint with the nearest of `known`; if none is near, `otherwise` or a list of all.

    >>> did_you_mean("adm", ["adam", "sgd"])
    "did you mean 'adam'?"
    """
    options = sorted(known)
    near = difflib.get_close_matches(word, options, n=3, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(f"'{printable(name)}'" for name in near) + "?"
    return otherwise or "known: " + ", ".join(options)


def printable(text: object, limit: int = 200) -> str:
    """`text` safe to print on a terminal: control characters escaped, length limited.

    Class names and file names are untrusted: an escape sequence must not reach the terminal,
    and a newline must not break the two lines of an error. A `Path` is never shortened, whatever
    `limit` says: a hint is there to be copied.
    """
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)
    )
    if len(shown) <= limit or isinstance(text, PurePath):
        return shown
    return shown[: limit - 1] + "…"
