"""The peak memory of each phase of a run: of torch's allocator on a GPU, else of the process.

Peak counters are reset at each change of phase. On systems that can't do that (macOS, Windows) a
phase has the highest peak so far.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from torchloupe.system.limits import read_status

try:
    import resource
except ImportError:  # Windows has no such module
    resource = None  # type: ignore[assignment]

_RESET = Path("/proc/self/clear_refs")


class Peaks:
    """Bytes by phase; phases may lie inside each other, each counted by itself."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes: dict[str, int] = {}
        self._open: list[str] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A context whose peak memory counts for the phase `name`."""
        self._settle()
        self._open.append(name)
        try:
            yield
        finally:
            self._settle()
            self._open.pop()

    def _settle(self) -> None:
        """Record the peak since the last change of phase."""
        if self._open:
            name = self._open[-1]
            self.bytes[name] = max(self.bytes.get(name, 0), peak_memory_bytes(self.device))
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        elif self.device.type == "cpu":
            with suppress(OSError):
                _RESET.write_text("5")  # of this process: the peak of its resident memory


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory used: by torch's allocator on a GPU, by this process on the CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if device.type == "mps":
        return int(torch.mps.driver_allocated_memory())
    if highest := read_status("VmHWM"):
        return highest
    if resource is None:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, others kB
