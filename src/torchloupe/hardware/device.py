"""Which device a run uses, and why: asked for and obeyed, or chosen and explained."""

from dataclasses import dataclass

import torch

from torchloupe.distributed.rank import Rank
from torchloupe.errors import ResourceError, UsageError, printable


@dataclass(frozen=True)
class DeviceChoice:
    """A device and the reason for it, as one line for people."""

    device: torch.device
    reason: str


def choose_device(asked: str = "auto", launched: Rank | None = None) -> DeviceChoice:
    """The device asked for, or the best that is there for `"auto"`: cuda, then mps, then cpu.

    Each rank (`launched`) has the GPU of its local rank. Raises ResourceError for a device that
    is not there; never falls back to another one silently.
    """
    own = launched.local_rank if launched else 0
    if asked == "auto":
        if torch.cuda.is_available():
            device = torch.device("cuda", own)
            _check_present(device, str(device))
            reason = f"the GPU of local rank {own}" if launched else "found first"
            return DeviceChoice(device, f"{torch.cuda.get_device_name(device)}, {reason}")
        if torch.backends.mps.is_available():
            return DeviceChoice(torch.device("mps"), "Apple GPU; no CUDA device is visible")
        return DeviceChoice(torch.device("cpu"), "no GPU that this torch can use is visible")
    try:
        device = torch.device(asked)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(
            f"--device takes auto, cpu, cuda, cuda:N or mps, got {printable(asked)!r}",
            "leave it out to have the device chosen",
        )
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", own)
    elif device.type == "cuda" and launched and launched.local_size > 1:
        raise UsageError(
            f"--device {device} is one GPU, and {launched.local_size} ranks were started here",
            "use --device cuda, which gives each rank its own",
        )
    _check_present(device, printable(asked))
    return DeviceChoice(device, "asked for")


def count_gpus(asked: str, *, at_most: bool = False) -> int:
    """The number of CUDA devices for `asked`, a number or "all".

    Raises ResourceError if there are fewer; with `at_most` returns how many there are.
    """
    there = torch.cuda.device_count()
    wanted = there if asked == "all" else int(asked)
    if wanted > there and not at_most:
        raise ResourceError(
            f"{wanted} GPUs were asked for, and this machine shows {there}",
            "use --gpus all for all of this machine's",
        )
    return max(1, min(wanted, there))


def _check_present(device: torch.device, asked: str) -> None:
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            seen = (
                f"this machine shows {count} CUDA devices" if count else "no CUDA device is visible"
            )
            raise ResourceError(
                f"device {asked} was asked for, but {seen}",
                "check nvidia-smi and that torch was built for CUDA, or use --device cpu",
            )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ResourceError(
            "device mps was asked for, but this machine has none", "use --device cpu"
        )


def wait_for(device: torch.device) -> None:
    """Wait until everything queued on `device` has run (nothing to wait for on the CPU)."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def seed_step(device: torch.device, seed: int) -> None:
    """Seed the generators that model code on `device` draws from; about a microsecond on the CPU.

    Cheaper than `torch.manual_seed`, which visits every backend.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
