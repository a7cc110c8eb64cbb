"""Parquet files with the images in them, as Hugging Face writes them."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from torchloupe.data.image.formats import ImageError
from torchloupe.data.sources import open_data
from torchloupe.data.sources.parquet_images import find_parquet
from torchloupe.errors import LoupeError


def encode(value):
    buffer = io.BytesIO()
    Image.new("L", (4, 4), value).save(buffer, "PNG")
    return buffer.getvalue()


def write(path, labels, column="image", names=("cat", "dog"), label="label", **more):
    images = [{"bytes": encode(k), "path": f"{k}.png"} for k in range(len(labels))]
    table = pa.table({column: images, label: labels, **more})
    if names:
        features = {label: {"names": list(names), "_type": "ClassLabel"}}
        text = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": text})
    path.parent.mkdir(exist_ok=True, parents=True)
    pq.write_table(table, path, row_group_size=3)
    return path


def fail(source, **options):
    with pytest.raises(LoupeError) as caught:
        open_data(source, **options)
    return caught.value


def test_parquet_images_are_read_in_place(tmp_path):
    path = write(tmp_path / "pets.parquet", [0, 1, 1, 0, 1, 0, 0])
    data = open_data(path)
    assert (data.name, data.kind, data.given) == ("pets", "shards", None)
    assert data.samples.class_names == ("cat", "dog")
    assert data.samples.labels.tolist() == [0, 1, 1, 0, 1, 0, 0]
    assert data.samples.ids[6] == "pets.parquet/6"
    assert [data.reader.read(row) for row in (6, 0, 4)] == [encode(6), encode(0), encode(4)]


@pytest.mark.parametrize("folder", ["", "data"])
def test_parquet_images_in_folders_have_splits(tmp_path, folder):
    place = tmp_path / "pets" / folder
    write(place / "train-00000-of-00002.parquet", [0, 1, 0, 1])
    write(place / "train-00001-of-00002.parquet", [0, 1])
    write(place / "test-00000-of-00001.parquet", [1, 0])
    (tmp_path / "pets" / "README.md").write_text("x")
    data = open_data(tmp_path / "pets")
    assert data.name == "pets"
    assert data.given.tolist() == [0] * 6 + [2] * 2
    assert data.samples.labels.tolist() == [0, 1, 0, 1, 0, 1, 1, 0]
    assert data.reader.read(7) == encode(1)


def test_parquet_images_may_have_labels_as_text(tmp_path):
    data = open_data(write(tmp_path / "a.parquet", ["dog", "cat"], "img", names=()))
    assert data.samples.class_names == ("cat", "dog")
    assert data.samples.labels.tolist() == [1, 0]


def test_parquet_images_ask_for_a_column_in_doubt(tmp_path):
    path = write(tmp_path / "a.parquet", [0, 1], label="fine_label", coarse_label=[1, 1])
    error = fail(path)
    assert error.message == (
        f"{path} has no column that is surely the label: its columns are 'image', 'fine_label', "
        "'coarse_label'"
    )
    assert error.hint == "say which: data.label_column=NAME"
    assert open_data(path, label_column="fine_label").samples.class_names == ("cat", "dog")
    error = fail(path, label_column="fine_labels")
    assert error.message == f"{path} has no column 'fine_labels' (data.label_column)"
    assert error.hint == "did you mean 'fine_label' or 'coarse_label'?"
    path = write(tmp_path / "b.parquet", [0, None])
    assert fail(path).message == f"{path}: column 'label' has no label in row 1"


def test_parquet_images_without_bytes_are_unreadable(tmp_path):
    path = tmp_path / "a.parquet"
    images = [{"bytes": encode(1), "path": "x"}, {"bytes": None, "path": "/etc/passwd"}]
    pq.write_table(pa.table({"image": images, "label": [0, 1]}), path)
    data = open_data(path)
    with pytest.raises(ImageError, match="the cell holds no bytes of an image"):
        data.reader.read(1)


def test_parquet_labels_are_places_in_the_names_even_if_names_are_numbers(tmp_path):
    path = write(tmp_path / "a.parquet", [0, 1, 2, 1], names=("1", "10", "2"))
    data = open_data(path)
    assert [data.samples.class_names[k] for k in data.samples.labels] == ["1", "10", "2", "10"]
    assert fail(write(tmp_path / "b.parquet", [0, 2])).message == (
        f"{tmp_path}/b.parquet: column 'label' has label 2, and names for 0 to 1"
    )


def test_parquet_files_that_number_classes_differently_are_refused(tmp_path):
    write(tmp_path / "train-0.parquet", [0, 1])
    write(tmp_path / "train-1.parquet", [0, 1], names=("dog", "cat"))
    assert "number their classes differently: 'cat', 'dog', and 'dog', 'cat'" in (
        fail(tmp_path).message
    )


def test_parquet_test_files_without_labels_are_left_out(tmp_path):
    write(tmp_path / "train-0.parquet", [0, 1, 0])
    write(tmp_path / "test-0.parquet", [-1, -1])
    data = open_data(tmp_path)
    assert (len(data.samples), data.given) == (3, None)
    assert data.notes == ("test-0.parquet is not used: it has no labels (all are -1)",)


def test_parquet_files_in_folders_of_splits(tmp_path):
    for name in ("train", "test"):
        write(tmp_path / "pets" / "default" / name / "0000.parquet", [0, 1])
    data = open_data(tmp_path / "pets")
    assert data.given.tolist() == [0, 0, 2, 2]
    assert data.samples.ids.tolist()[::2] == ["train/0000.parquet/0", "test/0000.parquet/0"]


def test_parquet_labels_in_structs_are_read(tmp_path):
    rows = [{"id": 1, "name": "dog"}, {"id": 0, "name": "cat"}]
    data = open_data(write(tmp_path / "a.parquet", rows, names=()))
    assert data.samples.class_names == ("cat", "dog")
    assert data.samples.labels.tolist() == [1, 0]


@pytest.mark.parametrize("names", [("cat", "dog", "cow"), ()])
def test_parquet_labels_in_lists_are_several(tmp_path, names):
    data = open_data(write(tmp_path / "a.parquet", [[0, 2], [1], []], names=names))
    assert data.samples.class_names == (names or ("0", "1", "2"))
    assert data.samples.labels.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
    rows = [[{"name": "cat"}, {"name": "dog"}], [{"name": "dog"}]]
    data = open_data(write(tmp_path / "b.parquet", rows, names=()))
    assert data.samples.labels.tolist() == [[1, 1], [0, 1]]


def test_parquet_names_of_lists_are_those_of_what_is_in_them(tmp_path):
    path = write(tmp_path / "a.parquet", [[0, 2], [1]], names=())
    feature = {"feature": {"names": ["a", "b", "c"], "_type": "ClassLabel"}, "_type": "Sequence"}
    text = json.dumps({"info": {"features": {"label": feature}}})
    pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": text}), path)
    assert open_data(path).samples.class_names == ("a", "b", "c")


def test_parquet_lists_with_numbers_beyond_the_names_are_refused(tmp_path):
    error = fail(write(tmp_path / "a.parquet", [[0, 2], [1]]))
    assert error.message.endswith("column 'label' has label 2, and names for 0 to 1")


def test_tables_of_files_with_labels_in_structs_are_read(tmp_path):
    for k in range(3):
        (tmp_path / f"{k}.png").write_bytes(encode(k))
    files = [f"{k}.png" for k in range(3)]
    one = {"path": files, "label": [{"id": 7, "name": w} for w in ("dog", "cat", "dog")]}
    pq.write_table(pa.table(one), tmp_path / "t.parquet")
    data = open_data(tmp_path / "t.parquet")
    assert data.samples.class_names == ("cat", "dog")
    assert data.samples.labels.tolist() == [1, 0, 1]
    many = {"path": files, "label": [[{"name": "a"}, {"name": "b"}], [{"name": "b"}], []]}
    pq.write_table(pa.table(many), tmp_path / "t.parquet")
    data = open_data(tmp_path / "t.parquet")
    assert data.samples.labels.tolist() == [[1, 1], [0, 1], [0, 0]]


def test_a_binary_column_is_known_by_its_first_image(tmp_path):
    image = io.BytesIO()
    Image.new("L", (3, 2)).save(image, "PNG")
    for name, cell, found in (("a", image.getvalue(), True), ("b", b"no image", False)):
        rows = [{"blob": cell, "cls": word} for word in ("cat", "dog")]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
        assert bool(find_parquet(tmp_path / f"{name}.parquet")) == found
    data = open_data(tmp_path / "a.parquet")
    assert data.samples.class_names == ("cat", "dog")
    assert data.reader.read(1) == image.getvalue()


SPLIT = ["train"] * 8 + ["val", "test"] * 4


def test_parquet_columns_give_splits_groups_and_names(tmp_path):
    labels, names, patients = [0, 1] * 8, ["neg", "pos"] * 8, [k // 2 for k in range(16)]
    more = {"label_name": names, "split": SPLIT, "patient_id": patients}
    path = write(tmp_path / "x.parquet", labels, names=(), **more)
    data = open_data(path)
    assert data.given.tolist() == [0] * 8 + [1, 2] * 4
    assert data.samples.groups.tolist() == patients
    assert data.samples.class_names == ("neg", "pos")
    assert open_data(path, split_column="none").given is None
    assert "patient_id" in open_data(path, split_column="none").notes[0]
    assert open_data(path, class_names=("a", "b")).samples.class_names == ("a", "b")


def test_parquet_labels_are_the_column_that_says_nothing_else(tmp_path):
    path = write(tmp_path / "x.parquet", list("ab") * 8, names=(), label="cell", split=SPLIT)
    data = open_data(path)
    assert (data.samples.class_names, data.given is None) == (("a", "b"), False)


def test_parquet_files_named_by_split_come_before_a_column_of_splits(tmp_path):
    write(tmp_path / "train-0.parquet", [0, 1, 0, 1], split=["train", "train", "val", "val"])
    write(tmp_path / "test-0.parquet", [0, 1], split=["test", "test"])
    data = open_data(tmp_path)
    assert data.given.tolist() == [0] * 4 + [2] * 2
    assert data.notes == (
        "column 'split' is not used: the names of the files say another split of 2 rows; "
        "data.split_column=split uses it",
    )
    assert open_data(tmp_path, split_column="split").given.tolist() == [0, 0, 1, 1, 2, 2]


def test_parquet_columns_that_only_some_files_have_are_not_read(tmp_path):
    write(tmp_path / "a.parquet", [0, 1, 0, 1], patient=[0, 1, 2, 3])
    write(tmp_path / "b.parquet", [0, 1])
    assert open_data(tmp_path).samples.groups is None
    assert "no column 'fold'" in fail(tmp_path, split_column="fold").message
