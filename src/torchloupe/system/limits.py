"""What this process may use of the machine: memory under control groups and ulimits, and cores.

Asking costs a few file reads; nothing is remembered.
"""

import os
from collections.abc import Iterator
from pathlib import Path

try:
    import resource
except ImportError:  # Windows has no such module
    resource = None  # type: ignore[assignment]

UNLIMITED_BYTES = 2**60  # what control groups of version 1 say if there is no limit

_GROUPS = (  # limit and use, of control groups of version 2 and 1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def memory_limit_bytes() -> int:
    """The most memory this process can ever have: the machine's, its container's or ulimit's."""
    machine = _read_meminfo("MemTotal") or _guess_machine_bytes()
    return min([machine, *(limit for limit, _ in _limits())])


def available_memory_bytes() -> int:
    """Memory that is available now without swapping or being refused."""
    free = _read_meminfo("MemAvailable") or _guess_machine_bytes() // 2
    return max(0, min([free, *(limit - used for limit, used in _limits())]))


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_facts() -> dict[str, str]:
    """What the kernel says of the first core, by name; empty where it has no such table."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}


def _limits() -> Iterator[tuple[int, int]]:
    """(bytes allowed, bytes used) by each limit that is set."""
    for limit_file, used_file in _GROUPS:
        try:
            limit, used = int(Path(limit_file).read_text()), int(Path(used_file).read_text())
        except (OSError, ValueError):  # no such control group, or no limit ("max")
            continue
        if limit < UNLIMITED_BYTES:
            yield limit, used
    if resource is None:
        return
    for kind, field in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        limit, _ = resource.getrlimit(kind)
        if limit != resource.RLIM_INFINITY:
            yield limit, read_status(field)


def _read_meminfo(field: str) -> int:
    return _read_kilobytes(Path("/proc/meminfo"), field)


def read_status(field: str) -> int:
    """A field of this process in /proc/self/status, in bytes; 0 if there is none."""
    return _read_kilobytes(Path("/proc/self/status"), field)


def _read_kilobytes(path: Path, field: str) -> int:
    """A field of one of the kernel's tables, in bytes; 0 if there is none."""
    try:
        for line in path.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 0


def _guess_machine_bytes() -> int:
    """All memory of a machine that has no /proc."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 * 10**9
