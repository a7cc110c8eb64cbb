"""Commands on several GPUs: the command is started again in one process per GPU."""

from typing import Any

import typer

from torchloupe.distributed.rank import find_rank
from torchloupe.errors import UsageError


def is_first_rank() -> bool:
    """Whether this process prints results: it is the only one, or rank 0."""
    launched = find_rank()
    return launched is None or launched.rank == 0


def run_on_ranks(context: typer.Context, config: Any, *, at_most: bool = False) -> bool:
    """Run the command again, to its end, with a rank on each GPU that `config` asks for.

    Returns False and does nothing if one process is enough, or if ranks were started already.
    With `at_most`, fewer GPUs than in `config` are accepted.
    """
    settings = config.hardware
    if settings.gpus == "1" or settings.parallel == "dp" or find_rank() is not None:
        return False
    from torchloupe.hardware.device import choose_device, count_gpus

    place = choose_device(settings.device)
    if place.device.type != "cuda":
        if at_most:
            return False
        raise UsageError(
            f"--gpus {settings.gpus} needs CUDA devices, and this run uses {place.device}",
            "leave it out; ranks on the CPU start with torchrun --nproc-per-node N -m torchloupe",
        )
    count = count_gpus(settings.gpus, at_most=at_most)
    if count == 1:
        return False
    from torchloupe.distributed.launch import launch

    launch(count, context.find_root().obj["words"])
    return True


def refuse_ranks(config: Any) -> None:
    """UsageError if folds would be trained by several processes."""
    if config.hardware.gpus != "1" or find_rank() is not None:
        raise UsageError(
            "folds are trained one after the other in one process, and several were asked for",
            "leave --gpus and torchrun out, or train one fold: --set data.fold=1",
        )
