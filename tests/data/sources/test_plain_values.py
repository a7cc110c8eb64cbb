"""Columns and frames of pandas and polars in place of arrays."""

import numpy as np
import pytest
from PIL import Image

from torchloupe.data.sources import open_data
from torchloupe.data.sources.plain_values import as_plain
from torchloupe.errors import DataError, UsageError

pd = pytest.importorskip("pandas")

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 4, 4), np.uint8)
LABELS = np.arange(12) % 3
TEXTS = np.array(["cat", "dog", "owl"], dtype=object)[LABELS]


def frame(*beginnings: str) -> object:
    names = [f"{beginnings[0] if beginnings else ''}{k}" for k in range(16)]
    return pd.DataFrame(PIXELS.reshape(12, -1), columns=names)


@pytest.mark.parametrize("beginning", ["pixel", "", "px_"])
@pytest.mark.parametrize("labels", [LABELS, pd.Series(LABELS, index=range(50, 62)), list(LABELS)])
def test_a_frame_of_pixels_is_images(beginning, labels):
    data = open_data((frame(beginning), labels))
    assert np.array_equal(data.reader.read(5)[..., 0], PIXELS[5])
    assert data.samples.labels.tolist() == LABELS.tolist()


def test_a_frame_with_a_label_column_is_images_and_labels():
    table = frame("pixel").assign(label=TEXTS)
    data = open_data(table)
    assert data.samples.class_names == ("cat", "dog", "owl")
    assert np.array_equal(data.reader.read(11)[..., 0], PIXELS[11])


@pytest.mark.parametrize(
    "labels", [TEXTS, pd.Categorical(TEXTS), pd.Series(TEXTS), pd.Series(TEXTS, dtype="category")]
)
def test_texts_are_labels_however_pandas_keeps_them(labels):
    data = open_data(((PIXELS, labels), (PIXELS, labels)))
    assert data.samples.class_names == ("cat", "dog", "owl")
    assert len(data.samples) == 24


@pytest.mark.parametrize(
    "value",
    [
        pd.DataFrame({"image": ["1.png"], "label": ["a"]}),
        pd.DataFrame(np.zeros((2, 15), np.uint8)),  # no square
        pd.DataFrame(
            np.zeros((2, 16), np.uint8), columns=[f"feature {k}" for k in "abcdefghijklmnop"]
        ),
        frame("v").assign(path="1.png", label="a", size=3),
        (PIXELS, LABELS),
        {"train": (PIXELS, LABELS)},
        "digits",
    ],
)
def test_all_else_stays_as_it_is(value):
    assert as_plain(value) is value


def test_a_frame_of_pixels_may_have_other_columns():
    more = {"split": ["train"] * 8 + ["test"] * 4, "patient_id": np.arange(12) // 2}
    data = open_data(frame("pixel").assign(label=TEXTS, **more))
    assert data.given.tolist() == [0] * 8 + [2] * 4
    assert data.samples.groups.tolist() == (np.arange(12) // 2).tolist()
    assert np.array_equal(data.reader.read(11)[..., 0], PIXELS[11])


def test_a_frame_of_pixels_with_an_id_alone_has_no_labels():
    with pytest.raises(DataError, match="no column of labels: 'id' is an id or a file"):
        open_data(frame("pixel").assign(id=np.arange(12)))


def test_a_frame_of_cells_of_pixels_is_images():
    cells = [" ".join(map(str, image.ravel())) for image in PIXELS]
    use = ["Training"] * 8 + ["PublicTest", "PrivateTest"] * 2
    data = open_data(pd.DataFrame({"emotion": LABELS % 2, "pixels": cells, "Usage": use}))
    assert np.bincount(data.given).tolist() == [8, 2, 2]
    assert np.array_equal(data.reader.read(7)[..., 0], PIXELS[7])


@pytest.mark.parametrize("dtype", [object, "path"])
def test_arrays_of_images_of_several_sizes_are_lists(tmp_path, dtype):
    images = np.empty(12, object)
    for k in range(12):
        images[k] = np.full((4 + k, 4, 3), k, np.uint8)
    if dtype == "path":
        for k in range(12):
            Image.fromarray(images[k]).save(tmp_path / f"{k}.png")
        images = np.array([str(tmp_path / f"{k}.png") for k in range(12)])
    data = open_data((images, LABELS))
    assert len(data.samples) == 12
    assert data.samples.class_names == ("0", "1", "2")


@pytest.mark.parametrize(
    ("module", "name", "run"),
    [
        ("polars.lazyframe.frame", "LazyFrame", "collect"),
        ("dask.dataframe", "DataFrame", "compute"),
        ("pyspark.sql", "DataFrame", "toPandas"),
    ],
)
def test_frames_that_are_queries_are_refused(module, name, run):
    query = type(name, (), {"__module__": module, "columns": ["image", "label"]})()
    for source in (query, (query, query), {"train": query}):
        with pytest.raises(UsageError) as caught:
            open_data(source)
        assert caught.value.hint == f"give what it results in: frame.{run}()"
