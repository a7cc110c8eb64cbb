"""Weights from a file, whatever program wrote it: named tensors and nothing else.

`fit_weights` matches them to a network by names, or by shapes in order.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from torchloupe.errors import CheckpointError, ResourceError, UsageError, printable
from torchloupe.units import plural

CHILD_SECONDS = 300
PREFIXES = (
    "module.", "body.", "body.network.", "backbone.", "model.", "encoder.", "network.",
    "_orig_mod.",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Weights:
    """Named tensors and their origin."""

    tensors: Mapping[str, Tensor]
    origin: str  # for people
    is_ordered: bool = False  # whether they are in the order of the layers


def read_weights(path: Path) -> Weights:
    """The tensors of a .safetensors file, or of a .pth, .pt or .bin that holds only tensors.

    A pickle is read in a child process (`foreign.py`). Raises UsageError if there is no file,
    CheckpointError if it is damaged or holds anything but tensors.
    """
    if not path.is_file():
        raise UsageError(
            f"there is no weights file {printable(path)}",
            "give a .safetensors file, or a .pth of tensors",
        )
    try:
        with path.open("rb") as file:
            start = file.read(9)
        is_pickle = not (start[8:] == b"{" and int.from_bytes(start[:8], "little") < 10**8)
        if not is_pickle:
            return Weights(safetensors.torch.load_file(path), printable(path))
        with tempfile.TemporaryDirectory(prefix="torchloupe-") as folder:
            converted = Path(folder) / "weights.safetensors"
            _convert(path, converted)
            numbered = sorted(safetensors.torch.load_file(converted).items())
            tensors = {name.partition(" ")[2]: tensor for name, tensor in numbered}
            return Weights(tensors, printable(path), is_ordered=True)
    except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"the weights file {printable(path)} can't be read: {printable(error)}",
            "copy it again, or give another one",
        ) from None


def _convert(source: Path, target: Path) -> None:
    """Have a child process write the tensors of a pickle as safetensors."""
    command = [sys.executable, "-I", str(Path(__file__).with_name("foreign.py"))]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TORCH_")}
    try:
        done = subprocess.run(
            [*command, str(source.resolve()), str(target)],
            capture_output=True,
            timeout=CHILD_SECONDS,
            env=kept,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ResourceError(
            f"the weights file {printable(source)} took more than {CHILD_SECONDS} s to read",
            "convert it to safetensors first",
        ) from None
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = printable(lines[-1]) if lines else f"its reader ended with {done.returncode}"
        raise CheckpointError(
            f"the weights file {printable(source)} is not a file of tensors: {reason}",
            "nothing in it was run; if you trust it, load it in a program of your own and write "
            "its state_dict with safetensors.torch.save_file",
        )


def fit_weights(module: nn.Module, weights: Weights) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors for `module`, under its own names, and the names in `weights` not used.

    Tensors are matched by name, with or without a common prefix; if that fails and they are
    ordered, by shape in order, where at most four may remain (a last layer). Raises
    CheckpointError if they don't fit.
    """
    own, given = module.state_dict(), weights.tensors
    for prefix in ("", *PREFIXES):
        names = {name.removeprefix(prefix): name for name in given}
        if all(name in names or _is_count(own[name]) for name in own):
            taken = {name: given[names[name]] for name in own if name in names}
            used = {names[name] for name in taken}
            return _checked(own, taken, weights), [name for name in given if name not in used]
    wanted = {name: tensor for name, tensor in own.items() if not _is_count(tensor)}
    in_order = [(name, tensor) for name, tensor in given.items() if not _is_count(tensor)]
    pairs = list(zip(wanted, in_order, strict=False))
    left_over = [name for name, _ in in_order[len(wanted) :]]
    shapes_match = all(wanted[name].shape == tensor.shape for name, (_, tensor) in pairs)
    is_whole = len(pairs) == len(wanted) and len(left_over) <= 4
    if weights.is_ordered and is_whole and shapes_match:
        return {name: tensor for name, (_, tensor) in pairs}, left_over
    raise _misfit(own, weights)


def digest_weights(module: nn.Module) -> str:
    """SHA-256, 64 hex digits, of every name and bit of the module's weights and buffers."""
    hashed = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        hashed.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
        hashed.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return hashed.hexdigest()


def _is_count(tensor: Tensor) -> bool:
    """Whether it is a BatchNorm's num_batches_tracked, which old files lack."""
    return tensor.ndim == 0 and not tensor.is_floating_point()


def _checked(
    own: Mapping[str, Tensor], taken: dict[str, Tensor], weights: Weights
) -> dict[str, Tensor]:
    wrong = [name for name in taken if taken[name].shape != own[name].shape]
    if wrong:
        name = wrong[0]
        raise CheckpointError(
            f"the weights of {weights.origin} don't fit: {printable(name)} is "
            f"{tuple(taken[name].shape)}, wanted {tuple(own[name].shape)}",
            "give weights of the same architecture, or choose it with --model timm:NAME",
        )
    return taken


def _misfit(own: Mapping[str, Tensor], weights: Weights) -> CheckpointError:
    missing = [name for name in own if name not in weights.tensors]
    first = next(iter(weights.tensors), "nothing")
    return CheckpointError(
        f"the weights of {weights.origin} don't fit: {plural(len(missing), 'tensor')} of "
        f"{len(own)} are missing, such as {printable(missing[0])}; the first in the file is "
        f"{printable(first)}",
        "give weights of the same architecture, or choose it with --model timm:NAME",
    )
