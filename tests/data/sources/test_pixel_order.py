"""Columns of pixels are put in the order of the numbers in their names, if these are all there."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from trees import labels, write

from torchloupe.data.sources import open_data
from torchloupe.data.sources.pixel_order import order_pixels, read_pixel_name

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 144), np.uint8)
PLACES = [(row, column) for row in range(12) for column in range(12)]
NOTE = "the pixels are in the order of their numbers, "
FORMS = [
    [f"pixel{k}" for k in range(144)],
    [f"Pixel_{k + 1}" for k in range(144)],
    [str(k) for k in range(144)],
    [f"{row + 1}x{column + 1}" for row, column in PLACES],
    [f"r{row}c{column}" for row, column in PLACES],
    [f"px_{row}_{column}" for row, column in PLACES],
    [f"row {row} col {column}" for row, column in PLACES],
    [f"x{column}y{row}" for row, column in PLACES],
    [f"v2_pixel{k}" for k in range(144)],
]


def columns(names, order):
    """A column of labels, and those of pixels in another order."""
    place = dict(zip(names, PIXELS.T.tolist(), strict=True))
    return {"label": [0, 1, 2] * 2, **{name: place[name] for name in order}}


def save(folder, cells, ending="csv"):
    if ending == "parquet":
        pyarrow.parquet.write_table(pa.table(cells), folder / "t.parquet")
        return folder / "t.parquet"
    rows = zip(*cells.values(), strict=True)
    return write(folder, "t.csv", ",".join(cells), *(",".join(map(str, row)) for row in rows))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("names", FORMS)
def test_columns_in_the_order_of_texts_are_sorted(tmp_path, names, ending):
    data = open_data(save(tmp_path, columns(names, sorted(names)), ending))
    assert np.array_equal(data.reader.array, PIXELS.reshape(6, 12, 12, 1))
    assert labels(data) == ["0", "1", "2"] * 2
    assert any(note.startswith(NOTE) for note in data.notes)
    plain = open_data(save(tmp_path, columns(names, names), ending))
    assert np.array_equal(plain.reader.array, data.reader.array)
    assert plain.notes == ()
    assert plain.stamp != data.stamp


@pytest.mark.parametrize("names", FORMS[:6])
def test_columns_of_frames_are_sorted(names):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(columns(names, sorted(names))).astype(np.uint8)
    data = open_data(frame)
    assert np.array_equal(data.reader.array, PIXELS.reshape(6, 12, 12, 1))
    frame = frame.drop(columns="label")
    assert np.array_equal(open_data((frame, [0, 1] * 3)).reader.array, data.reader.array)


@pytest.mark.parametrize(
    "names",
    [
        ["pixel2", "pixel1", "pixel4"],  # some lack
        ["pixel3", "pixel2", "pixel4"],  # counted from 2
        ["a2", "b1", "a0"],
        ["pixel", "pixel1"],
        ["p1", "p1x2", "p0"],
        ["2x1", "1x1", "2x2"],
        ["1x1", "2x1", "3x1", "1x2", "2x2", "3x2"],  # column by column, as it stands there
        ["pixel01", "pixel1", "pixel0"],
    ],
)
def test_other_names_keep_their_order(names):
    assert order_pixels(names) == names


def test_names_of_rows_and_columns_decide():
    assert order_pixels(["r0c0", "r1c0", "r0c1", "r1c1"]) == ["r0c0", "r0c1", "r1c0", "r1c1"]
    assert order_pixels(["x0y0", "x0y1", "x1y0", "x1y1"]) == ["x0y0", "x1y0", "x0y1", "x1y1"]


def test_a_name_is_cut_up():
    found = read_pixel_name(" R0_C12")
    assert (found.texts, found.numbers) == (("r", "_c"), (0, 12))
    assert read_pixel_name("label") is None
