"""Layouts of folders: splits under other names, single folders, copies, and what is never data."""

from itertools import product

import numpy as np
import pytest
from trees import duplicate, fail, ids, labels, plant, write

from torchloupe.data.sources import open_data
from torchloupe.data.split import TEST, TRAIN, VAL
from torchloupe.errors import DataError


def classes(folder, *names):
    return [f"{folder}/{name}/1.png" for name in names]


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (("training_set", "test_set"), (TRAIN, TEST)),
        (("seg_train", "seg_test"), (TRAIN, TEST)),
        (("Train", "Validation"), (TRAIN, VAL)),
        (("train", "dev"), (TRAIN, VAL)),
        (("train_images", "val_images"), (TRAIN, VAL)),
        (("TrainImages", "ValImages"), (TRAIN, VAL)),
        (("trainset", "testset"), (TRAIN, TEST)),
        (("asl_alphabet_train", "asl_alphabet_test"), (TRAIN, TEST)),
        (("train2017", "val2017"), (TRAIN, VAL)),
    ],
)
def test_folders_whose_names_mean_splits_are_splits(tmp_path, names, parts):
    for name in names:
        plant(tmp_path, *classes(name, "cat", "dog"))
    data = open_data(tmp_path)
    assert data.samples.class_names == ("cat", "dog")
    found = dict(zip([i.split("/")[0] for i in ids(data)], data.given.tolist(), strict=True))
    assert found == dict(zip(names, parts, strict=True))


def test_folders_read_as_splits_by_their_names_are_named(tmp_path):
    plant(tmp_path, *classes("training_set", "a", "b"), *classes("test_set", "a", "b"))
    assert open_data(tmp_path).notes == (
        "folders are read as splits by their names: 'test_set' as test, 'training_set' as train",
    )


@pytest.mark.parametrize(
    "names",
    [
        ("train", "bus", "car"),  # vehicles
        ("train station", "bus station"),
        ("test tube", "flask"),
        ("steam train", "toy train"),
    ],
)
def test_folders_whose_names_mention_a_split_may_be_classes(tmp_path, names):
    plant(tmp_path, *(f"{name}/1.png" for name in names))
    data = open_data(tmp_path)
    assert (set(data.samples.class_names), data.given) == (set(names), None)
    assert data.notes == ()


def test_folders_called_splits_are_refused_where_their_classes_have_nothing_in_common(tmp_path):
    plant(tmp_path, *classes("training_set", "a", "b"), *classes("test_set", "c", "d"))
    error = fail(tmp_path)
    assert isinstance(error, DataError)
    assert error.message == (
        f"the names of 'training_set', 'test_set' in {tmp_path} say train and test, and no class "
        "folder is in both: 'a', 'b' and 'c', 'd'"
    )
    assert error.hint == (
        "if they are splits, give their class folders the same names; if they are classes, names "
        "that say no split"
    )


@pytest.mark.parametrize(
    ("files", "message", "hint"),
    [
        ([*classes("train", "a", "b"), *classes("eval", "a", "b")],
         "{path} has 'train', 'eval' with the same class folders, and 'eval' may be val or test",
         "rename 'eval' to val or test"),
        ([*classes("train", "a", "b"), *classes("more", "a", "b")],
         "{path} has 'train', 'more' with the same class folders: 'a', 'b'",
         "name each of them after its split: train, val or test"),
        ([*classes("train_1", "a", "b"), *classes("train_2", "a", "b")],
         "{path} has 'train_1', 'train_2' with the same class folders: 'a', 'b'",
         "name each of them after its split: train, val or test"),
        ([*classes("dogs_train", "a", "b"), *classes("cats_test", "a", "b")],
         "{path} has 'dogs_train', 'cats_test' with the same class folders: 'a', 'b'",
         "name each of them after its split: train, val or test"),
        ([*classes("cat", "train", "val"), *classes("dog", "train", "val"), "cat/1.png"],
         "{path} has splits inside its class folders: 'cat/train', 'cat/val'",
         "put class folders into splits: train/cat"),
        (["no/1.png", "yes/1.png", *classes("boxes", "TRAIN", "VAL")],
         "{path} has splits inside 'boxes', 'boxes/TRAIN', 'boxes/VAL', and none in 'no', 'yes'",
         "move 'boxes' elsewhere to leave it out; data.label_pattern='^([^/]+)/' takes it as a "
         "class"),
        (["images/train/1.png", "images/val/2.png", "labels/train/1.txt", "labels/val/2.txt"],
         "{path}/images has a file for each image, such as '../labels/train/1.txt', and no class "
         "folders", "write what these files say into one labels.csv with the columns image and "
         "label"),
        (["JPEGImages/1.jpg", "Annotations/1.xml", "ImageSets/Main/train.txt"],
         "{path} has a file for each image, such as 'Annotations/1.xml', and no class folders",
         "write what these files say into one labels.csv with the columns image and label"),
        ([*classes("fold1", "a", "b"), *classes("fold2", "a", "b")],
         "{path} has 'fold1', 'fold2' with the same class folders in each: 'a', 'b'",
         "put all images of a class into one folder, or list them in a .csv with the columns "
         "image, label and split"),
        (["images/1.png", "masks/1.png"], "{path} holds 'images', 'masks', which are not classes",
         "put the images of each class in a folder of its own, or list them in a .csv"),
        (["images_1/1.png", "images_2/2.png", "meta.csv"],
         "{path} holds 'images_1', 'images_2', which are not classes",
         "did you mean '{path}/meta.csv'?"),
        (["train/1.png", "test/2.png", "train.csv", "test.csv", "sample_submission.csv"],
         "{path} holds 2 images in 'test/', 'train/' but no class folders",
         "did you mean '{path}/train.csv'?"),
        (["train/1.png", "train/labels.csv", "test/2.png"],
         "{path} holds 2 images in 'test/', 'train/' but no class folders",
         "did you mean '{path}/train/labels.csv'?"),
        (["train_images/1.png", "test_images/2.png"],
         "{path} holds 2 images in 'test_images/', 'train_images/' but no class folders",
         "put the images of each class in a folder of its own, list them in a .csv, or say "
         "where the class is in their names: data.label_pattern=REGEX"),
    ],
)  # fmt: skip
def test_folders_that_are_no_classes_are_refused(tmp_path, files, message, hint):
    plant(tmp_path, *files)
    error = fail(tmp_path)
    assert isinstance(error, DataError)
    assert (error.message, error.hint) == (
        message.format(path=tmp_path),
        hint.format(path=tmp_path),
    )


def test_folders_of_test_images_without_labels_are_for_predict(tmp_path):
    plant(tmp_path, *classes("train", "a", "b"), "test/1.png", "test/2.png")
    data = open_data(tmp_path)
    assert ids(data) == ["train/a/1.png", "train/b/1.png"]
    assert data.notes == (
        f"2 images in test/ have no labels and are not used: `loupe predict RUN {tmp_path}/test` "
        "labels them",
    )


@pytest.mark.parametrize("name", ["test/unknown", "test/test", "test/images", "Test/all"])
def test_folders_of_test_images_may_hold_a_folder_that_is_no_class(tmp_path, name):
    plant(tmp_path, *classes("train", "a", "b"), f"{name}/1.png", f"{name}/2.txt")
    data = open_data(tmp_path)
    assert ids(data) == ["train/a/1.png", "train/b/1.png"]
    assert data.ignored == {".txt": 1}
    assert data.notes == (
        f"1 image in {name}/ has no label and is not used: `loupe predict RUN {tmp_path}/{name}` "
        "labels it",
    )


def test_class_folders_that_hold_other_folders_each_are_noted(tmp_path):
    plant(tmp_path, *classes("cat", "persian", "siamese"), *classes("dog", "boxer", "pug"))
    data = open_data(tmp_path)
    assert data.samples.class_names == ("cat", "dog")
    assert "the folders 'boxer', 'persian', 'pug' and 1 more inside them" in data.notes[0]
    last = open_data(tmp_path, label_pattern="([^/]+)/[^/]+$")
    assert last.samples.class_names == ("boxer", "persian", "pug", "siamese")


def test_folders_inside_some_classes_alone_are_noted(tmp_path):
    plant(tmp_path, "cats/0.png", "birds/new/0.png", *classes("dogs", "husky", "pug"))
    data = open_data(tmp_path)
    assert data.samples.class_names == ("birds", "cats", "dogs")
    assert data.notes == (
        "'dogs' is one class, with all in the folders 'husky', 'pug'; other classes hold no "
        "folders (data.label_pattern='([^/]+)/[^/]+$' takes the last folder as the class)",
    )
    plant(tmp_path, *classes("fish", "carp", "pike"))
    assert open_data(tmp_path).notes[0].startswith("'dogs', 'fish' are one class each, with all in")


def test_a_pattern_keeps_the_splits_inside_class_folders(tmp_path):
    plant(tmp_path, *(f"{name}/{split}/1.png" for name in "ab" for split in ("train", "val")))
    data = open_data(tmp_path, label_pattern="^([^/]+)/")
    assert data.samples.class_names == ("a", "b")
    assert sorted(data.given.tolist()) == [TRAIN, TRAIN, VAL, VAL]


def test_splits_inside_class_folders_are_splits(tmp_path):
    plant(tmp_path, *classes("cat", "train", "val"), *classes("dog", "train", "val", "test"))
    data = open_data(tmp_path)
    assert data.samples.class_names == ("cat", "dog")
    found = dict(zip(ids(data), data.given.tolist(), strict=True))
    assert found == {
        "cat/train/1.png": TRAIN,
        "cat/val/1.png": VAL,
        "dog/test/1.png": TEST,
        "dog/train/1.png": TRAIN,
        "dog/val/1.png": VAL,
    }
    assert labels(data) == ["cat"] * 2 + ["dog"] * 3
    assert data.notes[0] == "the splits are inside the classes: 'cat/train', 'cat/val'"


def test_single_folders_are_gone_down_through_with_a_note(tmp_path):
    plant(tmp_path, *classes("archive/dataset", "a", "b"))
    write(tmp_path, "archive/README.md", "x")
    data = open_data(tmp_path)
    assert (ids(data), data.samples.class_names) == (["a/1.png", "b/1.png"], ("a", "b"))
    assert data.notes == ("the data are in archive/dataset/, the only folder there",)
    assert data.ignored == {".md": 1}
    assert data.reader.read(1) == (tmp_path / "archive/dataset/b/1.png").read_bytes()
    assert data.stamp == open_data(tmp_path / "archive" / "dataset").stamp


def test_single_folders_are_gone_down_through_in_splits(tmp_path):
    plant(tmp_path, *classes("seg_train/seg_train", "a", "b"), "seg_pred/seg_pred/1.png")
    plant(tmp_path, *classes("seg_test/seg_test", "a", "b"))
    data = open_data(tmp_path)
    assert data.samples.class_names == ("a", "b")
    assert data.given.tolist() == [TEST, TEST, TRAIN, TRAIN]
    assert data.notes[0] == "beside 'seg_test', 'seg_train', folders are not used: 'seg_pred'"
    assert data.notes[2:] == (
        "the class folders of seg_test/ are in seg_test/seg_test/",
        "the class folders of seg_train/ are in seg_train/seg_train/",
    )


@pytest.mark.parametrize("below", ["train/train", "data/train/train", "a/b/c/train"])
def test_single_folders_above_a_lone_train_folder(tmp_path, below):
    plant(tmp_path, *classes(below, "a", "b"))
    data = open_data(tmp_path)
    assert (labels(data), data.given) == (["a", "b"], None)


def test_the_only_class_folder_of_a_split_is_a_class(tmp_path):
    plant(tmp_path, *classes("train", "a", "b"), "val/a/old/1.png", "val/a/new/1.png")
    data = open_data(tmp_path)
    assert data.samples.class_names == ("a", "b")
    assert data.notes == ("val has no image of 'b'",)


@pytest.mark.parametrize("copy", ["all", "archive/all", "backup/v1/all"])
def test_a_copy_of_the_set_inside_itself_is_named_and_not_used(tmp_path, copy):
    plant(tmp_path, "a/1.png", "b/1.png")
    duplicate(tmp_path, copy, "a", "b")
    data = open_data(tmp_path)
    assert (ids(data), data.samples.class_names) == (["a/1.png", "b/1.png"], ("a", "b"))
    assert data.notes == (f"'{copy.split('/')[0]}' holds a copy of other folders here, not used",)


def test_a_copy_beside_the_splits_is_named(tmp_path):
    plant(tmp_path, *(f"{split}/{name}/1.png" for split in ("train", "val") for name in "ab"))
    duplicate(tmp_path, "chest_xray", "train", "val")
    data = open_data(tmp_path)
    assert len(data.samples) == 4
    assert data.notes == ("'chest_xray' holds a copy of other folders here, not used",)
    plant(tmp_path, "chest_xray/train/a/2.png")
    assert open_data(tmp_path).notes == (
        "beside 'train', 'val', folders are not used: 'chest_xray'",
    )


def test_the_only_class_folder_of_train_alone(tmp_path):
    data = open_data(plant(tmp_path / "class", "train/cat/1.png", "train/cat/2.png"))
    assert data.samples.class_names == ("cat",)
    error = fail(plant(tmp_path / "images", "train/images/1.png"))
    assert "has only one class folder in its splits, 'images'" in error.message


def test_tables_beside_class_folders_are_named(tmp_path):
    plant(tmp_path, "a/1.png", "b/1.png", "labels.csv")
    assert open_data(tmp_path).notes == (
        f"'{tmp_path}/labels.csv' beside the class folders: not used, the labels are the folder "
        "names",
    )


@pytest.mark.parametrize("split", ["", "train/"])
def test_runs_exports_and_packs_are_never_data(tmp_path, split):
    plant(tmp_path, f"{split}a/1.png", f"{split}b/1.png", f"{split}a/deep/2.png")
    for name in ("config.json", "events.jsonl", "mistakes/1.png"):
        plant(tmp_path, f"{split}runs/first/{name}")
    plant(tmp_path, f"{split}model/contract.json", f"{split}model/example.png")
    for name in ("pixels.bin", "manifest.json", "1.png"):
        plant(tmp_path, f"{split}a/pack/{name}")
    data = open_data(tmp_path)
    assert ids(data) == [f"{split}{name}" for name in ("a/1.png", "a/deep/2.png", "b/1.png")]
    assert data.notes == (
        f"written by torchloupe, not data: '{split}a/pack' (a pack), '{split}model' (an export), "
        f"'{split}runs/first' (a run)",
    )


def test_a_run_given_as_data_is_refused(tmp_path):
    plant(tmp_path, "config.json", "contract.json", "look/1.png")
    error = fail(tmp_path)
    assert error.message == f"{tmp_path} is a run of torchloupe, not a folder of images"
    assert error.hint == "give the folder of images"


def test_folders_of_systems_are_never_data(tmp_path):
    plant(tmp_path, "a/1.png", "b/1.png")
    for name in ("@eaDir", "$RECYCLE.BIN", "System Volume Information", ".ipynb_checkpoints",
                 "__MACOSX", "lost+found", "#recycle", "found.000", "wandb"):  # fmt: skip
        plant(
            tmp_path, f"{name}/1.png", f"a/{name}/2.png", f"{name}/a/3.png", f"a/deep/{name}/4.png"
        )
    plant(tmp_path, "Thumbs.db", "a/Thumbs.db", "a/desktop.ini", "b/._1.png")
    data = open_data(tmp_path)
    assert (ids(data), data.ignored, data.notes) == (["a/1.png", "b/1.png"], {}, ())


def test_folders_of_projects_are_never_data(tmp_path):
    plant(tmp_path, *classes("dataset", "a", "b"), "README_files/1.png", "eda.ipynb")
    plant(tmp_path, "eda_files/1.png", "env/pyvenv.cfg", "env/a/1.png", "conda/conda-meta/history")
    plant(tmp_path, "conda/share/1.png", "venv/lib/python3.11/site-packages/x/home.png")
    plant(tmp_path, "runs/first/events.out.tfevents.1", "runs/first/1.png", "logs/x/args.yaml")
    plant(tmp_path, "logs/x/1.png", "site-packages/1.png", "node_modules/x/1.png")
    data = open_data(tmp_path)
    assert ids(data) == ["a/1.png", "b/1.png"]
    assert data.notes == ("the data are in dataset/, the only folder there",)


def test_folders_called_like_those_of_projects_may_be_classes(tmp_path):
    names = ("env", "logs", "my_files", "runs", "venv")
    plant(tmp_path, *(f"{name}/1.png" for name in names), "eda.ipynb")
    assert open_data(tmp_path).samples.class_names == names


def test_the_only_folder_with_images_is_entered(tmp_path):
    plant(tmp_path, *classes("images", "cat", "dog"), "notes/cat/1.xml", "README")
    write(tmp_path, "images.txt", "1 cat/1.png", "2 dog/1.png")
    data = open_data(tmp_path)
    assert data.samples.class_names == ("cat", "dog")
    assert data.notes == (
        "the data are in images/, the only folder with images; not used: 'notes', 'images.txt'",
    )


def test_numbered_folders_of_images_beside_a_table_are_no_classes(tmp_path):
    plant(tmp_path, "images_001/images/1.png", "images_002/images/2.png")
    write(tmp_path, "labels.csv", "image,label", "1.png,a", "2.png,b")
    write(tmp_path, "test_list.txt", "2.png")
    error = fail(tmp_path)
    assert error.message == f"{tmp_path} holds 'images_001', 'images_002', which are not classes"
    assert error.hint == f"did you mean '{tmp_path}/labels.csv'?"


def test_test_images_in_a_folder_of_images_are_unlabelled(tmp_path):
    plant(tmp_path, *classes("Final_Training/Images", "0", "1"), "Final_Test/Images/7.png")
    data = open_data(tmp_path)
    assert data.samples.class_names == ("0", "1")
    assert any("1 image in Final_Test/Images/ has no label" in note for note in data.notes)


def test_list_in_a_folder_beside_the_images_is_named(tmp_path):
    plant(tmp_path, "images/a_1.png", "images/b_1.png")
    write(tmp_path, "annotations/trainval.txt", "a_1 1 1", "b_1 2 1")
    write(tmp_path, "annotations/README.txt", "Nothing but words here.")
    error = fail(tmp_path)
    assert error.message == f"{tmp_path} has only one class folder, 'images'"
    assert error.hint.startswith(f"did you mean '{tmp_path}"[:60])
    assert "README" not in error.hint


def test_no_empty_list_of_tables_is_proposed(tmp_path):
    plant(tmp_path, "images/1.png", "masks/1.png")
    write(tmp_path, "list_eval_partition.csv", "image,partition", "1.png,0")
    assert fail(tmp_path).hint.startswith("put the images of each class in a folder")


def test_objects_with_splits_and_masks_in_them_are_no_classes(tmp_path):
    for name in ("bottle", "cable"):
        plant(tmp_path, *(f"{name}/{p}/1.png" for p in ("train/good", "test/good", "test/broken")))
        plant(tmp_path, f"{name}/ground_truth/broken/1_mask.png")
    assert "has splits inside its class folders" in fail(tmp_path).message


def test_folders_without_labels_are_no_class(tmp_path):
    plant(tmp_path, *(f"{name}/{k}.png" for name in ("cat", "dog", "unlabeled") for k in "123"))
    data = open_data(tmp_path)
    assert data.samples.class_names == ("cat", "dog") and len(data.samples) == 6
    assert data.notes == ("'unlabeled' says that it has no labels: not used",)


def test_images_beside_boxes_in_each_split_are_no_class(tmp_path):
    for split in ("train", "valid"):
        plant(tmp_path, f"{split}/images/1.jpg", f"{split}/images/2.jpg", f"{split}/labels/1.txt")
    assert "has a file for each image, such as 'train/labels/1.txt'" in fail(tmp_path).message
    for split in ("train", "valid"):
        (tmp_path / split / "labels/1.txt").unlink()
    assert "has only one class folder in its splits, 'images'" in fail(tmp_path).message


def test_splits_may_be_named_in_other_languages(tmp_path):
    parts = ("entrenamiento", "validación", "prueba")
    plant(tmp_path, *(f"{p}/{c}/{k}.png" for p in parts for c in ("cat", "dog") for k in "12"))
    assert np.bincount(open_data(tmp_path).given).tolist() == [4, 4, 4]


def test_lists_in_a_folder_of_annotations_are_proposed(tmp_path):
    plant(tmp_path, "train2017/1.jpg", "val2017/2.jpg")
    write(tmp_path, "annotations/instances_train.json", '{"images": [{"file_name": "1.jpg"}]}')
    assert "instances_train.json" in fail(tmp_path).hint


def test_parallel_trees_with_splits_in_them_are_no_classes(tmp_path):
    for kind, split, town in product(("leftImg8bit", "gtFine"), ("train", "val"), ("a", "b")):
        plant(tmp_path, f"{kind}/{split}/{town}/{town}_1_{kind}.png")
    error = fail(tmp_path)
    assert error.message == (
        f"{tmp_path} has 'gtFine', 'leftImg8bit' with splits and the same folders in each: 'a', 'b'"
    )
    assert error.hint == "give one of them, or put the images of each class into one folder a split"


def test_a_folder_held_back_beside_one_that_says_nothing_is_no_class(tmp_path):
    plant(tmp_path, "data_256/a/airfield/1.jpg", "data_256/b/beach/1.jpg", "val_256/1.jpg")
    assert fail(tmp_path).message == (
        f"{tmp_path} has 'val_256' beside 'data_256', which are not classes"
    )


def test_lists_above_the_only_folder_are_named(tmp_path):
    plant(tmp_path, *classes("images", "cat", "dog"))
    write(tmp_path, "split_x.json", '{"train": [["cat/1.png", 0, "cat"]], "test": []}')
    assert open_data(tmp_path).notes == (
        "the data are in images/, the only folder there; not used: 'split_x.json'",
    )


def test_classes_in_the_names_of_splits_are_told_where_to_go(tmp_path):
    plant(tmp_path, *classes(".", "train_cat", "train_dog", "test_cat", "test_dog"))
    assert fail(tmp_path).hint == "keep one of them, or put them as class folders into train/"


def test_loose_images_of_a_test_split_may_lie_in_a_folder_of_its_name(tmp_path):
    plant(tmp_path, *(f"abc_train/abc_train/{name}/1.png" for name in "AB"))
    plant(tmp_path, "abc_test/abc_test/A_test.png", "abc_test/abc_test/B_test.png")
    data = open_data(tmp_path)
    assert ids(data) == [f"abc_train/abc_train/{name}/1.png" for name in "AB"]
    assert any("2 images in abc_test/abc_test/ have no labels" in note for note in data.notes)


def test_a_folder_of_test_images_is_no_class(tmp_path):
    plant(tmp_path, *(f"tv_dataset/tv_dataset/{name}/1.png" for name in "AB"))
    plant(tmp_path, "tv_testset/tv_testset/A_1.png", "notes.txt")
    error = fail(tmp_path)
    assert "has 'tv_testset' beside 'tv_dataset', which are not classes" in error.message
    assert error.hint.endswith(f"in it: {tmp_path}/tv_dataset")


def test_single_folders_are_entered_below_the_only_one_with_images(tmp_path):
    plant(tmp_path, "Sets/train.txt", *(f"Data/CLS/train/{name}/1.png" for name in "AB"))
    data = open_data(tmp_path)
    assert data.samples.class_names == ("A", "B")
    assert data.notes[0] == "the data are in Data/, the only folder with images; not used: 'Sets'"


def test_a_class_may_be_called_after_a_test(tmp_path):
    plant(tmp_path, "test_tube/1.png", "bottle/glass/1.png", "bottle/plastic/1.png")
    assert open_data(tmp_path).samples.class_names == ("bottle", "test_tube")


def test_folders_inside_classes_are_noted_through_single_ones_and_in_splits(tmp_path):
    plant(tmp_path, *(f"good/Bmp/{k}/1.png" for k in "ab"), *(f"bad/Bmp/{k}/1.png" for k in "cd"))
    assert any("the classes are 'bad', 'good'; the folders" in n for n in open_data(tmp_path).notes)


def test_folders_inside_classes_of_splits_are_noted(tmp_path):
    for split in ("train", "val"):
        plant(
            tmp_path, *(f"{split}/{name}/{name}{k}/1.png" for name in ("dog", "cat") for k in "xy")
        )
    notes = [note for note in open_data(tmp_path).notes if "inside them are not classes" in note]
    assert len(notes) == 1


def test_a_copy_in_a_folder_called_data_is_no_class(tmp_path):
    plant(tmp_path, "photos/a/1.png", "photos/b/1.png")
    duplicate(tmp_path, "data", "photos")
    data = open_data(tmp_path)
    assert data.samples.class_names == ("a", "b")
    assert ids(data) == ["a/1.png", "b/1.png"]
