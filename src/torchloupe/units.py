"""Quantities as people write and read them: bytes, seconds, counts, and what is due when."""

import re

_BYTE_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_BYTE_UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}


def parse_bytes(text: str | int) -> int:
    """Bytes from `"64MB"`, `"1.5 GiB"` or a plain number; ValueError for anything else."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-zA-Z]*)\s*", str(text))
    if not match or match[2].lower() not in _BYTE_UNITS:
        raise ValueError(f"{text!r} is not a size in bytes such as 64MB or 1.5GiB")
    return round(float(match[1]) * _BYTE_UNITS[match[2].lower()])


def format_bytes(count: float) -> str:
    """`1.5 GB` from 1_500_000_000; decimal units, three digits at most."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.5 else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def format_seconds(seconds: float) -> str:
    """`4.2 s`, `3 min 05 s` or `2 h 07 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def format_count(count: float) -> str:
    """`1,797` below a million, `11.7 M` and `1.2 G` above."""
    if abs(count) < 1e6:
        return f"{count:,.0f}"
    return f"{count / 1e6:.3g} M" if abs(count) < 1e9 else f"{count / 1e9:.3g} G"


def plural(count: int, noun: str, many: str = "") -> str:
    """`1 image`, `2 images`, `3 classes` (`many` where an s is not enough)."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def is_due(step: int, every: int, last: int) -> bool:
    """Whether something done every `every` steps, and at step `last`, is due after `step` steps.

    `every` 0 means never, not even at the end.
    """
    return every > 0 and (step % every == 0 or step == last)
