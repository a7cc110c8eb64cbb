"""Groups of images that belong together, read from their names: one patient, one video, one day.

Images of a group resemble each other, so that a group on both sides of a split makes the score too
good.
"""

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.samples import Samples
from torchloupe.errors import DataError, UsageError, printable

FEWEST_GROUPS = 4
FEWEST_MEMBERS = 2.0  # images of a group, on average
LOOKED_AT = 1_000  # names, spread over all, to see whether they are of one form
LEAST_MATCHING = 0.8  # fraction of the names that have to be of one form

# A name with a number, then a part with a second one: patient12_3, video4-frame0071, s01e02.
# The folders above belong to the group only by the class, so that they don't count.
PATTERNS = (
    r"([^/]*?\d[^/]*?)[_\-. ]+[A-Za-z]*[_\-. ]?\d+\.\w+$",
    r"([A-Za-z]+\d+)[A-Za-z]+\d+\.\w+$",
)
_WORDS = re.compile(
    r"patient|subject|person|case|video|clip|scene|seq|slide|scan|session|burst|site|user|id",
    re.IGNORECASE,
)


@dataclass(frozen=True, eq=False)
class Guess:
    """Groups that names suggest."""

    pattern: str  # for data.group
    groups: NDArray[np.int64]  # [N]; images whose name doesn't match have a group of their own
    count: int  # groups of more than one image
    example: str
    is_likely: bool  # the names say what the groups are, or each group is of one class


def read_groups(ids: NDArray[Any], pattern: str) -> NDArray[np.int64]:
    """A group number [N] for each id: what the first bracket of `pattern` matches, or all of it.

    Ids that don't match are groups of their own. UsageError for a pattern that can't be read,
    DataError for one that matches no id.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"data.group={printable(pattern)} is no regular expression: {error}",
            "for example --set 'data.group=(patient[0-9]+)'",
        ) from None
    found = [compiled.search(str(name)) for name in ids]
    if not any(found):
        raise DataError(
            f"data.group={printable(pattern)} matches no image, such as {printable(ids[0], 80)}"
            if len(ids)
            else f"data.group={printable(pattern)}: there are no images",
            "it is searched in the path of each image; leave it out, or say data.group=none",
        )
    keys = [
        "=" + (match.group(1) if compiled.groups and match.group(1) is not None else match.group())
        if match
        else f"!{row}"
        for row, match in enumerate(found)
    ]
    return np.unique(np.array(keys), return_inverse=True)[1].reshape(-1).astype(np.int64)


def with_groups(samples: Samples, group: str) -> Samples:
    """`samples` with the groups that data.group names; auto leaves those of a group column.

    A guess from names is never used to split: it may be wrong, and the scores of the same data
    would change from one version to the next. It is told instead (checks/splits).
    """
    if group == "auto" or not len(samples):
        return samples
    if group == "none":
        return replace(samples, groups=np.arange(len(samples)))  # each image is its own
    return replace(samples, groups=read_groups(samples.ids, group))


def guess_groups(samples: Samples) -> Guess | None:
    """Groups that the names suggest; None where they don't.

    Names that only count the images of a class (cat_001.jpg) suggest none.
    """
    some = samples.ids[:: max(1, len(samples) // LOOKED_AT)]
    for pattern in PATTERNS:
        compiled = re.compile(pattern)
        matches = [compiled.search(str(name)) for name in some]
        if sum(match is not None for match in matches) < LEAST_MATCHING * len(some):
            continue
        groups = read_groups(samples.ids, pattern)
        sizes = np.bincount(groups)
        large = int((sizes > 1).sum())
        mean = sizes[sizes > 1].mean() if large else 0.0
        if large < FEWEST_GROUPS or mean < FEWEST_MEMBERS or sizes.max() > len(samples) / 3:
            continue
        if (sizes > 1).sum() < 0.5 * len(sizes):
            continue
        example = next(match.group(1) for match in matches if match is not None)
        is_likely = _WORDS.search(example) is not None or _are_of_one_class(samples, groups)
        return Guess(pattern, groups, large, example, is_likely)
    return None


def _are_of_one_class(samples: Samples, groups: NDArray[np.int64]) -> bool:
    """Whether nearly every group has one label, although the classes have many groups."""
    if samples.is_multi_label:
        return False
    pairs = np.unique(np.stack([groups, samples.labels], axis=1), axis=0)
    return len(pairs) <= 1.05 * (groups.max() + 1) and len(pairs) >= 3 * len(samples.class_names)
