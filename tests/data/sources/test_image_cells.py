"""Images in cells, as base64."""

import base64
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image
from trees import labels, write

from torchloupe.data.image.formats import MAX_BYTES, ImageError
from torchloupe.data.sources import open_data
from torchloupe.data.sources.image_cells import CellReader, are_images


def encoded(value):
    stream = io.BytesIO()
    Image.new("L", (9, 7), value).save(stream, "PNG")
    return stream.getvalue()


IMAGES = [encoded(1), encoded(2)]
CELLS = [base64.b64encode(image).decode() for image in IMAGES]


@pytest.mark.parametrize("form", ["csv", "data", "json", "parquet"])
def test_tables_of_images_in_cells(tmp_path, form):
    path = tmp_path / f"t.{'csv' if form == 'data' else form}"
    if form == "json":
        rows = [{"image": {"bytes": c}, "label": k} for c, k in zip(CELLS, "ab", strict=True)]
        path.write_text(json.dumps(rows))
    elif form == "parquet":
        pa.parquet.write_table(pa.table({"image": CELLS, "label": ["a", "b"]}), path)
    else:
        start = "data:image/png;base64," if form == "data" else ""
        rows = [f'"{start}{cell}",{label}' for cell, label in zip(CELLS, "ab", strict=True)]
        write(tmp_path, path.name, "any,breed", *rows)
    data = open_data(path)
    assert [data.reader.read(row) for row in range(2)] == IMAGES
    assert labels(data) == ["a", "b"]
    assert data.notes == ("the images are in the cells of the table, as base64",)


def test_rows_longer_than_a_block_are_read(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (1_000, 1_200), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "BMP")
    cell = base64.b64encode(stream.getvalue()).decode()
    data = open_data(write(tmp_path, "t.csv", "image,label", f"{cell},a", f"{CELLS[0]},b"))
    assert data.reader.read(0) == stream.getvalue()
    assert data.reader.read(1) == IMAGES[0]


def test_what_is_no_image_as_base64():
    for cell in ("http://example.org/" + "a" * 80 + ".png", "a" * 64, "cat", CELLS[0][1:]):
        assert not are_images(np.array([cell]))


def test_broken_and_too_large_cells_are_refused_when_read():
    reader = CellReader(np.array(["%%%", "A" * (MAX_BYTES // 3 * 4 + 300)], dtype=object))
    with pytest.raises(ImageError, match="no image as base64"):
        reader.read(0)
    with pytest.raises(ImageError, match="too large"):
        reader.read(1)
