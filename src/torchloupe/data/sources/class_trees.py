"""The folders inside class folders, and those among them that are called like classes."""

from collections.abc import Mapping

from torchloupe.data.sources.source import name_some
from torchloupe.data.sources.split_names import is_filler
from torchloupe.data.sources.walk import Walk
from torchloupe.errors import printable


def find_sets_inside(trees: Mapping[str, Mapping[str, set[str]]]) -> dict[str, list[str]]:
    """The class folders in which others stand once more, by name, and where in each.

    That is all of the others, or several that are half of what is there. `trees` are the class
    folders, each with the folders in it that hold folders, and their names. Of two folders it is
    one whose name says nothing: `data/photos/` beside `photos/`.
    """
    names = set(trees)
    found: dict[str, list[str]] = {}
    for name, tree in trees.items():
        others = names - {name}
        places = [place for place, inner in tree.items() if _holds_most(inner, others)]
        if places and (len(names) > 2 or (len(names) == 2 and is_filler(name))):
            found[name] = sorted(places)
    rest = [inner for name in names - set(found) for inner in trees[name].values()]
    if names & set().union(*rest) or len(names) == len(found):
        return {}  # folders in all of them are called as classes are: numbers in numbers
    return found


def _holds_most(inner: set[str], others: set[str]) -> bool:
    shared = len(inner & others)
    return others <= inner or (shared > 1 and 2 * shared >= len(inner))


def note_called_like(trees: Mapping[str, Mapping[str, set[str]]]) -> list[str]:
    """A note on folders inside a class that are called like another class: `cat/dog/1.jpg`.

    None where most classes hold such folders: numbers in numbers.
    """
    found = {
        name: f"{place}/{min(shared)}"
        for name, tree in trees.items()
        for place, inner in tree.items()
        if (shared := inner & (set(trees) - {name}))
    }
    if not found or 2 * len(found) > len(trees):
        return []
    where = name_some(found, 3)
    if len(found) > 1:
        return [
            f"{name_some(found.values(), 3)} are called like other classes, and their images are "
            f"of the classes {where}"
        ]
    (place,) = found.values()
    return [
        f"'{printable(place)}' is called like another class, and its images are of the class "
        f"{where}"
    ]


def find_trees(
    walk: Walk, prefix: str, names: Mapping[str, object]
) -> dict[str, dict[str, set[str]]]:
    """Of each class folder: every folder in it that holds folders, with the names of these."""
    trees: dict[str, dict[str, set[str]]] = {name: {} for name in names}
    for folder in walk.folders:
        if folder.startswith(prefix):
            inner = folder.removeprefix(prefix)
            above, _, last = inner.rpartition("/")
            name = inner.partition("/")[0]
            if above and name in trees:
                trees[name].setdefault(above, set()).add(last)
    return trees


def through_fillers(name: str, tree: Mapping[str, set[str]]) -> set[str]:
    """The folders in a class folder, or in the only one there: if that holds folders in turn, or
    has a name that says nothing.
    """
    inner = tree.get(name, set())
    while len(inner) == 1:
        only = next(iter(inner))
        if not is_filler(only) and f"{name}/{only}" not in tree:
            break
        name = f"{name}/{only}"
        inner = tree.get(name, set())
    return inner
