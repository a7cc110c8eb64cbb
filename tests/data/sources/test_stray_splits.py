"""Splits that stand where classes would be: named in an error, and never classes in silence."""

import pytest
from trees import duplicate, fail, ids, plant

from torchloupe.data.sources import open_data
from torchloupe.data.split import TEST, TRAIN
from torchloupe.errors import DataError

AS_CLASSES = " (data.label_pattern='^([^/]+)/' if they are classes)"


def classes(*folders, names=("cat", "dog")):
    return [f"{folder}/{name}/1.png" for folder in folders for name in names]


def refusal(folder, *files):
    """The message and hint of the error, with `X` for the folder."""
    error = fail(plant(folder, *files))
    assert isinstance(error, DataError)
    return error.message.replace(str(folder), "X"), error.hint.replace(str(folder), "X")


@pytest.mark.parametrize(
    ("files", "message", "hint"),
    [
        ([*classes("N/N/train", "N/N/valid"), "test/test/1.png"],
         "X has 'N' with splits inside, 'N/N/train', 'N/N/valid', beside 'test': these are not "
         "classes",
         "did you mean 'X/N/N'?"),
        ([*classes("N/N/train", "N/N/valid", "n/N/train", "n/N/valid"), "test/test/1.png"],
         "X has 'N', 'n' with splits inside, 'N/N/train', 'N/N/valid', beside 'test': these are "
         "not classes",
         "did you mean 'X/N/N', 'X/n/N'?"),
        (classes("N/N/train", "N/N/valid", "n/N/train", "n/N/valid"),
         "X has 'N', 'n' with splits and the same folders in each: 'cat', 'dog'",
         "give one of them: X/N/N"),
        (classes("cast/cast/train", "cast/cast/test", "cast_512/cast_512"),
         "X has 'cast' with splits inside, 'cast/cast/test', 'cast/cast/train', beside 'cast_512': "
         "these are not classes",
         "did you mean 'X/cast/cast'?"),
        ([*classes("P/seg_train/seg_train", "P/seg_test/seg_test"), "seg_pred/1.png", "a/1.png"],
         "X has 'P' with splits inside, 'P/seg_test', 'P/seg_train', beside 'a', 'seg_pred': these "
         "are not classes",
         "did you mean 'X/P'?"),
        ([*classes("P/train", "P/val", "test")],
         "X has 'P' with splits inside, 'P/train', 'P/val', beside 'test': these are not classes",
         "move 'test' into X/P and give that"),
    ],
)  # fmt: skip
def test_a_folder_that_holds_a_whole_set_is_no_class(tmp_path, files, message, hint):
    assert refusal(tmp_path, *files) == (message, hint)


def test_the_folder_that_is_named_can_be_given(tmp_path):
    plant(tmp_path, *classes("N/N/train", "N/N/test"), "test/test/1.png")
    inner = fail(tmp_path).hint.split("'")[1]
    data = open_data(inner)
    assert data.samples.class_names == ("cat", "dog")
    assert set(data.given.tolist()) == {TRAIN, TEST}


def test_splits_in_every_class_or_without_class_folders_are_as_before(tmp_path):
    plant(tmp_path / "all", *(f"{c}/{s}/1.png" for c in ("cat", "dog") for s in ("train", "val")))
    assert "the splits are inside the classes" in open_data(tmp_path / "all").notes[0]
    plant(tmp_path / "copy", "cat/1.png", "dog/1.png")
    for split in ("train", "test"):
        duplicate(tmp_path / "copy", f"archive/{split}", "cat", "dog")
    data = open_data(tmp_path / "copy")
    assert ids(data) == ["cat/1.png", "dog/1.png"]
    assert "'archive' holds a copy of other folders here, not used" in data.notes


@pytest.mark.parametrize("top", ["Plants", "Plants/Plants"])
@pytest.mark.parametrize("beside", [("test",), ("Test/Test",), ("val", "test"), ("predict",)])
def test_loose_images_of_a_split_beside_class_folders_are_no_class(tmp_path, top, beside):
    files = (f"{name}/{k}.png" for name in beside for k in "12")
    message, hint = refusal(tmp_path, *classes(top), *files)
    assert message.endswith(" beside 'Plants', which are not classes")
    assert hint == "give the folder with class folders in it: X/Plants"


@pytest.mark.parametrize(
    "files",
    [
        ["gallery/1.png", "cafe/1.png", "hotel/1.png"],
        ["test/1.png", "control/images/1.png", "control/labels/1.png"],
        ["train/1.png", *classes("car", names=("old", "new"))],
        ["test tube/1.png", *classes("flask", names=("round", "flat"))],
    ],
)
def test_loose_images_beside_other_folders_stay_a_class(tmp_path, files):
    names = {file.partition("/")[0] for file in files}
    assert set(open_data(plant(tmp_path, *files)).samples.class_names) == names


def test_a_pattern_reads_what_would_be_refused(tmp_path):
    plant(tmp_path, *classes("Plants", "N/train", "N/val"), "test/1.png")
    data = open_data(tmp_path, label_pattern="([^/]+)/[^/]+$")
    assert data.samples.class_names == ("cat", "dog", "test")
    plant(tmp_path / "two", *classes("learn", "test"))
    hint = fail(tmp_path / "two").hint
    data = open_data(tmp_path / "two", label_pattern=hint.split("'")[-2])
    assert data.samples.class_names == ("learn", "test")


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        (("test", "trian"), "rename 'trian' to 'train'"),
        (("test", "tranning"), "rename 'tranning' to 'train'"),
        (("Tain", "Val"), "rename 'Tain' to 'train'"),
        (("test", "trainn", "val"), "rename 'trainn' to 'train'"),
        (("train", "vaild"), "rename 'vaild' to 'val'"),
        (("train", "tests"), "rename 'tests' to 'test'"),
        (("trian", "vaild"), "rename 'trian' to 'train' and 'vaild' to 'val'"),
        (("eval", "trian images"), "rename 'trian images' to 'train'"),
        (("x_test", "x_trian"), "rename 'x_trian' to 'x_train'"),
        (("learn", "test"), f"rename 'learn' to 'train'{AS_CLASSES}"),
        (("reference", "test"), f"rename 'reference' to 'train'{AS_CLASSES}"),
        (("evaluate", "fit"), f"name each of them after its split: train, val or test{AS_CLASSES}"),
        (("gallery", "probe"),
         f"name each of them after its split: train, val or test{AS_CLASSES}"),
        (("fit", "hold-out"),
         f"name each of them after its split: train, val or test{AS_CLASSES}"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_nested", [False, True])
def test_splits_under_unusual_names_are_no_classes(tmp_path, names, hint, is_nested):
    folders = [f"{name}/{name}" if is_nested else name for name in names]
    shown = ", ".join(f"'{name}'" for name in names)
    message = f"X has {shown} with the same class folders: 'cat', 'dog'"
    assert refusal(tmp_path, *classes(*folders)) == (message, hint)


def test_misspelt_train_beside_loose_test_images(tmp_path):
    assert refusal(tmp_path, *classes("trian"), "test/1.png")[1] == "rename 'trian' to 'train'"


@pytest.mark.parametrize(
    "names",
    [
        ("rain", "snow"),
        ("tent", "trail"),  # near the names of splits, but other words
        ("art_gallery", "museum"),
        ("flask", "test_tube"),
        ("bar", "cafe", "gallery", "hotel", "kitchen", "lobby"),
    ],
)
def test_classes_with_the_same_folders_in_them_stay_classes(tmp_path, names):
    data = open_data(plant(tmp_path, *classes(*names, names=("day", "night"))))
    assert data.samples.class_names == names
    assert any("inside them are not classes" in note for note in data.notes)


def test_masks_in_every_class_are_no_class_folders(tmp_path):
    plant(tmp_path, *classes("control", "test", names=("images", "masks")))
    assert open_data(tmp_path).samples.class_names == ("control", "test")


@pytest.mark.parametrize(
    ("files", "message", "hint"),
    [
        ([*classes("data/train", "data/valid"), "test/1.png"],
         "X has 'test' beside 'data', and other splits in 'data'", "did you mean 'X/data'?"),
        ([*classes("data/data/train", "data/data/valid"), "test/test/1.png"],
         "X has 'test' beside 'data', and other splits in 'data/data'",
         "did you mean 'X/data/data'?"),
        (["data/train/1.png", "data/valid/1.png", "test/1.png"],
         "X has 'test' beside 'data', and other splits in 'data'", "did you mean 'X/data'?"),
        (classes("data/train", "data/valid", "test"),
         "X has 'test' beside 'data', and other splits in 'data'",
         "move 'test' into X/data and give that"),
        (classes("dataset/train", "dataset/test", "test"),
         "X has 'test' beside 'dataset', and other splits in 'dataset'",
         "did you mean 'X/dataset'?"),
        ([*classes("data"), "test/1.png"], "X has 'test' beside 'data', which are not classes",
         "name the folder of training images 'train'"),
    ],
)  # fmt: skip
def test_splits_in_a_folder_called_data_beside_one_held_back(tmp_path, files, message, hint):
    assert refusal(tmp_path, *files) == (message, hint)
