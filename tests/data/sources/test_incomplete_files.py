"""Files that stand for others are told as such, with the command that gets the others."""

import pytest
from trees import fail, plant, write

from torchloupe.data.sources import open_data

POINTER = ("version https://git-lfs.github.com/spec/v1", "oid sha256:0f", "size 123")
PULL = "fetch the files themselves: git lfs pull"


@pytest.mark.parametrize("name", ["x.csv", "x.zip", "x.parquet", "x.npz", "x.tar", "x.jpg"])
def test_a_pointer_of_git_lfs_is_told(tmp_path, name):
    error = fail(write(tmp_path, name, *POINTER))
    assert error.message == f"{tmp_path}/{name} is a pointer of Git LFS, not the file itself"
    assert error.hint == PULL


def test_pointers_in_place_of_images_are_told(tmp_path):
    plant(tmp_path, "a/1.png", "b/1.png")
    write(tmp_path, "b/2.png", *POINTER)
    error = fail(tmp_path)
    assert error.message.endswith("pointers of Git LFS in place of images, such as 'b/2.png'")
    table = write(tmp_path, "labels.csv", "image,label", "a/1.png,a", "b/2.png,b")
    assert (fail(table).message, error.hint) == (error.message, PULL)
    (tmp_path / "b/2.png").write_bytes((tmp_path / "b/1.png").read_bytes())
    assert len(open_data(tmp_path).samples) == 3


def test_pointers_in_place_of_tables_are_told(tmp_path):
    write(tmp_path, "data/train-00000-of-00001.parquet", *POINTER)
    assert "such as 'data/train-00000" in fail(tmp_path).message


@pytest.mark.parametrize(
    ("given", "planted", "hint"),
    [
        ("x.zip.001", "x.zip.002", "cat 'X/x.zip.'0* > 'X/x.zip'"),
        ("x.tar.gz.aa", "x.tar.gz.ab", "cat 'X/x.tar.gz.'a* > 'X/x.tar.gz'"),
        ("x.z01", "x.zip", "zip -s 0 'X/x.zip' --out 'X/x-joined.zip'"),
        ("x.zip", "x.z01", "zip -s 0 'X/x.zip' --out 'X/x-joined.zip'"),
    ],
)
def test_parts_of_archives_are_to_be_joined(tmp_path, given, planted, hint):
    plant(tmp_path, given, planted)
    for source in (tmp_path / given, tmp_path):
        assert fail(source).hint.replace(str(tmp_path), "X") == f"join the parts: {hint}"


@pytest.mark.parametrize(("line", "place"), [("nc: 2", ""), ("path: set", "/set")])
def test_a_config_names_the_folder_it_describes(tmp_path, line, place):
    (tmp_path / "set").mkdir()
    path = write(tmp_path, "data.yaml", line, "train: ../train/images", "val: ../val/images")
    assert fail(path).hint == f"give the folder it describes: {tmp_path}{place}"
    other = write(tmp_path, "other.yaml", "a: 1")
    assert "describes" not in fail(other).hint
