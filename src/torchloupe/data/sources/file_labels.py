"""Labels in file names: `cat.0.jpg`, `dog_12.png`, or what a pattern finds in a path.

Without a pattern they are only taken where the names leave no doubt: a word and a number each, the
same few words again and again, and none that cameras and people give to any picture.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from torchloupe.data.sources.listing import Listing
from torchloupe.data.sources.source import name_some
from torchloupe.data.sources.split_names import read_split_name
from torchloupe.data.sources.walk import Walk
from torchloupe.data.split import TRAIN
from torchloupe.errors import DataError, UsageError, printable
from torchloupe.units import plural

FEWEST_EACH = 4.0  # images a class, on average, where no pattern was given
MOST_NAMED = 50  # classes without a pattern
_NUMBERED = re.compile(r"(?P<label>[^\W\d_]{2,}(?:[-_. ]+[^\W\d_]+)*)[-_. ]*\(?\d+\)?")
# Words before a number that say nothing of what is in the picture.
_ANYTHING = frozenset(
    (
        *("img", "image", "images", "im", "photo", "photos", "picture", "pic", "dsc", "dscn"),
        *("dscf", "pxl", "mvi", "gopr", "frame", "frames", "file", "scan", "sample", "example"),
        *("data", "item", "screenshot", "untitled", "copy", "id", "no", "nr", "patient", "subject"),
        *("case", "person", "user", "slide", "video", "clip", "page", "tile", "patch", "crop"),
        *("part", "view", "camera", "cam", "scene", "shot", "batch", "fold", "set", "object"),
    )
)


def make_pattern(text: str) -> re.Pattern[str]:
    """The pattern of data.label_pattern; UsageError for one that is none or has other groups."""
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UsageError(
            f"data.label_pattern={printable(text)!r} is no regular expression: {error}",
            r"for example data.label_pattern='(\w+)_\d+\.png$' for cat_12.png",
        ) from None
    if pattern.groups != 1 and "label" not in pattern.groupindex:
        raise UsageError(
            f"data.label_pattern={printable(text)!r} has {plural(pattern.groups, 'group')}, and "
            "one is the class",
            r"put the class in brackets: '(\w+)_\d+\.png$', or call the group: '(?P<label>\w+)'",
        )
    return pattern


def list_by_names(
    walk: Walk, listing: Listing, places: Mapping[str, int], pattern: re.Pattern[str] | None
) -> list[str]:
    """List the images below `places` (folder to part) under the labels in their names; notes.

    None for `pattern`: where the names leave no doubt, and nothing is listed where they do.
    DataError for images that a pattern does not match.
    """
    found = {
        (folder, part): [
            (name, facts, _label_of(name, pattern))
            for name, facts in sorted(walk.find_images(folder.rstrip("/")))
        ]
        for folder, part in places.items()
    }
    notes, labels = [], Counter[str]()
    for (folder, part), images in found.items():
        unmatched = [name for name, _, label in images if not label]
        if images and part != TRAIN and len(unmatched) == len(images):
            place = printable(Path(walk.root, folder))
            notes.append(
                f"{plural(len(images), 'image')} in {printable(folder)} have no label in their "
                f"names and are not used: `loupe predict RUN {place}` labels them"
            )
            images.clear()
        elif unmatched:
            if pattern is None:
                return []
            raise DataError(
                f"{len(unmatched):,} of {plural(len(images), 'image')} don't match "
                f"data.label_pattern={printable(pattern.pattern)}: {name_some(unmatched, 3)}",
                "the pattern is looked for in the path below the folder; its group is the class",
            )
        labels.update(label for _, _, label in images)
    if pattern is None and not _leaves_no_doubt(labels):
        return []
    for (_, part), images in found.items():
        for name, facts, label in images:
            listing.start_class(label, part)
            listing.add(name, facts)
    if pattern is None:
        first = next(image for images in found.values() for image in images)
        notes.insert(
            0,
            f"the classes are in the file names: {printable(first[0], 80)} is a "
            f"{printable(first[2], 80)}, {name_some(sorted(labels), 5)} are all (data.label_pattern"
            "=none takes no classes from names, =REGEX others)",
        )
    return notes


def _label_of(name: str, pattern: re.Pattern[str] | None) -> str:
    """The label in a path, or ""."""
    if pattern is None:
        match = _NUMBERED.fullmatch(Path(name).stem)
        return match["label"] if match else ""
    match = pattern.search(name)
    if match is None:
        return ""
    return (match["label"] if "label" in pattern.groupindex else match[1]) or ""


def _leaves_no_doubt(labels: Mapping[str, int]) -> bool:
    if not 2 <= len(labels) <= MOST_NAMED or sum(labels.values()) < FEWEST_EACH * len(labels):
        return False
    return min(labels.values()) > 1 and not any(map(_says_nothing, labels))


def _says_nothing(label: str) -> bool:
    """Whether a word is one that any picture may have."""
    words: Sequence[str] = re.split(r"[-_. ]+", label.lower())
    return any(word in _ANYTHING for word in words) or read_split_name(label) is not None
