"""Python's garbage collector, off while torch is imported.

Imports make hundreds of thousands of objects that stay, and the collector looks at all of them
again and again for garbage: a tenth of the time that importing torch takes.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_off() -> Iterator[None]:
    """A context without garbage collection, in which torch is imported for the first time.

    What is there at its end is never looked at again, so nothing changes where torch was imported
    before: garbage of a longer life would stay. A collector that is off stays off.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
