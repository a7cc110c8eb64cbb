"""Errors of trackers: refused before the first step, a warning after it."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from torchloupe.errors import UsageError, printable

Method = TypeVar("Method", bound=Callable[..., None])


def refusal(name: str, error: Exception) -> UsageError:
    """The error of a tracker, in two lines."""
    return UsageError(
        f"{name} can't track this run: {printable(error)}",
        "check its settings and environment variables, or leave it out of --set track=...",
    )


def refuse_when_failing(method: Method) -> Method:
    """`method`, called before the first step, with the tracker's own errors as a UsageError."""

    @functools.wraps(method)
    def carefully(self: Any, *arguments: Any) -> None:
        try:
            method(self, *arguments)
        except Exception as error:
            self.failed = True
            raise refusal(type(self).__name__, error) from error

    return carefully  # type: ignore[return-value]


def drop_when_failing(method: Method) -> Method:
    """`method`, with the first error of a tracker as a warning and no calls afterwards."""

    @functools.wraps(method)
    def carefully(self: Any, *arguments: Any) -> None:
        if self.failed:
            return
        try:
            method(self, *arguments)
        except Exception as error:
            self.failed = True
            warnings.warn(
                f"{type(self).__name__} stopped tracking: {printable(error)}; "
                "events.jsonl has everything",
                RuntimeWarning,
                stacklevel=2,
            )

    return carefully  # type: ignore[return-value]
