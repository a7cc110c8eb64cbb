"""Files that a set should have and lacks: `train-00001-of-00003`, or a number between others."""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath

from torchloupe.data.sources.source import name_some
from torchloupe.units import plural

_TOTAL = re.compile(r"(?P<before>.*?)(?P<number>\d+)(?P<middle>-of-)(?P<total>\d+)(?P<after>.*)")
_NUMBER = re.compile(r"(?P<before>.*?)(?P<number>\d{3,})(?P<after>\D*)")
_MOST_TOTAL = 100_000  # files, of which a name says how many there are
_MOST_SHARE = 0.5  # of the numbers between others that may be missing files, and no other count


def note_missing(paths: Iterable[PurePath]) -> tuple[str, ...]:
    """A note on files that the names of `paths` say there are, and that are not among them."""
    groups: dict[tuple[str, ...], list[re.Match[str]]] = {}
    for path in paths:
        form = _TOTAL if _TOTAL.fullmatch(path.name) else _NUMBER
        if match := form.fullmatch(path.name):
            rest = [text for name, text in match.groupdict().items() if name != "number"]
            key = (form.pattern, str(path.parent), *rest, str(len(match["number"])))
            groups.setdefault(key, []).append(match)
    lost, total = list[str](), 0
    for matches in groups.values():
        missing = _missing_of(matches)
        lost += missing
        total += len(matches) + len(missing) if missing else 0
    if not lost:
        return ()
    are = "is" if len(lost) == 1 else "are"
    return (f"{len(lost):,} of {plural(total, 'file')} {are} missing: {name_some(lost, 3)}",)


def _missing_of(matches: Sequence[re.Match[str]]) -> list[str]:
    """The names that are missing of files which differ in their number alone."""
    numbers = {int(match["number"]) for match in matches}
    if "total" in (first := matches[0]).groupdict():
        count = int(first["total"])
        start = 1 if count in numbers else 0
        wanted = range(start, start + count) if count <= _MOST_TOTAL else range(0)
    else:
        wanted = range(min(numbers), max(numbers) + 1)
        wanted = wanted if len(numbers) > _MOST_SHARE * len(wanted) else range(0)
    name, (begin, end) = first.string, first.span("number")
    width = end - begin
    return [f"{name[:begin]}{k:0{width}}{name[end:]}" for k in wanted if k not in numbers]


def note_missing_batches(names: Iterable[str]) -> tuple[str, ...]:
    """A note on batches that a folder of CIFAR-10 or of the downsampled ImageNet lacks."""
    found = set(names)
    for ending in ("", ".bin"):
        for form, count, test in (
            ("data_batch_{}", 5, "test_batch"),
            ("train_data_batch_{}", 10, "val_data"),
        ):
            wanted = [f"{form.format(k)}{ending}" for k in range(1, count + 1)]
            if not found & set(wanted):
                continue
            lost = [name for name in (*wanted, f"{test}{ending}") if name not in found]
            if lost:
                are = "is" if len(lost) == 1 else "are"
                return (f"{plural(len(lost), 'file')} of the set {are} missing: {name_some(lost)}",)
    return ()
