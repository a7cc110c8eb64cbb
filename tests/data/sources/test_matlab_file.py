"""The variables of MATLAB files: as scipy reads them, and damaged ones are refused."""

import numpy as np
import pytest
import scipy.io

from torchloupe.data.sources.matlab_file import read_variables
from torchloupe.errors import DataError


def cells(*values):
    found = np.empty((1, len(values)), dtype=object)
    for place, value in enumerate(values):
        found[0, place] = value
    return found


CONTENT = {
    "labels": np.array([[3, 1, 2]]),
    "halves": np.array([[0.5], [1.5]]),
    "square": np.arange(6, dtype=np.int16).reshape(2, 3),
    "small": np.array([[7]], np.uint8),
    "nothing": np.zeros((0, 0)),
    "flags": np.array([[True, False]]),
    "name": "caf\u00e9",
    "lines": np.array(["ab", "c"]),
    "files": cells("a.jpg", "b.jpg"),
    "mixed": cells("a.jpg", np.array([[2.0]]), cells("inner")),
    "cars": np.array(
        [[("a.jpg", 1.0), ("b.jpg", 2.0)]], dtype=[("file", object), ("kind", object)]
    ),
}


def write(path, is_packed=False, content=CONTENT):
    scipy.io.savemat(path, content, do_compression=is_packed)
    return path


def fail(path):
    with pytest.raises(DataError) as caught:
        read_variables(path)
    return caught.value


@pytest.mark.parametrize("is_packed", [False, True])
def test_variables_are_those_that_were_written(tmp_path, is_packed):
    found = read_variables(write(tmp_path / "a.mat", is_packed))
    assert list(found) == list(CONTENT)
    assert found["labels"].tolist() == [3, 1, 2]
    assert found["halves"].tolist() == [0.5, 1.5]
    assert found["square"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["small"].item() == 7
    assert found["nothing"].size == 0
    assert found["flags"].tolist() == [1, 0]
    assert found["name"] == "caf\u00e9"
    assert found["lines"] == ["ab", "c"]
    assert found["files"] == ["a.jpg", "b.jpg"]
    assert found["mixed"][0] == "a.jpg"
    assert found["mixed"][2] == ["inner"]
    assert [(car["file"], car["kind"].item()) for car in found["cars"]] == [
        ("a.jpg", 1),
        ("b.jpg", 2),
    ]


def test_other_kinds_of_files_are_refused(tmp_path):
    path = tmp_path / "a.mat"
    path.write_text("x")
    assert fail(path).message.endswith("as a MATLAB file: it has no header of MATLAB 5 to 7")
    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    assert "save(name, '-v7')" in fail(path).hint
    assert "there is no" not in fail(tmp_path).message


def test_large_content_is_refused_before_it_is_unpacked(tmp_path):
    path = write(
        tmp_path / "a.mat", is_packed=True, content={"X": np.zeros((64, 64, 3, 3000), "u1")}
    )
    assert path.stat().st_size < 2**17
    assert "is too large for a list of labels: above" in fail(path).message


@pytest.mark.parametrize("count", [0, 1, 60, 128, 140, 200, -1])
def test_shortened_files_are_refused(tmp_path, count):
    path = write(tmp_path / "a.mat")
    path.write_bytes(path.read_bytes()[:count])
    if count == 128:  # a file without variables
        assert read_variables(path) == {}
    else:
        assert fail(path).hint == "write its labels into a .csv with the columns image and label"


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_changed_byte_gives_a_reading_or_an_error_in_two_lines(tmp_path, is_packed):
    path = write(tmp_path / "a.mat", is_packed)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    outcomes = set()
    for place in rng.integers(0, len(whole), 400).tolist():
        changed = bytearray(whole)
        changed[place] ^= int(rng.integers(1, 256))
        path.write_bytes(changed)
        try:
            outcomes.add(type(read_variables(path)))
        except DataError:
            outcomes.add(DataError)
    assert outcomes == {dict, DataError}
