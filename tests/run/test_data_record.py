"""What changed in the data of a run: counted by kind, and said in one line."""

from pathlib import Path

import numpy as np
import pytest

from torchloupe.data.samples import Samples, make_ids
from torchloupe.errors import CheckpointError
from torchloupe.run.data_record import DataRecord


def make_record(
    ids: list[str],
    labels: list[int] | list[list[float]],
    content: list[int] | None = None,
    class_names: tuple[str, ...] = ("a", "b"),
) -> DataRecord:
    kind = np.float32 if labels and isinstance(labels[0], list) else np.int64
    samples = Samples(make_ids(ids), np.array(labels, kind), class_names)
    return DataRecord.of(samples, None if content is None else np.array(content, np.uint64))


BEFORE = make_record(["x", "y", "z"], [0, 1, 0], [1, 2, 3])


@pytest.mark.parametrize(
    ("ids", "labels", "content", "said"),
    [
        (["x", "y", "z"], [0, 1, 0], [1, 2, 3], ""),
        (["x", "y", "z", "w"], [0, 1, 0, 1], [1, 2, 3, 4], "1 image added"),
        (["x", "y"], [0, 1], [1, 2], "1 image removed"),
        (["x", "y", "z"], [0, 1, 0], [1, 2, 9], "1 image edited"),
        (["x", "y", "z"], [1, 1, 1], [1, 2, 3], "2 images with another label"),
        (["x", "y", "q"], [0, 1, 0], [1, 9, 3], "1 image added, 1 image removed, 1 image edited"),
    ],
)
def test_change_says_what_changed(
    ids: list[str], labels: list[int], content: list[int], said: str
) -> None:
    change = BEFORE.compare(make_record(ids, labels, content))
    assert (str(change), bool(change)) == (said, bool(said))


def test_class_with_another_name_and_the_same_images_is_renamed() -> None:
    now = make_record(["x", "y", "z"], [0, 1, 0], [1, 2, 3], ("cat", "b"))
    change = BEFORE.compare(now)
    assert str(change) == "1 class renamed (a to cat)"
    assert (change.added, change.relabelled) == (0, 0)


def test_folder_that_was_renamed_with_its_images_is_no_addition() -> None:
    one = make_record(["a/x", "a/z", "b/y"], [0, 0, 1], [1, 3, 2])
    now = make_record(["cat/x", "cat/z", "b/y"], [1, 1, 0], [1, 3, 2], ("b", "cat"))
    assert str(one.compare(now)) == "1 class renamed (a to cat)"


def test_new_and_missing_classes_are_named() -> None:
    now = make_record(["x", "y", "z"], [0, 1, 0], [7, 8, 9], ("a", "c\n"))
    said = str(BEFORE.compare(now))
    assert said.endswith("1 class new (c\\n), 1 class missing (b)")


def test_content_is_compared_only_where_both_know_it() -> None:
    without = make_record(["x", "y", "z"], [0, 1, 0])
    assert not BEFORE.compare(without)
    assert not without.compare(BEFORE)


def test_several_labels_of_an_image_are_compared_together() -> None:
    one = make_record(["x", "y"], [[1, 0], [1, 1]], [1, 2])
    assert not one.compare(make_record(["y", "x"], [[1, 1], [1, 0]], [2, 1]))
    assert one.compare(make_record(["x", "y"], [[1, 1], [1, 1]], [1, 2])).relabelled == 1


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04cut", b"\x93NUMPY\x01\x00"])
def test_damaged_record_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"data\.npz can't be read") as caught:
        DataRecord.read(tmp_path / "data.npz")
    assert caught.value.hint.endswith("or say --accept-new-data to go on without it")


@pytest.mark.parametrize(
    "change",
    [
        {"labels": np.zeros(2, np.int64)},
        {"ids": np.zeros(3, np.float64)},
        {"content": np.zeros((3, 1), np.uint64)},
    ],
)
def test_record_of_arrays_that_do_not_fit_is_refused(
    tmp_path: Path, change: dict[str, np.ndarray]
) -> None:
    names = np.frombuffer(b'["a", "b"]', np.uint8)
    whole = {"ids": BEFORE.ids, "labels": BEFORE.labels, "content": BEFORE.content}
    np.savez(tmp_path / "data.npz", class_names=names, **{**whole, **change})
    with pytest.raises(CheckpointError, match=r"its arrays (have other types|differ in length)"):
        DataRecord.read(tmp_path / "data.npz")
