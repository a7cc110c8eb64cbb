"""Lists of labels in MATLAB's files, as the Oxford flowers and Stanford's cars have them."""

import numpy as np
import pytest
import scipy.io
from trees import fail, ids, labels, plant, write

from torchloupe.data.sources import open_data


def cells(*texts):
    """A cell array of texts, [N, 1] as MATLAB has it."""
    found = np.empty((len(texts), 1), dtype=object)
    found[:, 0] = texts
    return found


def write_flowers(folder):
    plant(folder, *(f"jpg/image_{k:05d}.jpg" for k in range(1, 9)))
    scipy.io.savemat(folder / "imagelabels.mat", {"labels": np.array([[1, 2, 1, 2, 77, 77, 1, 2]])})
    splits = {"trnid": [[6, 1, 4]], "valid": [[2, 3, 5]], "tstid": [[8]]}
    scipy.io.savemat(folder / "setid.mat", {k: np.array(v, float) for k, v in splits.items()})
    return folder


def test_numbered_images_get_their_labels_and_splits(tmp_path):
    folder = write_flowers(tmp_path)
    for source in (folder, folder / "imagelabels.mat"):
        data = open_data(source)
        assert ids(data) == [f"jpg/image_{k:05d}.jpg" for k in (1, 2, 3, 4, 5, 6, 8)]
        assert labels(data) == ["1", "2", "1", "2", "77", "77", "2"]
        assert data.given.tolist() == [0, 1, 1, 0, 1, 0, 2]
        assert (
            "imagelabels.mat labels the 8 images by their numbers; the splits are those of "
            "setid.mat; 1 image in none of them"
        ) in data.notes


def test_numbered_images_get_names_from_a_list(tmp_path):
    folder = write_flowers(tmp_path)
    write(folder, "cat_to_name.json", '{"1": "rose", "2": "iris", "77": "lily"}')
    assert labels(open_data(folder))[:5] == ["rose", "iris", "rose", "iris", "lily"]


def test_structs_of_cars_are_rows_with_names_and_a_split(tmp_path):
    plant(tmp_path, *(f"car_ims/00000{k}.jpg" for k in (1, 2, 3, 4)))
    rows = [
        (f"car_ims/00000{k}.jpg", 3.0, 9.0, float(kind), float(k > 2))
        for k, kind in ((1, 2), (2, 1), (3, 1), (4, 2))
    ]
    kinds = [(name, object) for name in ("relative_im_path", "x1", "x2", "class", "test")]
    names = np.array([["Audi", "BMW"]], dtype=object)
    path = tmp_path / "cars_annos.mat"
    scipy.io.savemat(path, {"annotations": np.array([rows], dtype=kinds), "class_names": names})
    assert "cars_annos.mat" in fail(tmp_path).hint
    data = open_data(path)
    assert labels(data) == ["BMW", "Audi", "Audi", "BMW"]
    assert ids(data)[0] == "car_ims/000001.jpg"
    assert data.given.tolist() == [0, 0, 2, 2]


def test_lists_of_dogs_are_splits_with_the_names_of_folders(tmp_path):
    files = [f"{kind}/{kind}_{k}.jpg" for kind in ("n1-Beagle", "n2-Pug") for k in range(4)]
    plant(tmp_path, *(f"Images/{file}" for file in files))
    numbers = np.repeat([1, 2], 4)
    for name, rows in (("train_list", [0, 1, 2, 4, 5, 6]), ("test_list", [3, 7])):
        content = {
            "file_list": cells(*(files[row] for row in rows)),
            "annotation_list": cells(*(files[row][:-4] for row in rows)),
            "labels": numbers[rows][:, None].astype(float),
        }
        scipy.io.savemat(tmp_path / f"{name}.mat", content)
    data = open_data(tmp_path)
    assert data.given.tolist() == [0] * 6 + [2] * 2
    assert labels(data) == ["n1-Beagle"] * 3 + ["n2-Pug"] * 3 + ["n1-Beagle", "n2-Pug"]


def test_files_that_list_no_images_are_refused(tmp_path):
    plant(tmp_path, "jpg/1.jpg", "jpg/2.jpg")
    path = tmp_path / "labels.mat"
    scipy.io.savemat(path, {"labels": np.array([[1, 2, 3]])})
    error = fail(path)
    assert "lists no images" in error.message
    assert error.hint == "write its labels into a .csv with the columns image and label"


@pytest.mark.parametrize(
    "content",
    [
        {"X": np.zeros((32, 32, 3, 9), np.uint8), "y": np.arange(9)[:, None] % 3},
        {"dataset": {"train": {"images": np.zeros((9, 64), np.uint8), "labels": np.arange(9)}}},
    ],
)
def test_images_in_arrays_have_a_next_step(tmp_path, content):
    scipy.io.savemat(tmp_path / "set.mat", content)
    error = fail(tmp_path / "set.mat")
    assert "holds images as an array, " in error.message
    assert "numpy.savez('set.npz', images=..., labels=...)" in error.hint


def test_a_file_of_svhn_leads_to_its_folder(tmp_path):
    images = np.zeros((32, 32, 3, 12), np.uint8)
    path = tmp_path / "train_32x32.mat"
    scipy.io.savemat(path, {"X": images, "y": np.ones((12, 1), np.uint8)})
    assert fail(path).hint == f"give its folder, which is read as SVHN: {tmp_path}"
