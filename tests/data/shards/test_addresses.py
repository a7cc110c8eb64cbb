"""Addresses of shards: ranges in braces, names, and what is refused."""

import pytest

from torchloupe.data.shards.addresses import (
    expand,
    folder_of,
    has_braces,
    is_url,
    join,
    name_of,
    refuse_twins,
)
from torchloupe.errors import DataError, UsageError


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a.tar", ["a.tar"]),
        ("s3://set/{08..10}.tar", ["s3://set/08.tar", "s3://set/09.tar", "s3://set/10.tar"]),
        ("{8..10}", ["8", "9", "10"]),
        ("{a,b}-{0..1}", ["a-0", "a-1", "b-0", "b-1"]),
        ("odd{name}.tar", ["odd{name}.tar"]),
    ],
)
def test_braces_are_expanded(text, wanted):
    assert expand(text) == wanted
    assert has_braces(text) == (len(wanted) > 1)


@pytest.mark.parametrize("text", ["{9..1}.tar", "{0..9999999}", "{0..9999}{0..9999}"])
def test_braces_that_count_downwards_or_too_far_are_refused(text):
    with pytest.raises(UsageError):
        expand(text)


def test_parts_of_addresses():
    assert name_of("https://host/set/a.tar?token=1") == "a.tar"
    assert folder_of("gs://bucket/set/a.tar") == "gs://bucket/set"
    assert join("s3://set/", "a.tar") == "s3://set/a.tar"
    assert is_url("hf://datasets/x") and not is_url("C:/set") and not is_url("hf:digits")


def test_two_shards_of_one_name_are_refused():
    refuse_twins(["s3://a/1.tar", "s3://a/2.tar"])
    with pytest.raises(DataError, match="same name"):
        refuse_twins(["s3://a/1.tar", "s3://b/1.tar"])
