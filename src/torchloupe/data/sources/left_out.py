"""Images that are left out of a set: how many of each kind, with an example."""

from collections import Counter
from collections.abc import Mapping

from torchloupe.data.sources.source import name_some
from torchloupe.errors import printable
from torchloupe.units import plural


class LeftOut:
    """A count and an example, the first by name, of each kind of image that is left out."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def add(self, kind: str, name: str) -> None:
        """One more of a kind, such as `in masks/`."""
        self._counts[kind] += 1
        self._examples[kind] = min(name, self._examples.get(kind, name))

    def notes(self, one: str, several: str, end: str) -> list[str]:
        """A note on each kind; `one` and `several` name the images, `end` says what becomes."""
        return [
            f"{plural(count, one, several)} {kind}, such as "
            f"{name_some([self._examples[kind]])}: {end}"
            for kind, count in self._counts.items()
        ]


def note_own(own: Mapping[str, str]) -> str:
    """The note on folders that torchloupe wrote: what each of them is, by its path."""
    shown = [f"'{printable(name)}' ({what})" for name, what in own.items()]
    more = f" and {len(shown) - 3:,} more" if len(shown) > 3 else ""
    return f"written by torchloupe, not data: {', '.join(shown[:3])}{more}"
