"""Lists beside a table that may say the splits of its images are pointed out."""

import pytest
from trees import plant, write

from torchloupe.data.sources import open_data


def make(folder):
    plant(folder, *(f"images/{k:03d}.jpg" for k in range(6)))
    rows = (f"{k:03d}.jpg,{'cat' if k % 2 else 'dog'}" for k in range(6))
    return write(folder, "labels.csv", "image,label", *rows)


def notes_on(path, **options):
    return [note for note in open_data(path, **options).notes if "may say their splits" in note]


def test_lists_of_splits_are_named(tmp_path):
    path = make(tmp_path)
    rows = (f"{k:03d}.jpg,{k // 3}" for k in range(6))
    write(tmp_path, "list_eval_partition.csv", "image_id,partition", *rows)
    assert notes_on(path) == [
        "'list_eval_partition.csv' names images of this table and may say their splits: not used; "
        "write train, val and test into a column named split to use them"
    ]
    write(tmp_path, "train_val_list.txt", *(f"{k:03d}.jpg" for k in range(4)))
    write(tmp_path, "test_list.txt", "004", "005")
    (note,) = notes_on(path)
    assert note.startswith("'list_eval_partition.csv', 'test_list.txt', 'train_val_list.txt' name ")


def test_other_lists_are_not(tmp_path):
    path = make(tmp_path)
    write(tmp_path, "test.csv", "id", "900", "901")
    write(tmp_path, "list_bbox.csv", "image_id,x", "000.jpg,3", "001.jpg,3")
    write(tmp_path, "split.txt", "how the images were split")
    (tmp_path / "train.txt").write_bytes(b"\xff\xfe\x00")
    assert notes_on(path) == []


def test_a_table_with_splits_needs_none(tmp_path):
    path = make(tmp_path)
    lines = path.read_text().splitlines()
    more = (f"{line},{'train' if k < 4 else 'test'}" for k, line in enumerate(lines[1:]))
    write(tmp_path, "labels.csv", "image,label,split", *more)
    write(tmp_path, "partition.csv", "image,part", "000.jpg,1", "001.jpg,1")
    assert notes_on(path) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"train": [0, 1, 2], "test": [3]}', True),
        ('{"train": ["0.png", "1.png"], "val": ["2.png", "3.png"]}', True),
        ('{"train": [100, 101], "test": [102]}', False),
        ('{"colors": [0, 1, 2]}', False),
    ],
)
def test_splits_in_json_are_noted(tmp_path, text, found):
    plant(tmp_path, *(f"{k}.png" for k in range(4)))
    write(tmp_path, "split.json", text)
    data = open_data(
        write(tmp_path, "t.csv", "id,label", *(f"{k},{'ab'[k % 2]}" for k in range(4)))
    )
    assert any("'split.json' names images" in note for note in data.notes) == found


@pytest.mark.parametrize(
    ("name", "line"),
    [("splits.csv", "image,part"), ("list.csv", "image,Split"), ("split.json", "")],
)
def test_a_list_of_splits_beside_class_folders_is_noted(tmp_path, name, line):
    plant(tmp_path, "cat/1.png", "dog/1.png")
    lines = (line, "cat/1.png,train", "dog/1.png,test")
    write(tmp_path, name, *(lines if line else ['{"train": ["cat/1.png"], "test": ["dog/1.png"]}']))
    (note,) = open_data(tmp_path).notes
    assert note == (
        f"'{tmp_path}/{name}' beside the class folders may say the split of the images: not used; "
        "put them into train/, val/ and test/, or give a table with the columns image, label and "
        "split"
    )
