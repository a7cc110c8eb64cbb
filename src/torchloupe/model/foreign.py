"""A separate program that converts pickled weights to safetensors, tensors only.

`weights.read_weights` runs it as a child process, with torch's tensors-only unpickler and with
resource limits, so that a malicious file reaches neither this process nor its memory.
"""

import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

SPARE_BYTES = 8 * 2**30  # limit on data memory, besides eight times the size of the file
CPU_SECONDS = 300
NESTED = ("state_dict", "model_state_dict", "model", "net", "network", "ema", "params")


def convert(source: str, target: str) -> int:
    """Write the tensors in `source` to `target`; 0, or 1 with the reason on stderr."""
    try:
        content = torch.load(source, map_location="cpu", weights_only=True)
        tensors = find_tensors(content)
    except Exception as error:  # a damaged or hostile pickle raises nearly anything
        reason = str(error).strip().splitlines() or [type(error).__name__]
        unsafe = [line for line in reason if "GLOBAL" in line or "Unsupported" in line]
        print((unsafe or reason)[0], file=sys.stderr)
        return 1
    if not tensors:
        print("it holds no tensors by name", file=sys.stderr)
        return 1
    numbered = {f"{n:08d} {name}": tensor for n, (name, tensor) in enumerate(tensors.items())}
    safetensors.torch.save_file(numbered, target)  # safetensors forgets their order
    return 0


def find_tensors(content: Any) -> dict[str, torch.Tensor]:
    """The named tensors in the content of a file: a state dict, or a dict that holds one."""
    found = content if isinstance(content, Mapping) else {}
    for name in NESTED:
        inner = found.get(name)
        if isinstance(inner, Mapping) and not any(map(torch.is_tensor, found.values())):
            return find_tensors(inner)
    return {
        name: tensor.detach().to_dense().contiguous().clone()
        for name, tensor in found.items()
        if isinstance(name, str) and isinstance(tensor, torch.Tensor)
    }


def limit_process(size_bytes: int) -> None:
    """Limit the time, memory and disk that this process may use, by the size of the file."""
    if os.name != "posix":
        return
    resource = importlib.import_module("resource")  # Windows has none
    data_bytes = SPARE_BYTES + 8 * size_bytes
    for kind, most in (
        ("RLIMIT_CPU", CPU_SECONDS),
        ("RLIMIT_DATA", data_bytes),
        ("RLIMIT_FSIZE", 2**20 + 4 * size_bytes),
        ("RLIMIT_CORE", 0),
    ):
        number = getattr(resource, kind, None)
        if number is None:
            continue
        _, hard = resource.getrlimit(number)
        soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(number, (soft, hard))


if __name__ == "__main__":
    limit_process(Path(sys.argv[1]).stat().st_size)
    sys.exit(convert(*sys.argv[1:]))
