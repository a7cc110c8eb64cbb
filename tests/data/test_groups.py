"""Groups from names: read by a pattern, and guessed where the names say so."""

import numpy as np
import pytest

from torchloupe.data.groups import guess_groups, read_groups, with_groups
from torchloupe.data.samples import Samples, make_ids
from torchloupe.data.split import split_samples
from torchloupe.errors import DataError, UsageError

PATIENTS = [f"class{p % 2}/patient{p}_{k}.png" for p in range(40) for k in range(5)]


def samples_of(names: list[str], labels: list[int] | None = None) -> Samples:
    numbers = [int(name.startswith("class1")) for name in names] if labels is None else labels
    return Samples(make_ids(names), np.array(numbers), ("class0", "class1"))


def test_groups_are_what_the_first_bracket_matches() -> None:
    groups = read_groups(make_ids(["a/p1_1.png", "b/p1_2.png", "a/p2_1.png", "x.png"]), r"(p\d+)_")
    assert groups[0] == groups[1]
    assert len(set(groups.tolist())) == 3


def test_bad_patterns_are_refused() -> None:
    with pytest.raises(UsageError, match="no regular expression"):
        read_groups(make_ids(["a.png"]), "(")
    with pytest.raises(DataError, match=r"matches no image, such as a\.png"):
        read_groups(make_ids(["a.png"]), "patient")


def test_groups_stay_in_one_split_the_same_way_each_time() -> None:
    grouped = with_groups(samples_of(PATIENTS), r"(patient\d+)_")
    first, again = (split_samples(grouped, seed=3) for _ in range(2))
    assert np.array_equal(first.test, again.test)
    assert len(first.test)
    assert len(first.val)
    assert grouped.groups is not None
    sides = [set(grouped.groups[getattr(first, s)].tolist()) for s in ("train", "val", "test")]
    assert not sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]


def test_auto_and_none_split_as_without_groups() -> None:
    samples = samples_of(PATIENTS)
    plain = split_samples(samples, seed=1)
    for group in ("auto", "none"):
        assert np.array_equal(split_samples(with_groups(samples, group), seed=1).test, plain.test)


@pytest.mark.parametrize(
    ("names", "example"),
    [
        (PATIENTS, "patient0"),
        ([f"class0/video{v}-frame{k:04d}.jpg" for v in range(9) for k in range(30)], "video0"),
        ([f"class0/s{v}e{k}.png" for v in range(9) for k in range(6)], "s0"),
    ],
)
def test_names_of_groups_are_recognised(names: list[str], example: str) -> None:
    guess = guess_groups(samples_of(names, [row % 2 for row in range(len(names))]))
    assert guess is not None
    assert guess.example == example
    assert guess.count in (9, 40)
    assert guess.is_likely == (example != "s0")
    assert np.array_equal(guess.groups, read_groups(make_ids(names), guess.pattern))


@pytest.mark.parametrize(
    "names",
    [
        [f"class0/cat_{k:03d}.jpg" for k in range(100)],
        [f"class0/IMG_{k}.jpg" for k in range(100)],
        [str(k) for k in range(100)],
        [f"class0/{k * 7919:08x}.png" for k in range(100)],
    ],
)
def test_plain_counters_are_no_groups(names: list[str]) -> None:
    assert guess_groups(samples_of(names)) is None
