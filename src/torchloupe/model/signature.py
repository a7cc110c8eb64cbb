"""The parameters of a class or function, without evaluating its annotations."""

import inspect
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

if sys.version_info >= (3, 14):
    # Annotations stay text: evaluating them fails on names imported for type checkers only.
    from annotationlib import Format

    _signature: Callable[..., inspect.Signature] = partial(
        inspect.signature, annotation_format=Format.STRING
    )
else:
    _signature = inspect.signature


def parameters_of(factory: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """The parameters of `factory`; None if they are unknown, as for some written in C."""
    try:
        return list(_signature(factory).parameters.values())
    except (TypeError, ValueError):
        return None


_LABELS = ("labels", "label", "targets", "target", "gt", "y")


def labels_taken(model: Any) -> str:
    """The argument of `forward` that would take labels, beside the images; empty for none.

    Models of transformers compute a loss of their own from such an argument, and don't need it.
    """
    if any(kind.__module__.partition(".")[0] == "transformers" for kind in type(model).__mro__):
        return ""
    names = [parameter.name for parameter in (parameters_of(model.forward) or ())[1:]]
    return next((name for name in names if name in _LABELS), "")
