"""Tables: what was measured, on what, with which versions, and how it is written down."""

import os
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from turns import Spread

RESULTS = Path(__file__).parent / "results"
PINNED = Path(__file__).parent / "requirements.txt"
# The widest vector instructions that this processor has, best first.
INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2", "asimd")
# torch, oneDNN and MKL use no newer instructions in a process that starts with these.
AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
SHORT = {"amx_bf16": "amx", "avx512_bf16": "avx512bf16", "avx512f": "avx512", "asimd": "neon"}


@dataclass
class Table:
    """Rows of text below a title, with what a reader needs to judge them."""

    name: str  # of the result's file
    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # how it was measured
    goals: list[str] = field(default_factory=list)  # what was wanted, and whether it was met

    def add(self, *cells: str) -> None:
        """Append a row."""
        self.rows.append(cells)

    def expect(self, what: str, goal: str, seen: str, is_met: bool) -> None:
        """Note what this table should show and what it shows."""
        self.goals.append(f"{what}: wanted {goal}, seen {seen}: {'met' if is_met else 'NOT met'}")

    def to_markdown(self) -> str:
        """The whole table as a section of a page."""
        lines = [f"## {self.title}", ""]
        lines += ["| " + " | ".join(self.columns) + " |", "|---" * len(self.columns) + "|"]
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        for block in (self.goals, self.notes):
            lines += ["", *(f"- {text}" for text in block)] if block else []
        return "\n".join(lines) + "\n"

    def save(self, command: str) -> Path:
        """Write it to results/, named by what, hardware and month; an older one is replaced."""
        now = datetime.now(UTC)
        path = RESULTS / f"{self.name}-{name_hardware()}-{now:%Y-%m}.md"
        RESULTS.mkdir(exist_ok=True)
        facts = [
            f"{now:%Y-%m-%d}, `{command}`",
            "",
            f"{describe_hardware()}. {describe_versions()}.",
            "",
        ]
        path.write_text("\n".join([*facts, self.to_markdown()]), encoding="utf-8")
        return path


def ratio(above: Spread, below: Spread) -> float:
    """How many times the one median is the other."""
    return above.median / below.median


def core_count() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def name_hardware() -> str:
    """`2core-avx512`: cores and vector instructions, fit for a file name."""
    if is_avx2_imitated():
        return f"{core_count()}core-avx2-imitated"
    flags = _processor_words("flags", "Features")
    found = next((name for name in INSTRUCTIONS if name in flags), platform.machine().lower())
    return f"{core_count()}core-{SHORT.get(found, found)}"


def describe_hardware() -> str:
    """The processor's own name, cores, memory and system, as a line for people."""
    model = " ".join(_processor_words("model name")) or platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    imitated = ", AVX2 imitated" if is_avx2_imitated() else ""
    return f"{model}{imitated}, {core_count()} cores, {memory:.0f} GiB, {platform.system()}"


def is_avx2_imitated() -> bool:
    """Whether this process and those that it starts use no newer instructions than AVX2."""
    return all(os.environ.get(name) == value for name, value in AVX2.items())


def imitate_avx2() -> None:
    """Start this process anew, with AVX2 alone, unless it is so."""
    if not is_avx2_imitated():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **AVX2})


def describe_versions() -> str:
    """Python and every package of requirements.txt that is installed, with its version."""
    names = re.findall(r"^([A-Za-z0-9_.-]+)==", PINNED.read_text(encoding="utf-8"), re.MULTILINE)
    found = [f"Python {platform.python_version()}"]
    for name in ["torchloupe", *names]:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _processor_words(*keys: str) -> list[str]:
    """The words of the first of these lines in /proc/cpuinfo; none where there is no such file."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in keys:
            return value.split()
    return []
