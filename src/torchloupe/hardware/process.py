"""What a run changes in the process that it runs in, and puts back when it ends.

The number of threads decides how sums are split, and with it the last bits of every later run.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def process_settings_kept() -> Iterator[None]:
    """Afterwards torch has the number of threads, and the strictness, that it had before."""
    threads = torch.get_num_threads()
    is_strict = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        yield
    finally:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        if torch.are_deterministic_algorithms_enabled() != is_strict:
            torch.use_deterministic_algorithms(is_strict, warn_only=warns)
