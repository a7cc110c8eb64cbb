"""Optimizers that evaluate the loss themselves, through a closure.

LBFGS does, SAM does, and others that are written after them. A step on mini-batches has none.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.optim import Optimizer

from torchloupe.errors import LoupeError, UsageError, printable


@contextmanager
def closures_named(optimizer: Optimizer) -> Iterator[None]:
    """A context in which a step of `optimizer` that lacks a closure ends in a UsageError."""
    try:
        yield
    except LoupeError:
        raise
    except Exception as error:
        if not lacks_closure(error):
            raise
        raise closure_error(printable(type(optimizer).__name__)) from error


def closure_error(name: str) -> UsageError:
    """The error for an optimizer that can't do without a closure."""
    return UsageError(
        f"{name} evaluates the loss several times per step through a closure, which a "
        "training step on mini-batches does not have",
        "use adam or sgd, or call it in a loop of your own",
    )


def lacks_closure(error: Exception) -> bool:
    """Whether an error is about the missing closure, or was raised where that is None."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    frame = None if trace is None else trace.tb_frame
    is_named = isinstance(error, (AssertionError, TypeError, ValueError, RuntimeError))
    if is_named and "closure" in str(error):
        return True
    is_there = frame is not None and frame.f_code.co_name == "step"
    is_none = is_there and frame is not None and frame.f_locals.get("closure", "") is None
    return is_none and isinstance(error, (AssertionError, TypeError))
