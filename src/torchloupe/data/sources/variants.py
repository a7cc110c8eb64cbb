"""Folders that hold one set in several ways: `color/` and `grayscale/`, `32x32/` and `64x64/`.

Their names tell how images were made, and what is a class stands in each of them once more.
"""

import re
from collections.abc import Iterable, Mapping

from torchloupe.data.sources.source import name_some
from torchloupe.errors import DataError, printable

# Words for a way in which images were made or kept, which tell no class.
_OF_PROCESSING = re.compile(
    r"(original|orig|raw|aug|augmented|augmentation|resized|cropped|enhanced|processed|preprocessed"
    r"|normali[sz]ed|filtered|grayscale|greyscale|gray|grey|colou?r|rgb|segmented|background"
    r"|dataset|data|images|version|v|x|px|hr|lr|hd|sd|high|low|res|resolution|quality|small|large"
    r"|hospital|clinic|site|cent(er|re)|scanner|camera|cam|sensor|device|session|\d+|[a-z])",
    re.IGNORECASE,
)

_SAY_WHICH = (
    "give one of these folders, or say what the class is: data.label_pattern='([^/]+)/[^/]+$' "
    "takes the last folder of all of them, '^([^/]+)/' the first"
)
# Words for what a picture shows of a thing, which stand below its class.
_VIEWS = frozenset(
    (
        *("left", "right", "front", "back", "rear", "side", "top", "bottom", "up", "down", "view"),
        *("day", "night", "indoor", "outdoor", "inside", "outside", "old", "new", "near", "far"),
        *("male", "female", "men", "women", "close", "closeup", "wide", "frontal", "lateral"),
    )
)
_OF_CLASSES = frozenset(("class", "label", "category", "grade", "type", "stage", "level", "degree"))


def refuse_variants(shown: str, children: Mapping[str, set[str]], hint: str) -> None:
    """DataError where folders hold one set in several ways, its classes by first letter, or files
    by their hashes; `hint` is for these.
    """
    names = sorted(children)
    inner: set[str] = set().union(*children.values())
    is_lettered = any(re.search("[a-f]", name) for name in (*names, *inner))
    if is_lettered and all(children.values()) and _are_hashes(names) and _are_hashes(inner):
        raise DataError(
            f"{shown} sorts its files by the beginnings of their names: "
            f"{name_some([f'{names[0]}/{min(children[names[0]])}', names[-1]])} are no classes",
            hint,
        )
    first = children[names[0]] if names else set()
    is_one = len(names) > 1 and len(first) > 1 and all(children[name] == first for name in names)
    if is_one and all(map(_says_processing, names)):
        raise DataError(
            f"{shown} has {name_some(names, 3)} with the same class folders in each: "
            f"{name_some(sorted(first), 3)}",
            _SAY_WHICH,
        )
    if len(names) > 1 and all(_is_first_letter(name, children[name]) for name in names):
        inside = [f"{name}/{folder}" for name in names for folder in sorted(children[name])]
        raise DataError(
            f"{shown} sorts its class folders by their first letter: {name_some(inside, 3)}",
            "data.label_pattern='([^/]+)/[^/]+$' takes the last folder as the class",
        )


def refuse_same_inside(root: str, prefix: str, children: Mapping[str, set[str]]) -> None:
    """DataError where all folders below `prefix` hold folders of the same names: either may be the
    classes. `prefix` is "" or a split, and ends in "/".

    Inner folders of parts, views or ways, such as `left`, `sample_a`, `40X`, `resized`, are no
    classes, and numbers in numbers are noted elsewhere.
    """
    inner = list(children.values())
    shared = set.intersection(*inner) if len(inner) > 1 else set()
    are_numbers = all(name.isdigit() for name in (*children, *shared))
    is_most = len(shared) > 1 and 2 * len(shared) >= max(map(len, inner))
    if not is_most or are_numbers or all(map(_is_view, shared)) or _are_numbered(shared):
        return
    place = f"{root}/{prefix}".rstrip("/")
    raise DataError(
        f"{printable(place)} has {name_some(sorted(children), 3)} with the same folders in each: "
        f"{name_some(sorted(shared), 3)}; which are the classes is not certain",
        _SAY_WHICH.replace("'^(", f"'^{'[^/]+/' * prefix.count('/')}("),
    )


def _is_view(name: str) -> bool:
    words = re.findall(r"[^\W\d_]+", name.lower())
    is_way = re.search(r"[a-z]{2}|\dx\d", name.lower()) and _says_processing(name)
    return bool(is_way) or (bool(words) and all(word in _VIEWS for word in words))


def _are_numbered(names: Iterable[str]) -> bool:
    """Whether names differ by a number or letter alone, and aren't `class_1`, `class_2`."""
    cut = [
        re.fullmatch(r"([^\W\d_]{2,})[-_. ]*(\d+|(?<=[-_. ])[a-z])|(\d+)x", n.lower())
        for n in names
    ]
    stems = {found[1] for found in cut if found}
    return all(cut) and len(stems) == 1 and not stems & _OF_CLASSES


def _are_hashes(names: Iterable[str]) -> bool:
    """Whether several names are of one to three hexadecimal digits, as many in each."""
    found = list(names)
    is_hex = all(re.fullmatch("[0-9a-f]{1,3}", name) for name in found)
    return is_hex and len(set(map(len, found))) == 1 and len(found) > 1


def _is_first_letter(name: str, inner: set[str]) -> bool:
    """Whether a folder is one letter, with which all folders in it begin."""
    is_letter = len(name) == 1 and name.isalpha() and bool(inner)
    return is_letter and all(folder[:1].lower() == name.lower() for folder in inner)


def _says_processing(name: str) -> bool:
    """Whether a name is made of words for a way in which images were made; not of numbers alone."""
    words = re.findall(r"[^\W\d_]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))
    return not name.isdigit() and all(map(_OF_PROCESSING.fullmatch, words))
