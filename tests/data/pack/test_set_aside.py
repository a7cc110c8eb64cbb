"""Images that can't be read: their kinds, the file that lists them, and too many of them."""

import csv

import pytest
from pictures import encode, noise

from torchloupe.data.contract import Contract
from torchloupe.data.image.formats import ImageError
from torchloupe.data.pack.decoding import BadImage
from torchloupe.data.pack.set_aside import UnreadableError, count_kinds, write_set_aside

BAD = [
    BadImage(0, "a/ä\n,1.png", "truncated PNG"),
    BadImage(3, "a/2.png", "empty file (0 bytes)"),
    BadImage(4, 'b/"3".png', "truncated JPEG"),
    BadImage(9, "b/\udcff.png", "there is no such file", is_unread=True),
]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "empty"),
        (b"text of no picture", "not an image"),
        (encode(noise(), "PNG")[:-20], "truncated"),
        (encode(noise(), "PNG")[:40], "truncated"),
        (encode(noise(), "PNG")[:50] + b"x" + encode(noise(), "PNG")[51:], "damaged"),
        (b"P6 30000 20000 255\n", "too large"),
        (b"\xff\xd8\xff\xf7\0\x10", "of a kind not read here"),
        (b"\xff\x0a" + bytes(40), "not an image"),
    ],
)
def test_kind_of_a_bad_image_follows_from_its_reason(content, kind):
    with pytest.raises(ImageError) as caught:
        Contract("RGB", 3, (8, 8)).decode(content)
    assert BadImage(0, "x", caught.value.message).kind == kind
    assert BadImage(0, "x", caught.value.message, is_unread=True).kind == "not opened"


def test_count_kinds_begins_with_the_most():
    assert count_kinds(BAD) == "2 truncated, 1 empty, 1 not opened"
    assert count_kinds([]) == ""


def test_write_set_aside_lists_path_reason_and_kind(tmp_path):
    path = tmp_path / "set-aside.csv"
    write_set_aside(path, BAD)
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [["path", "reason", "kind"], *([b.id, b.reason, b.kind] for b in BAD)]
    write_set_aside(path, [])
    assert not path.exists()
    write_set_aside(path, [])


def test_unreadable_error_counts_by_kind_and_names_the_file():
    error = UnreadableError(BAD * 2, 100, 0.01)
    assert error.message == (
        "8 images of 100 can't be read, more than 1.0% (4 truncated, 2 empty, 2 not opened): "
        'a/ä\\n,1.png: truncated PNG; a/2.png: empty file (0 bytes); b/"3".png: truncated JPEG; '
        "b/\\udcff.png: there is no such file; a/ä\\n,1.png: truncated PNG; and 3 more"
    )
    assert error.hint == ("repair or remove them, or allow more with --set data.bad_fraction=0.08")
    assert error.listed_in("runs/x/set-aside.csv").hint == (
        "runs/x/set-aside.csv lists them; repair or remove them, or allow more with "
        "--set data.bad_fraction=0.08"
    )
    assert error.bad == tuple(BAD * 2)
