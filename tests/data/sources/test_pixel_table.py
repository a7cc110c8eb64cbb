"""Pixels in tables: a column a pixel, or numbers separated by spaces, as square images."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from trees import fail, labels, plant, write

from torchloupe.data.sources import open_data
from torchloupe.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 16), np.uint8)
DIGITS = [0, 1, 2, 0, 1, 2]


def rows(pixels, at=0):
    for digit, row in zip(DIGITS, pixels, strict=True):
        cells = [*map(str, row)]
        cells.insert(at, str(digit))
        yield ",".join(cells)


@pytest.mark.parametrize(
    "names",
    [
        [f"pixel{k}" for k in range(16)],
        [f"pixel_{k + 1:03}" for k in range(16)],
        [f"{k}x{j}" for k in range(1, 5) for j in range(1, 5)],
        [str(k) for k in range(16)],
    ],
)
def test_a_column_a_pixel(tmp_path, names):
    for at in (0, 16):
        header = [*names[:at], "label", *names[at:]]
        data = open_data(write(tmp_path, "train.csv", ",".join(header), *rows(PIXELS, at)))
        assert (data.kind, labels(data)) == ("arrays", [str(digit) for digit in DIGITS])
        assert data.reader.array.dtype == np.uint8
        assert np.array_equal(data.reader.array, PIXELS.reshape(6, 4, 4, 1))


def test_an_index_beside_the_pixels_is_no_label(tmp_path):
    header = ",label," + ",".join(f"pixel{k}" for k in range(16))
    lines = [f"{k},{row}" for k, row in enumerate(rows(PIXELS))]
    data = open_data(write(tmp_path, "train.csv", header, *lines))
    assert labels(data) == [str(digit) for digit in DIGITS]
    assert np.array_equal(data.reader.array[5, :, :, 0], PIXELS[5].reshape(4, 4))


@pytest.mark.parametrize("at", [0, 16])
def test_numbers_without_a_header(tmp_path, at):
    data = open_data(write(tmp_path, "mnist.csv", *rows(PIXELS, at)))
    assert labels(data) == [str(digit) for digit in DIGITS]
    assert np.array_equal(data.reader.array, PIXELS.reshape(6, 4, 4, 1))


def test_a_column_of_numbers_separated_by_spaces_with_its_split(tmp_path):
    usage = ["Training"] * 3 + ["PublicTest", "PublicTest", "PrivateTest"]
    lines = [
        f"{digit},{' '.join(map(str, row))},{use}"
        for digit, row, use in zip([0, 1, 0, 0, 1, 1], PIXELS, usage, strict=True)
    ]
    data = open_data(write(tmp_path, "fer.csv", "emotion,pixels,Usage", *lines))
    assert data.given.tolist() == [0, 0, 0, 1, 1, 2]
    assert labels(data) == ["0", "1", "0", "0", "1", "1"]
    assert np.array_equal(data.reader.array, PIXELS.reshape(6, 4, 4, 1))
    assert data.notes[0] == "the split is that of column 'Usage': 3 train, 2 val, 1 test"


def test_pixels_in_parquet_and_as_fractions(tmp_path):
    fractions = PIXELS / np.float32(255)
    columns = {"label": pa.array(DIGITS)} | {
        f"pixel{k}": pa.array(fractions[:, k]) for k in range(16)
    }
    pa.parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    data = open_data(tmp_path / "t.parquet")
    assert data.reader.array.dtype == np.float32
    assert np.array_equal(data.reader.array[..., 0].reshape(6, 16), fractions)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_pixels_in_colour_need_a_layout(tmp_path, layout):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 48), np.uint8)
    header = ",".join(["label", *(f"pixel{k}" for k in range(48))])
    path = write(tmp_path, "t.csv", header, *rows(pixels))
    shape = (6, 4, 4, 3) if layout == "NHWC" else (6, 3, 4, 4)
    wanted = pixels.reshape(shape)
    wanted = wanted if layout == "NHWC" else wanted.transpose(0, 2, 3, 1)
    assert np.array_equal(open_data(path, layout=layout).reader.array, wanted)
    error = fail(path)
    assert (
        error.message
        == f"{path} has 48 numbers per image: 4 x 4 in 3 colours, in one of two orders"
    )
    assert error.hint == (
        "say which: data.layout=NHWC (red, green, blue of each pixel) or data.layout=NCHW (all red "
        "first)"
    )


def test_pixels_of_splits_in_tables_of_their_own(tmp_path):
    header = ",".join(["label", *(f"pixel{k}" for k in range(16))])
    for name in ("mnist_train.csv", "mnist_test.csv"):
        write(tmp_path, name, header, *rows(PIXELS))
    data = open_data(tmp_path)
    assert data.given.tolist() == [0] * 6 + [2] * 6
    assert data.reader.array.shape == (12, 4, 4, 1)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((",".join(["label", *(f"p{k}" for k in range(17))]), ",".join("1" * 18)),
         "{path} has 17 pixels per image, which is not a square in grey or in colour"),
        ((",".join(["label", *(f"p{k}" for k in range(16))]), ",".join("1" * 16) + ",x"),
         "{path} has pixels that can't be read: In CSV column #16: CSV conversion error to float: "
         "invalid value 'x'"),
        ((",".join(["label", *(f"p{k}" for k in range(16))]), ",".join("1" * 16) + ","),
         "{path} has pixels that can't be read: a pixel is missing or not a number"),
        (("label,pixels", "0," + " ".join("1" * 16), "1," + " ".join("1" * 15)),
         "{path} has 15 pixels in row 2 below the header, and 16 in the first"),
        ((",".join(["label", *(f"p{k}" for k in range(16))]),), "{path} lists no image"),
        ((",".join("1" * 18),), "{path} holds 18 numbers per row and no header"),
    ],
)  # fmt: skip
def test_pixels_that_can_not_be_read_are_refused(tmp_path, lines, message):
    path = write(tmp_path, "t.csv", *lines)
    error = fail(path)
    assert isinstance(error, DataError)
    assert error.message == message.format(path=path)
    assert error.hint


def test_a_first_image_that_pandas_took_for_the_header_is_no_image(tmp_path):
    header = ",".join(["0", *(f"0.{k}" for k in range(1, 17))])
    rows = [",".join([str(k % 2), *["9"] * 16]) for k in range(6)]
    data = open_data(write(tmp_path, "t.csv", header, *rows))
    assert len(data.samples) == 6 and data.samples.class_names == ("0", "1")


def test_numbers_beside_files_are_no_pixels(tmp_path):
    plant(tmp_path, *(f"images/{k}.png" for k in range(4)))
    header = ",".join(["image_id", "label", *(f"feature{k}" for k in range(25))])
    rows = [",".join([str(k), "ab"[k % 2], *["0.5"] * 25]) for k in range(4)]
    data = open_data(write(tmp_path, "t.csv", header, *rows))
    assert data.kind == "table" and labels(data) == ["a", "b", "a", "b"]


def test_columns_beside_pixels_are_those_of_tables_of_paths(tmp_path):
    header = "label,label_name,patient_id,split," + ",".join(f"pixel{k}" for k in range(16))
    names, patients = ["a", "b", "c"] * 4, [k // 3 for k in range(12)]
    use = ["test"] * 3 + ["train"] * 9
    lines = [
        f"{k % 3},{names[k]},{patients[k]},{use[k]},{','.join(map(str, PIXELS[k % 6]))}"
        for k in range(12)
    ]
    data = open_data(write(tmp_path, "train.csv", header, *lines))
    assert data.given.tolist() == [0] * 9 + [2] * 3
    assert data.samples.groups.tolist() == patients[3:] + patients[:3]
    assert labels(data) == names
    assert np.array_equal(data.reader.array[0], PIXELS[3].reshape(4, 4, 1))


def test_labels_beside_pixels_are_named_by_a_list_and_read_as_cells(tmp_path):
    header = "label," + ",".join(f"pixel{k}" for k in range(16))
    write(tmp_path, "classes.txt", "zero", "one", "two")
    data = open_data(write(tmp_path, "train.csv", header, *rows(PIXELS)))
    assert labels(data) == ["zero", "one", "two"] * 2
    (tmp_path / "classes.txt").unlink()
    cells = [f"{cell}.0,{','.join(map(str, PIXELS[0]))}" for cell in (1, 0)]
    assert labels(open_data(write(tmp_path, "floats.csv", header, *cells))) == ["1", "0"]
    cells = [f"{cell},{','.join(map(str, PIXELS[0]))}" for cell in ("a|b", "a", "b")]
    data = open_data(write(tmp_path, "more.csv", header, *cells))
    assert data.samples.labels.tolist() == [[1, 1], [1, 0], [0, 1]]


@pytest.mark.parametrize("name", ["id", "ImageId"])
def test_ids_beside_pixels_are_no_labels(tmp_path, name):
    header = f"{name}," + ",".join(f"pixel{k}" for k in range(16))
    lines = [f"{k},{','.join(map(str, row))}" for k, row in enumerate(PIXELS)]
    path = write(tmp_path, "test.csv", header, *lines)
    assert "no column of labels" in fail(path).message
    assert len(open_data(path, label_column=name).samples.class_names) == 6


def test_patients_beside_pixels_are_no_labels(tmp_path):
    header = "patient_id," + ",".join(f"pixel{k}" for k in range(16))
    path = write(tmp_path, "train.csv", header, *rows(PIXELS))
    assert "has no column of labels" in fail(path).message
