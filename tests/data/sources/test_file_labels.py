"""Classes in file names: found where the names leave no doubt, or by a pattern."""

import pytest
from PIL import Image

from torchloupe.data.sources import open_data
from torchloupe.errors import DataError, UsageError

PETS = [f"{kind}.{k}.png" for kind in ("cat", "dog") for k in range(6)]


def put(folder, names):
    """Small images of these names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(folder / name)
    return folder


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (PETS, ("cat", "dog")),
        ([f"{n}_{k}.jpg" for n in ("great_dane", "pug") for k in range(6)], ("great_dane", "pug")),
        ([f"{n} ({k}).png" for n in ("rust", "scab") for k in range(1, 7)], ("rust", "scab")),
        ([f"images/{name}" for name in PETS], ("cat", "dog")),
    ],
)
def test_names_of_a_word_and_a_number_are_classes(tmp_path, names, classes):
    data = open_data(put(tmp_path, names))
    assert data.samples.class_names == classes
    assert len(data.samples) == 12
    assert data.samples.labels.tolist() == [0] * 6 + [1] * 6
    assert data.reader.read(0) == (tmp_path / str(data.samples.ids[0])).read_bytes()
    assert "the classes are in the file names" in data.notes[0]


def test_splits_are_folders_and_a_test_without_labels_is_not_used(tmp_path):
    put(tmp_path, [f"train/{name}" for name in PETS] + [f"val/{name}" for name in PETS[4:8]])
    put(tmp_path, [f"test/{k}.png" for k in range(3)])
    data = open_data(tmp_path)
    assert data.given.tolist() == [0] * 12 + [1] * 4
    assert "3 images in test/ have no label in their names" in " ".join(data.notes)


@pytest.mark.parametrize(
    "names",
    [
        [f"{n}_{k}.png" for n in ("IMG", "DSC") for k in range(6)],
        [f"patient{n}_{k}.png" for n in (1, 2) for k in range(6)],
        [f"{n}_{k}.png" for n in ("cat", "frame") for k in range(6)],
        [*PETS, "notes.png"],
        PETS[:3] + PETS[6:8],
    ],
)
def test_names_that_leave_a_doubt_are_refused_as_before(tmp_path, names):
    with pytest.raises(DataError, match="but no class folders") as caught:
        open_data(put(tmp_path, names))
    assert "data.label_pattern" in caught.value.hint


def test_a_pattern_finds_classes_anywhere_in_the_path(tmp_path):
    put(tmp_path, ["a/3_x.png", "a/7_y.png", "b/3_z.png"])
    data = open_data(tmp_path, label_pattern=r"(\d+)_\w\.png$")
    assert data.samples.class_names == ("3", "7")
    assert data.samples.labels.tolist() == [0, 1, 0]
    named = open_data(tmp_path, label_pattern=r"(?P<label>\w)/(\d)_")
    assert named.samples.class_names == ("a", "b")


def test_a_pattern_of_none_takes_no_classes_from_names(tmp_path):
    with pytest.raises(DataError, match="but no class folders"):
        open_data(put(tmp_path, PETS), label_pattern="none")


def test_patterns_that_do_not_fit_are_refused(tmp_path):
    put(tmp_path, PETS)
    for pattern, message in {
        "(": "is no regular expression",
        r"\w+": "has 0 groups, and one is the class",
        r"(\w)(\w)": "has 2 groups, and one is the class",
    }.items():
        with pytest.raises(UsageError, match=message):
            open_data(tmp_path, label_pattern=pattern)
    with pytest.raises(DataError) as caught:
        open_data(tmp_path, label_pattern=r"(cat)\.")
    assert caught.value.message == (
        "6 of 12 images don't match data.label_pattern=(cat)\\.: 'dog.0.png', 'dog.1.png', "
        "'dog.2.png' and 3 more"
    )
    with pytest.raises(UsageError, match=r"is for folders, and digits is none"):
        open_data("digits", label_pattern=r"(\d)")
