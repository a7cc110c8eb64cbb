"""Names that look the same: accents in two encodings, `Cat` and `cat`, `0` and `0.0`.

An accented letter may be stored as one character or as a letter and an accent; both are one name.
Other names that look alike stay apart, and are pointed out.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from torchloupe.data.sources.source import name_some
from torchloupe.errors import printable

_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")


def compose(name: str) -> str:
    """The name with each accented letter as one character (Unicode NFC)."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def note_joined(found: Iterable[str]) -> tuple[str, ...]:
    """A note on names that are joined, since they differ only in how accents are stored."""
    seen: dict[str, set[str]] = {}
    for name in found:
        seen.setdefault(compose(name), set()).add(name)
    joined = sorted(name for name, spellings in seen.items() if len(spellings) > 1)
    if not joined:
        return ()
    is_one = "is one class" if len(joined) == 1 else "are one class each"
    return (f"{name_some(joined)} {is_one}: the accents are stored in two ways",)


def note_twins(names: Sequence[str]) -> tuple[str, ...]:
    """A note on classes whose names look the same."""
    seen: dict[str, list[str]] = {}
    for name in names:
        seen.setdefault(_appearance(name), []).append(name)
    return tuple(
        f"{_list_twins(alike)} are {len(alike)} classes whose names look the same: give them one "
        "name if they are one class"
        for alike in seen.values()
        if len(alike) > 1
    )


def find_twin(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that looks the same as `name`, and is another."""
    wanted = _appearance(name)
    return next((other for other in names if other != name and _appearance(other) == wanted), None)


def find_longer(name: str, names: Iterable[str]) -> str | None:
    """The only one of `names` that begins with `name` and goes on, or the other way round."""
    found = [n for n in names if _goes_on(n, name) or _goes_on(name, n)]
    return found[0] if len(found) == 1 else None


def _goes_on(longer: str, shorter: str) -> bool:
    rest = longer.removeprefix(shorter)
    return bool(shorter) and rest not in ("", longer) and not rest[0].isalnum()


def _list_twins(names: Sequence[str]) -> str:
    shown = [f"'{printable(name, 60)}'" for name in names]
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def _appearance(name: str) -> str:
    """The name without what a reader overlooks: case, width, spaces, hyphens, leading zeros."""
    plain = _INVISIBLE.sub("", unicodedata.normalize("NFKC", name)).casefold()
    sign = "-" if re.match(r"\s*-\d", plain) else ""  # of a number
    plain = sign + re.sub(r"[\s_\-‐-―]+", " ", plain).strip()  # noqa: RUF001 - dashes of all lengths
    if re.fullmatch(r"\d{1,15}(\.0*)?", plain):
        return str(int(plain.partition(".")[0]))
    return unicodedata.normalize("NFC", plain)
