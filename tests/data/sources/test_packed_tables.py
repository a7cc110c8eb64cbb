"""Tables that are compressed or alone in an archive, with their images beside them."""

import gzip
import zipfile

import pytest
from trees import fail, ids, labels, plant

from torchloupe.data.sources import open_data

LINES = "image,label\n1.png,a\n2.png,b\n3.png,a\n"


def pack(path, text=LINES):
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(path.stem, text)
    return path


@pytest.mark.parametrize("name", ["train.csv.zip", "train.csv.gz"])
@pytest.mark.parametrize("folder", ["", "train", "other/deep"])
def test_a_packed_table_finds_its_images_beside_it(tmp_path, name, folder):
    plant(tmp_path / folder, "1.png", "2.png", "3.png")
    data = open_data(pack(tmp_path / name))
    assert labels(data) == ["a", "b", "a"]
    assert ids(data) == [f"{folder}/{name}".lstrip("/") for name in ("1.png", "2.png", "3.png")]
    assert data.reader.read(1) == (tmp_path / folder / "2.png").read_bytes()
    assert not any("torchloupe-" in text for text in data.notes)


@pytest.mark.parametrize("name", ["train.csv.zip", "train.csv.gz"])
def test_a_packed_table_takes_the_options_of_tables(tmp_path, name):
    plant(tmp_path, "one/1.png", "two/1.png")
    path = pack(tmp_path / name, "image,label,kind\n1.png,a,x\n")
    data = open_data(path, image_folder="two", label_column="kind")
    assert labels(data) == ["x"]
    assert data.reader.read(0) == (tmp_path / "two/1.png").read_bytes()


@pytest.mark.parametrize("name", ["train.csv.zip", "train.csv.gz"])
def test_errors_of_a_packed_table_name_it(tmp_path, name):
    error = fail(pack(tmp_path / name))
    assert str(tmp_path / name) in error.message
    assert "torchloupe-" not in error.message + error.hint


def test_packed_tables_of_pixels_need_no_files(tmp_path):
    cells = ",".join(f"pixel{k}" for k in range(16))
    rows = "".join(f"{k % 2},{','.join([str(k)] * 16)}\n" for k in range(4))
    data = open_data(pack(tmp_path / "digits.csv.gz", f"label,{cells}\n{rows}"))
    assert data.reader.read(3).max() == 3


def test_a_damaged_gzip_is_told(tmp_path):
    (tmp_path / "x.csv.gz").write_bytes(b"\x1f\x8bnothing")
    assert "can't be unpacked" in fail(tmp_path / "x.csv.gz").message
