"""Arrays in .npz and .npy files and from Python: names, layouts, types, and no pickle."""

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from torchloupe.data.sources import open_data
from torchloupe.data.sources.archives import read_role
from torchloupe.errors import DataError, LoupeError, UsageError

LABELS = np.array([0, 1, 1, 0, 2, 1])


def images(*shape, dtype=np.uint8):
    return (np.arange(np.prod(shape)) % 251).reshape(shape).astype(dtype)


def save(folder, name="set.npz", **arrays):
    path = Path(folder, name)
    np.savez(path, **arrays)
    return path


def fail(source, **options):
    with pytest.raises(LoupeError) as caught:
        open_data(source, **options)
    return caught.value


@pytest.mark.parametrize(
    ("x", "y"),
    [
        *(("images", "labels"), ("X", "y"), ("x", "Y"), ("data", "target"), ("imgs", "targets")),
        *(("arr_0", "arr_1"), ("features", "label")),
    ],
)
def test_arrays_are_found_by_name(tmp_path, x, y):
    pixels = images(6, 5, 4)
    data = open_data(save(tmp_path, **{x: pixels, y: LABELS}))
    assert (data.name, data.kind, data.given) == ("set", "arrays", None)
    assert data.samples.ids.tolist() == ["0", "1", "2", "3", "4", "5"]
    assert data.samples.class_names == ("0", "1", "2")
    assert data.samples.labels.tolist() == LABELS.tolist()
    assert data.reader.array.shape == (6, 5, 4, 1)
    assert (data.reader.read(3) == pixels[3][..., None]).all()


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_val", "y_val", "x_test", "y_test"),
        ("train_images", "train_labels", "val_images", "val_labels", "test_images", "test_labels"),
        ("trainX", "trainY", "validX", "validY", "testX", "testY"),
        ("Xtrain", "ytrain", "Xvalidation", "yvalidation", "Xtest", "ytest"),
    ],
)
def test_arrays_take_splits_from_names(tmp_path, names):
    parts = [images(6, 4, 4), LABELS, images(3, 4, 4), LABELS[2:5], images(3, 4, 4), LABELS[2:5]]
    data = open_data(save(tmp_path, **dict(zip(names, parts, strict=True))))
    assert data.given.tolist() == [0] * 6 + [1] * 3 + [2] * 3
    assert data.samples.ids[[0, 6, 11]].tolist() == ["train/0", "val/0", "test/2"]
    assert data.reader.array.shape == (12, 4, 4, 1)


@pytest.mark.parametrize(
    ("key", "role"),
    [
        ("x_train", ("images", "train")),
        ("TEST_LABELS", ("labels", "test")),
        ("class_names", ("names", "")),
        ("target_names", ("names", "")),
        ("train_x_test", ("", "")),
        ("train", ("", "")),
        ("weights", ("", "")),
        ("xy", ("", "")),
    ],
)
def test_read_role_reads_names(key, role):
    assert read_role(key) == role


@pytest.mark.parametrize(
    ("shape", "layout", "result"),
    [
        ((6, 28, 20), "auto", (6, 28, 20, 1)),
        ((6, 28, 20), "NHW", (6, 28, 20, 1)),
        ((6, 28, 20, 1), "auto", (6, 28, 20, 1)),
        ((6, 28, 20, 3), "auto", (6, 28, 20, 3)),
        ((6, 4, 28, 20), "auto", (6, 28, 20, 4)),
        ((6, 3, 28, 20), "auto", (6, 28, 20, 3)),
        ((6, 3, 5, 4), "NCHW", (6, 5, 4, 3)),
        ((6, 3, 5, 4), "NHWC", (6, 3, 5, 4)),
        ((6, 13, 5, 7), "NCHW", (6, 5, 7, 13)),
    ],
)
def test_arrays_tell_layouts_apart(tmp_path, shape, layout, result):
    pixels = images(*shape)
    data = open_data(save(tmp_path, x=pixels, y=LABELS), layout=layout)
    assert data.reader.array.shape == result
    row = pixels[1]
    if len(shape) == 4 and result[3] == shape[1] and layout != "NHWC":
        row = row.transpose(1, 2, 0)
    assert (data.reader.read(1) == row.reshape(result[1:])).all()


@pytest.mark.parametrize(
    ("shape", "layout", "message", "hint"),
    [
        ((6, 3, 8, 3), "auto",
         "images have shape [6, 3, 8, 3]: both axis 1 and axis 3 could be the channels (1, 3 or 4)",
         "say which: data.layout=NHWC or data.layout=NCHW"),
        ((6, 5, 8, 7), "auto",
         "images have shape [6, 5, 8, 7]: neither axis 1 nor axis 3 looks like the channels "
         "(1, 3 or 4)",
         "say which: data.layout=NHWC or data.layout=NCHW"),
        ((6, 784), "auto", "images have shape [6, 784]: each is one flat row",
         "use images.reshape(-1, 28, 28)"),
        ((6, 5), "auto", "images have shape [6, 5]: each is one flat row",
         "use images.reshape(-1, H, W)"),
        ((6, 5, 8, 1), "NHW", "images have shape [6, 5, 8, 1]; wanted [N, H, W]",
         "give one image per row, or another data.layout"),
        ((6, 5, 8), "NHWC", "images have shape [6, 5, 8]; wanted four axes (NHWC)",
         "give one image per row, or another data.layout"),
        ((6, 0, 8), "auto", "images have shape [6, 0, 8, 1]: there are none", "give images"),
        ((5, 4, 4), "auto", "there are 5 images and 6 labels", "give one label for every image"),
    ],
)  # fmt: skip
def test_arrays_refuse_shapes(tmp_path, shape, layout, message, hint):
    path = save(tmp_path, x=images(*shape), y=LABELS)
    error = fail(path, layout=layout)
    assert isinstance(error, DataError)
    assert (error.message, error.hint) == (f"{path}: {message}", hint)


@pytest.mark.parametrize(
    ("pixels", "dtype", "values"),
    [
        (np.array([0, 200, 255], np.uint8), np.uint8, [0, 200, 255]),
        (np.array([0, 200, 255], np.int64), np.uint8, [0, 200, 255]),
        (np.array([False, True, True]), np.uint8, [0, 255, 255]),
        (np.array([0, 256, 65535], np.uint16), np.float32, [0, 256, 65535]),
        (np.array([-5, 0, 5], np.int8), np.float32, [-5, 0, 5]),
        (np.array([-1.5, 0.25, 3], np.float32), np.float32, [-1.5, 0.25, 3]),
        (np.array([-1.5, 0.25, 3], np.float64), np.float32, [-1.5, 0.25, 3]),
        (np.array([-1.5, 0.25, 3], np.float16), np.float32, [-1.5, 0.25, 3]),
    ],
)
def test_arrays_keep_values(pixels, dtype, values):
    data = open_data((pixels.reshape(3, 1, 1), [0, 1, 1]))
    assert data.reader.array.dtype == dtype
    assert data.reader.array.ravel().tolist() == values


@pytest.mark.parametrize("layout", ["auto", "NCHW"])
def test_arrays_are_not_copied_when_nothing_has_to_change(layout):
    pixels = images(6, 3, 8, 9)
    data = open_data((pixels, LABELS), layout=layout)
    assert np.shares_memory(data.reader.array, pixels)


def test_arrays_in_npy_files_are_mapped(tmp_path):
    np.save(tmp_path / "images.npy", images(6, 8, 9, 3))
    np.save(tmp_path / "labels.npy", LABELS)
    data = open_data(tmp_path)
    assert isinstance(data.reader.array, np.memmap)
    assert data.name == tmp_path.name
    assert data.samples.labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    ("x", "y"),
    [("X.npy", "X_labels.npy"), ("x_train.npy", "y_train.npy"), ("scan.npy", "scan-y.npy")],
)
def test_arrays_in_npy_files_find_their_labels(tmp_path, x, y):
    np.save(tmp_path / x, images(6, 8, 9))
    np.save(tmp_path / y, LABELS)
    np.save(tmp_path / "x_test.npy", images(2, 8, 9))
    data = open_data(tmp_path / x)
    assert len(data.samples) == 6
    assert data.given is None


def test_arrays_in_npy_files_say_when_labels_are_missing(tmp_path):
    np.save(tmp_path / "scan.npy", images(6, 8, 9))
    error = fail(tmp_path / "scan.npy")
    assert error.message == f"{tmp_path}/scan.npy has no labels beside it (found: 'scan')"
    assert error.hint == "save the labels as scan_labels.npy in the same folder"


@pytest.mark.parametrize(
    ("labels", "wanted", "names"),
    [
        (LABELS.reshape(6, 1), LABELS, ("0", "1", "2")),
        (LABELS.astype(float), LABELS, ("0", "1", "2")),
        (LABELS * 5 + 5, LABELS, ("5", "10", "15")),
        (np.array(["b", "a", "a", "b", "c", "a"]), [1, 0, 0, 1, 2, 0], ("a", "b", "c")),
        (np.array([b"b", b"a", b"a", b"b", b"c", b"a"]), [1, 0, 0, 1, 2, 0], ("a", "b", "c")),
        (LABELS == 1, [0, 1, 1, 0, 0, 1], ("0", "1")),
        (np.eye(3)[LABELS], LABELS, ("0", "1", "2")),
        (np.eye(4, dtype=int)[LABELS], LABELS, ("0", "1", "2", "3")),
    ],
)
def test_arrays_read_labels_as_people_store_them(tmp_path, labels, wanted, names):
    data = open_data(save(tmp_path, x=images(6, 4, 4), y=labels))
    assert data.samples.labels.tolist() == list(wanted)
    assert data.samples.labels.dtype == np.int64
    assert data.samples.class_names == names


def test_arrays_read_several_labels_an_image(tmp_path):
    labels = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 0]])
    data = open_data((images(3, 4, 4), labels), class_names=("a", "b", "c"))
    assert data.samples.is_multi_label
    assert data.samples.labels.tolist() == labels.tolist()
    assert data.samples.class_names == ("a", "b", "c")
    assert data.notes == ("an image may have several of the 3 labels: this is multi-label",)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0.5, 1, 1]), "labels are not whole numbers: found 0.5"),
        (np.array([np.nan, 1, 1]), "labels are not whole numbers: found nan"),
        (np.array([1j, 1, 1]), "labels of type complex128 can't be read"),
        (np.array([[0.2, 0.8]] * 3), "labels of shape [3, 2] hold more than 0 and 1"),
        (np.zeros((3, 2, 2)),
         "labels have shape [3, 2, 2]; wanted [N], or [N, classes] of 0 and 1"),
    ],
)  # fmt: skip
def test_arrays_refuse_labels(tmp_path, labels, message):
    path = save(tmp_path, x=images(3, 4, 4), y=labels)
    assert fail(path).message == f"{path}: {message}"


def test_arrays_take_class_names_from_the_file_or_the_caller(tmp_path):
    path = save(tmp_path, x=images(6, 4, 4), y=LABELS, class_names=np.array(["a", "b", "c"]))
    assert open_data(path).samples.class_names == ("a", "b", "c")
    assert open_data(path, class_names=["x", "y", "z", "w"]).samples.class_names == tuple("xyzw")
    error = fail(path, class_names=("a", "b"))
    assert isinstance(error, UsageError)
    assert error.message == (
        "data.class_names has 2 names (for labels 0 to 1); the data also has '2'"
    )


@pytest.mark.parametrize(
    ("arrays", "pair"),
    [
        ({"images": images(6, 4, 4), "ans": LABELS, "ra": np.arange(6) / 3}, ("images", "ans")),
        ({"pics": images(6, 4, 4), "ids": np.arange(6), "kind": LABELS}, ("pics", "kind")),
        ({"pics": images(6, 4, 4), "labels": LABELS}, ("pics", "labels")),
        ({"images": images(6, 4, 4), "who": LABELS.astype(str)}, ("images", "who")),
    ],
)
def test_arrays_of_other_names_are_told_by_their_shapes(tmp_path, arrays, pair):
    data = open_data(save(tmp_path, **arrays))
    assert data.samples.labels.tolist() == LABELS.tolist()
    assert data.notes == (
        f"'{pair[0]}' are taken as the images and '{pair[1]}' as labels, by their shapes",
    )


@pytest.mark.parametrize(
    "arrays",
    [
        {"images": images(6, 4, 4), "ans": LABELS, "other": LABELS},
        {"pics": images(6, 4, 4), "masks": images(6, 4, 4), "kind": LABELS},
        {"images": images(6, 4, 4), "ids": np.arange(6)},
        {"images": images(6, 4, 4), "redshift": LABELS / 3},
    ],
)
def test_arrays_whose_shapes_leave_a_choice_are_refused(tmp_path, arrays):
    assert fail(save(tmp_path, **arrays)).hint.startswith("name them images and labels")


def test_arrays_report_what_was_found_when_nothing_fits(tmp_path):
    path = save(tmp_path, alpha=images(6, 4, 4), beta=LABELS[:5])
    error = fail(path)
    assert error.message == (
        f"{path} holds 'alpha' [6, 4, 4], 'beta' [5]; none is named as images or labels"
    )
    assert error.hint == "name them images and labels, or x_train, y_train, x_test and y_test"
    path = save(tmp_path, x_train=images(6, 4, 4), y_train=LABELS, x_test=images(2, 4, 4))
    assert fail(path).message.endswith("; no partner for 'x_test'")
    path = save(tmp_path, x=images(6, 4, 4), images=images(6, 4, 4), y=LABELS)
    assert fail(path).message == f"{path} has two arrays that could be the images: 'x', 'images'"
    path = save(tmp_path, x=images(6, 4, 4), y=LABELS, x_test=images(2, 4, 4), y_test=LABELS[:2])
    assert "with and without a split in their name: 'x', 'x_test'" in fail(path).message
    assert "nothing" in fail(save(tmp_path)).message


def test_arrays_prefer_images_to_their_flat_copy():
    bunch = {"data": images(6, 16), "images": images(6, 4, 4), "target": LABELS, "DESCR": "text"}
    assert open_data(bunch).reader.array.shape == (6, 4, 4, 1)
    turned = {key: bunch[key] for key in ("images", "data", "target")}
    assert open_data(turned).reader.array.shape == (6, 4, 4, 1)


def test_arrays_of_splits_must_agree(tmp_path):
    path = save(
        tmp_path, x_train=images(6, 4, 4), y_train=LABELS, x_test=images(6, 5, 5), y_test=LABELS
    )
    assert "different shapes: train 4x4x1, test 5x5x1" in fail(path).message
    path = save(
        tmp_path, x_train=images(6, 4, 4), y_train=LABELS, x_test=images(2, 4, 4), y_test=LABELS
    )
    assert fail(path).message == f"{path}: there are 2 images and 6 labels for test"
    path = save(
        tmp_path, x_train=images(6, 4, 4), y_train=LABELS, x_test=images(6, 4, 4), y_test=LABELS + 1
    )
    assert fail(path).message == f"{path}: test has a class that train lacks: '3'"


class Evil:
    """Pickled, it would make a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_arrays_never_unpickle(tmp_path):
    trap = tmp_path / "sprung"
    evil = np.array([Evil(trap)] * 6, dtype=object)
    np.savez(tmp_path / "a.npz", x=images(6, 4, 4), y=evil)
    np.save(tmp_path / "images.npy", images(6, 4, 4))
    np.save(tmp_path / "labels.npy", evil)
    (tmp_path / "plain.npz").write_bytes(pickle.dumps(Evil(trap)))
    with zipfile.ZipFile(tmp_path / "inner.npz", "w") as archive:
        archive.writestr("x.npy", pickle.dumps(Evil(trap)))
        archive.writestr("y.npy", pickle.dumps(Evil(trap)))
    for name in ("a.npz", "images.npy", "plain.npz", "inner.npz"):
        error = fail(tmp_path / name)
        assert isinstance(error, DataError), name
        assert not trap.exists()
    for name in ("a.npz", "images.npy"):
        assert "holds Python objects: reading those can run code" in fail(tmp_path / name).message


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"no array", b"\x93NUMPY\x01\x00"])
@pytest.mark.parametrize("name", ["a.npz", "images.npy"])
def test_arrays_refuse_damaged_files(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    np.save(tmp_path / "labels.npy", LABELS)
    error = fail(tmp_path / name)
    assert isinstance(error, DataError)
    assert name in error.message
    assert "\n" not in error.message


def test_arrays_refuse_a_cut_archive(tmp_path):
    path = save(tmp_path, x=images(60, 40, 40), y=np.arange(60) % 3)
    path.write_bytes(path.read_bytes()[:50_000])
    assert isinstance(fail(path), DataError)


def test_arrays_come_from_python_as_pairs_splits_and_tensors():
    pair = (torch.from_numpy(images(6, 3, 8, 8)), torch.from_numpy(LABELS))
    data = open_data(pair)
    assert (data.name, data.kind) == ("arrays", "arrays")
    assert data.reader.array.shape == (6, 8, 8, 3)
    halves = (images(4, 8, 8), LABELS[:4]), (images(2, 8, 8), list(LABELS[:2]))
    assert open_data(halves).given.tolist() == [0] * 4 + [1] * 2
    assert open_data({"train": halves[0], "test": halves[1]}).given.tolist() == [0] * 4 + [2] * 2
    weights = torch.ones(6, 1, 5, 5, requires_grad=True, dtype=torch.bfloat16)
    assert open_data((weights, LABELS)).reader.array.dtype == np.float32


def test_arrays_stamp_follows_pixels_and_labels():
    pixels = images(6, 4, 4)
    first = open_data((pixels, LABELS)).stamp
    assert open_data((pixels.copy(), LABELS)).stamp == first
    pixels[3, 2, 1] += 1
    assert open_data((pixels, LABELS)).stamp != first


def test_arrays_of_medmnist_are_read(tmp_path):
    parts = {"train": LABELS, "val": LABELS[:3], "test": LABELS[2:5]}
    arrays = {}
    for part, labels in parts.items():
        arrays[f"{part}_images"] = images(len(labels), 28, 28, 3)
        arrays[f"{part}_labels"] = labels[:, None].astype(np.uint8)
    data = open_data(save(tmp_path, "pathmnist.npz", **arrays))
    assert (data.name, data.reader.array.shape) == ("pathmnist", (12, 28, 28, 3))
    assert data.given.tolist() == [0] * 6 + [1] * 3 + [2] * 3
    assert data.samples.labels[:6].tolist() == LABELS.tolist()


def test_splits_of_other_scales_are_refused():
    images = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3), np.uint8)
    labels = np.arange(8) % 2
    with pytest.raises(DataError, match=r"deviation of 0\.\d+, those of val \d\d") as caught:
        open_data(((images / 255, labels), (images, labels)))
    assert caught.value.hint.startswith("scale all splits in the same way")
    open_data(((images / 255, labels), (images[:4] / 200, labels[:4])))
    open_data(((images, labels), (images // 100, labels)))


@pytest.mark.parametrize("beginning", ["", "full_numpy_bitmap_"])
def test_files_of_images_alone_are_a_class_each(tmp_path, beginning):
    pixels = images(8, 6, 6)
    for number, name in enumerate(("cat", "dog")):
        rows = pixels[4 * number : 4 * number + 3 + number]
        np.save(tmp_path / f"{beginning}{name}.npy", rows.reshape(len(rows), -1))
    data = open_data(tmp_path)
    assert data.samples.class_names == ("cat", "dog")
    assert data.samples.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert np.array_equal(data.reader.read(3)[..., 0], pixels[4])
    assert data.notes == ("each of the 2 files is a class: 'cat', 'dog'",)


@pytest.mark.parametrize(
    ("names", "shape", "dtype"),
    [
        (("train_feats", "val_feats"), (4, 6, 6), "uint8"),  # splits
        (("a", "b"), (4, 36), "float32"),  # no pixels
        (("a", "b"), (4, 35), "uint8"),
        (("a", "b"), (4,), "uint8"),
        (("a", "b"), (8, 8, 3), "uint8"),  # an image each
        (("a", "b"), (36, 36), "uint8"),
        (("img1", "img2"), (4, 6, 6), "uint8"),
    ],
)
def test_other_files_are_no_classes(tmp_path, names, shape, dtype):
    for name in names:
        np.save(tmp_path / f"{name}.npy", np.zeros(shape, dtype))
    assert "none is named as images or labels" in fail(tmp_path).message


def test_arrays_in_a_file_each_are_found_behind_a_common_beginning(tmp_path):
    for split, count in (("train", 6), ("test", 3)):
        np.savez(tmp_path / f"kmnist-{split}-imgs.npz", images(count, 5, 5))
        np.savez(tmp_path / f"kmnist-{split}-labels.npz", np.arange(count) % 3)
    (tmp_path / "kmnist_classmap.csv").write_text("index,char\n0,o\n1,ki\n2,su\n")
    data = open_data(tmp_path)
    assert data.given.tolist() == [0] * 6 + [2] * 3
    assert data.samples.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2]


def test_npz_beside_npy_is_something_else(tmp_path):
    np.save(tmp_path / "images.npy", images(6, 4, 4))
    np.save(tmp_path / "labels.npy", LABELS)
    np.savez(tmp_path / "data.npz", images(3, 2, 2), images(3, 2, 2))
    assert len(open_data(tmp_path).samples) == 6


@pytest.mark.parametrize(
    ("labels", "mark"), [((0, 1, 2, -100), -100), ((-1, 0, 1, 2), -1), ((0, 255, 1, 2), 255)]
)
def test_a_label_that_may_mark_what_a_loss_ignores_is_noted(labels, mark):
    images = np.zeros((4, 6, 6), np.uint8)
    notes = open_data((images, np.array(labels))).notes
    assert any(f"'{mark}' is a class, in 1 of the labels" in note for note in notes)
    assert not any(
        "is a class" in note for note in open_data((images, np.array([0, 1, 2, 3]))).notes
    )
