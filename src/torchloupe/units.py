"""Quantities as people read them: bytes, seconds, counts; and which steps something is due at."""


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
    """`1 image`, `2 images`, `3 classes` (`many` is an irregular plural)."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def is_due(step: int, every: int, last: int) -> bool:
    """Whether something done every `every` steps, and at step `last`, is due after step `step`.

    With `every` 0 it is never due, not even at the end.
    """
    return every > 0 and (step % every == 0 or step == last)
