"""The errors torchloupe raises on purpose, each with the exit code of the command.

An error is two lines: what is wrong (the rule, the place, what was seen) and one thing to do.
The command prints them as `error:` and `hint:`; from Python both are attributes.
"""

import difflib
from collections.abc import Iterable


class LoupeError(Exception):
    """Anything torchloupe refuses or can't go on with; `hint` says one thing to do about it."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class UsageError(LoupeError):
    """A setting, flag or argument that can't be honoured (exit 2)."""

    exit_code = 2


class DataError(LoupeError):
    """Images or labels that can't be used as they are (exit 3)."""

    exit_code = 3


class CheckpointError(LoupeError):
    """A checkpoint, run folder or weights file that is damaged or doesn't fit (exit 4)."""

    exit_code = 4


class NumericError(LoupeError):
    """A loss or gradient that stopped being a finite number (exit 5)."""

    exit_code = 5


class ResourceError(LoupeError):
    """Disk, memory, a lock or a device that is not to be had (exit 6)."""

    exit_code = 6


class HungError(ResourceError):
    """Something gave no sign of life. Its thread may be there still, and Python would wait for
    it at exit; a command doesn't.
    """


class RankFailed(ResourceError):  # noqa: N818
    """Another rank failed first and says why itself; this one ends with the same exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message, "see what the other rank said")
        self.exit_code = exit_code


class Interrupted(LoupeError):  # noqa: N818 - a stop that was asked for, not a mistake
    """The run was stopped by Ctrl-C; its last checkpoint is in the run folder (exit 130)."""

    exit_code = 130


class Terminated(LoupeError):  # noqa: N818
    """The run was stopped by SIGTERM; its last checkpoint is in the run folder (exit 143)."""

    exit_code = 143


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """A hint that names the nearest of `known`; where none is near, `otherwise` or all of them.

    >>> did_you_mean("adm", ["adam", "sgd"])
    "did you mean 'adam'?"
    """
    options = sorted(known)
    near = difflib.get_close_matches(word, options, n=3, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(f"'{printable(name)}'" for name in near) + "?"
    return otherwise or "known: " + ", ".join(options)


def printable(text: object, limit: int = 200) -> str:
    """`text` safe to print on a terminal: control characters escaped, length capped.

    Class names and file names come from strangers; an escape sequence in one must not
    reach a terminal, and a newline in one must not break the two lines of an error.
    """
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)
    )
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
