"""What a run changes in the process that it runs in, and puts back when it ends.

The number of threads decides how sums are split, and with it the last bits of every later run; a
seed of the run left behind would give two models made after two runs the same weights.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from torchloupe.system.seeding import rng_preserved


@contextmanager
def process_settings_kept() -> Iterator[None]:
    """Afterwards torch has the number of threads, and the strictness, that it had before, and the
    generators of torch, numpy and `random` are where they were. Inside, gradients are recorded,
    also where they were switched off.
    """
    threads = torch.get_num_threads()
    is_strict = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    states = _states_of_gpus()
    try:
        with rng_preserved(), torch.enable_grad():
            yield
    finally:
        for generator, state in states:
            generator.set_state(state)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        if torch.are_deterministic_algorithms_enabled() != is_strict:
            torch.use_deterministic_algorithms(is_strict, warn_only=warns)


def _states_of_gpus() -> list[tuple[torch.Generator, torch.Tensor]]:
    """The generator of each GPU with its state; none where nothing has used a GPU yet."""
    if not torch.cuda.is_available() or not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return []
    return [(each, each.get_state()) for each in torch.cuda.default_generators]
