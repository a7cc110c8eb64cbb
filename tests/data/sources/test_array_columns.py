"""Arrays beside images and labels: splits, groups, names, and those that are not used."""

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from torchloupe.data.sources import open_data
from torchloupe.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 4, 4), np.uint8)
LABELS = np.arange(12) % 2
SPLIT = np.array(["train"] * 8 + ["test", "val"] * 2)
PATIENTS = np.arange(12) // 2


def save(folder, *arrays, **named):
    np.savez(folder / "x.npz", *arrays, **named)
    return folder / "x.npz"


def save_npy(folder, **named):
    for name, array in named.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def save_torch(folder, **named):
    plain = {
        k: v.tolist() if v.dtype.kind == "U" else torch.from_numpy(v) for k, v in named.items()
    }
    torch.save(plain, folder / "x.pt")
    return folder / "x.pt"


def save_h5(folder, **named):
    with pytest.importorskip("h5py").File(folder / "x.h5", "w") as file:
        for name, array in named.items():
            file[name] = np.char.encode(array) if array.dtype.kind == "U" else array
    return folder / "x.h5"


@pytest.mark.parametrize("save", [save, save_npy, save_torch, save_h5, lambda _, **named: named])
def test_arrays_of_a_value_for_each_image_are_columns(tmp_path, save):
    more = {"split": SPLIT, "patient_id": PATIENTS, "label_name": np.array(["neg", "pos"] * 6)}
    data = open_data(save(tmp_path, images=IMAGES, labels=LABELS, **more))
    assert data.given.tolist() == [0] * 8 + [2, 1] * 2
    assert data.samples.groups.tolist() == PATIENTS.tolist()
    assert data.samples.class_names == ("neg", "pos")
    assert data.samples.labels.tolist() == LABELS.tolist()
    assert np.array_equal(data.reader.read(3)[..., 0], IMAGES[3])


@pytest.mark.parametrize(
    "more",
    [
        {"train_idx": np.arange(8), "test_idx": np.arange(8, 12)},
        {"test_indices": np.arange(8, 12)},
        {"train_mask": np.arange(12) < 8, "test_mask": np.arange(12) >= 8},
    ],
)
def test_arrays_of_row_numbers_are_the_split(tmp_path, more):
    data = open_data(save(tmp_path, x=IMAGES, y=LABELS, **more))
    assert data.given.tolist() == [0] * 8 + [2] * 4


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"train_idx": np.arange(8), "test_idx": np.arange(7, 12)}, "row 7 is in more than one"),
        ({"train_idx": np.arange(8), "test_idx": np.arange(9, 12)}, "row 8 is in none"),
        ({"split": np.array(["a", "b"] * 6)}, "array 'split' holds 'a', 'b'"),
    ],
)
def test_arrays_that_divide_the_images_wrongly_are_refused(tmp_path, more, message):
    with pytest.raises(DataError) as caught:
        open_data(save(tmp_path, images=IMAGES, labels=LABELS, **more))
    assert message.replace("array 'split'", "column 'split'") in caught.value.message


@pytest.mark.parametrize(
    ("arrays", "counts"),
    [
        ((IMAGES[:8], LABELS[:8], IMAGES[8:], LABELS[8:]), [8, 0, 4]),
        ((IMAGES[:8], IMAGES[8:], LABELS[:8], LABELS[8:]), [8, 0, 4]),
        ((IMAGES[:6], LABELS[:6], IMAGES[6:8], LABELS[6:8], IMAGES[8:], LABELS[8:]), [6, 2, 4]),
    ],
)
def test_arrays_without_names_are_told_by_their_shapes(tmp_path, arrays, counts):
    data = open_data(save(tmp_path, *arrays))
    assert np.bincount(data.given).tolist() == counts
    assert data.notes[0].startswith("arrays without names are images and labels by their shapes:")


def test_safetensors_without_names_are_told_by_their_shapes(tmp_path):
    arrays = (IMAGES[:8], LABELS[:8], IMAGES[8:], LABELS[8:])
    named = {f"arr_{k}": np.ascontiguousarray(array) for k, array in enumerate(arrays)}
    save_file(named, tmp_path / "x.safetensors")
    assert np.bincount(open_data(tmp_path / "x.safetensors").given).tolist() == [8, 0, 4]


def test_labels_before_images_are_told_by_their_shapes(tmp_path):
    assert open_data(save(tmp_path, LABELS, IMAGES)).samples.labels.tolist() == LABELS.tolist()


def test_arrays_without_names_that_are_no_pairs_are_refused(tmp_path):
    with pytest.raises(DataError, match="which images go with which labels is unknown"):
        open_data(save(tmp_path, IMAGES[:8], LABELS[:8], IMAGES[8:], LABELS[8:11]))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"extra": IMAGES[:3]}, "'extra' [3, 4, 4]"),
        ({"coarse": LABELS}, "'coarse' [12]"),
        ({"test_rows": np.array(["a", "b"])}, "'test_rows' [2]"),
    ],
)
def test_arrays_that_are_not_used_are_noted(tmp_path, more, told):
    data = open_data(save(tmp_path, images=IMAGES, labels=LABELS, **more))
    assert data.notes == (f"arrays that are not used: {told}",)
    parts = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:4], "y_test": LABELS[:4]}
    assert f"arrays that are not used: {told}" in open_data(save(tmp_path, **parts, **more)).notes


@pytest.mark.parametrize(
    "more", [{"ids": np.arange(12)}, {"mean": 0.5}, {"age": np.arange(12) / 7}]
)
def test_arrays_of_ids_and_measures_are_not_noted(tmp_path, more):
    assert open_data(save(tmp_path, images=IMAGES, labels=LABELS, **more)).notes == ()


def test_arrays_of_objects_beside_are_noted(tmp_path):
    more = np.array(["train", None] * 6, dtype=object)
    data = open_data(save(tmp_path, images=IMAGES, labels=LABELS, split=more))
    assert data.notes == ("'split' can't be read as plain arrays, and is not used",)


@pytest.mark.parametrize("name", ["groups", "patient_ids", "subjects"])
def test_arrays_of_groups_may_be_called_by_a_plural(tmp_path, name):
    data = open_data(save(tmp_path, images=IMAGES, labels=LABELS, **{name: PATIENTS}))
    assert data.samples.groups.tolist() == PATIENTS.tolist()


@pytest.mark.parametrize(
    ("more", "given"),
    [
        ({"is_train": np.arange(12) < 8}, [0] * 8 + [2] * 4),
        ({"set": np.repeat([0, 1, 2], [8, 2, 2])}, [0] * 8 + [1] * 2 + [2] * 2),
        ({"split": [*SPLIT]}, [0] * 8 + [2, 1] * 2),
    ],
)
def test_flags_numbers_and_lists_are_the_split(more, given):
    data = open_data({"images": IMAGES, "labels": LABELS, **more})
    assert data.given.tolist() == given
