"""Opened runs by their models: one that is trained afterwards would take the weights of the run
with it.
"""

import weakref
from typing import Any, TypeVar

Opened = TypeVar("Opened")

_OPENED: "weakref.WeakValueDictionary[int, Any]" = weakref.WeakValueDictionary()


def remember(run: Opened) -> Opened:
    """The run that was opened, known by its model from now on."""
    _OPENED[id(run.model)] = run  # type: ignore[attr-defined]
    return run


def run_of(model: object) -> Any:
    """The opened run that has a model; None for any other model."""
    run = _OPENED.get(id(model))
    return run if run is not None and run.model is model else None
