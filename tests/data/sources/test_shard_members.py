"""Members of a tar put together as samples, in all ways in which others name and order them."""

import random
from collections import Counter

import pytest
from tar_files import pairs, put

from torchloupe.data.sources.shard_members import USUAL, Columns, read_samples
from torchloupe.errors import DataError


def samples_of(path, members, columns=USUAL, **options):
    """Key, endings of images and label of every sample, and what is passed over."""
    ignored = Counter()
    found = read_samples(put(path, members), columns, ignored, **options)
    return {one.key: (*one.images, one.label) for one in found}, dict(ignored)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.tar"


def test_members_of_a_sample_lie_anywhere(path):
    members = list(pairs(0, 20))
    there, _ = samples_of(path, members)
    random.Random(0).shuffle(members)
    shuffled, _ = samples_of(path, members)
    assert shuffled == there
    assert there["00003"] == ("jpg", ("cls", "dog"))


def test_dots_and_folders_in_names(path):
    members = [("./x/b.c.jpg", b"1"), ("./x/b.c.cls", b"cat"), ("./x/b.d.jpg", b"2")]
    members += [("./x/b.d.cls", b"dog"), ("y.z/b.JPEG", b"3"), ("y.z/b.cls", b"fox")]
    found, ignored = samples_of(path, members)
    assert found == {
        "./x/b.c": ("jpg", ("cls", "cat")),
        "./x/b.d": ("jpg", ("cls", "dog")),
        "y.z/b": ("jpeg", ("cls", "fox")),
    }
    assert not ignored


def test_more_members_of_a_sample_are_passed_over(path):
    members = [("1.jpg", b"x"), ("1.cls", b"0"), ("1.seg.png", b"x"), ("1.seg.json", b"{}")]
    members += [("1.box.json", b'{"label": "car"}'), ("1.npy", b"x")]
    found, ignored = samples_of(path, members)
    assert found == {"1": ("jpg", ("cls", "0"))}
    assert ignored == {".seg.png": 1, ".json": 1, ".box.json": 1, ".npy": 1}


def test_a_member_that_is_there_twice_is_refused(path):
    with pytest.raises(DataError) as caught:
        samples_of(path, [*pairs(0, 2), ("00000.cls", b"dog")])
    assert caught.value.message == f"{path} holds 00000.cls twice"


@pytest.mark.parametrize(
    ("columns", "wanted"),
    [
        (USUAL, ("jpg", "png", ("cls", "3"))),
        (Columns("PNG", "txt"), ("png", ("txt", "a fox"))),
        (Columns(".left.jpg", "json.kind"), ("left.jpg", ("json.kind", "fox"))),
        (Columns(label="json"), ("jpg", "png", ("json.label", "7"))),
    ],
)
def test_endings_that_were_asked_for(path, columns, wanted):
    members = [("1.jpg", b"a"), ("1.png", b"b"), ("1.left.jpg", b"c"), ("1.txt", b"a fox")]
    members += [("1.cls", b"3"), ("1.json", b'{"label": 7, "kind": "fox"}')]
    assert samples_of(path, members, columns)[0] == {"1": wanted}


def test_an_empty_label_is_none(path):
    assert samples_of(path, [("1.jpg", b"x"), ("1.cls", b" \n")])[0] == {"1": ("jpg", None)}


def test_every_image_counts_where_no_label_is_needed(path):
    members = [("1.jpg", b"a"), ("1.seg.png", b"b"), ("2.x.jpg", b"c"), ("2.x.cls", b"0")]
    found, _ = samples_of(path, members, needs_labels=False)
    assert sum(len(one) - 1 for one in found.values()) == 3
