"""Trees in safetensors files: what is written is what is read, whole, by rows and from parts."""

import hashlib
import json
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch

from torchloupe.distributed.parallel import Part
from torchloupe.run.tensor_files import (
    MALFORMED,
    Stored,
    count_bytes,
    detach,
    fit_like,
    open_tree,
    read_whole,
    write_blob,
    write_tensors,
)

ROWS = torch.arange(14.0).reshape(7, 2)


def write_part(path: Path, number: int, start: int, stop: int, total: int = 7) -> Path:
    """The file of one rank: rows of `ROWS`, and on the first a tensor that is whole."""
    tree = {"w": Part(ROWS[start:stop], start, total), "n": [torch.tensor(3), 0.5]}
    tree = tree if number == 0 else {"w": tree["w"]}
    plain, tensors, starts = detach(tree)
    facts = {"starts": json.dumps(starts)} | ({} if number else {"tree": json.dumps(plain)})
    write_tensors(path / f"{number}.safetensors", tensors, facts)
    return path / f"{number}.safetensors"


def test_file_is_what_safetensors_reads_and_its_hash_is_right(tmp_path):
    tensors = {
        "half": torch.arange(3, dtype=torch.bfloat16),
        "turned": torch.arange(6.0).reshape(2, 3).T,
        "flag": torch.tensor([True, False, True]),
        "wide": torch.arange(5, dtype=torch.float64),
        "whole": torch.tensor(7),
        "none": torch.empty(0, 4),
        "complex": torch.ones(2, dtype=torch.complex64),
        "eight": torch.ones(3).to(torch.float8_e4m3fn),
    }
    path = tmp_path / "file.safetensors"
    written = write_tensors(path, tensors, {"tree": "ü"})
    found = safetensors.torch.load_file(path)
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert found[name].tolist() == tensor.tolist()
    with safetensors.safe_open(path, framework="pt") as file:
        assert file.metadata() == {"tree": "ü"}
    blob = path.read_bytes()
    assert written == (hashlib.sha256(blob).hexdigest(), len(blob))
    with pytest.raises(FileExistsError):
        write_tensors(path, tensors, {})


def test_stored_tensor_is_read_by_rows_across_parts(tmp_path):
    cuts = (0, 3, 5, 7)
    files = [write_part(tmp_path, n, cuts[n], cuts[n + 1]) for n in range(3)]
    tree = open_tree([files[0], files[2], files[1]])  # the rows say where they belong
    assert isinstance(tree["w"], Stored)
    assert (tree["w"].shape, tree["w"].dtype) == ((7, 2), "F32")
    for start in range(8):
        for stop in range(start, 8):
            assert torch.equal(tree["w"].read(start, stop), ROWS[start:stop])
    assert torch.equal(tree["w"].whole(), ROWS)
    assert read_whole(tree)["n"] == [3, 0.5]


def test_stored_tensor_is_a_copy_of_what_the_file_has(tmp_path):
    file = write_part(tmp_path, 0, 0, 7)
    tree = open_tree([file])
    for found in (tree["w"].whole(), tree["w"].read(2, 4)):
        found.zero_()
    assert torch.equal(tree["w"].whole(), ROWS)
    assert tree["n"][0].whole() == 3


def test_parts_become_one_file_with_the_same_tree(tmp_path):
    files = [write_part(tmp_path, 0, 0, 4), write_part(tmp_path, 1, 4, 7)]
    plain, tensors, _ = detach(open_tree(files))
    write_tensors(tmp_path / "one", tensors, {"tree": json.dumps(plain)})
    tree = read_whole(open_tree([tmp_path / "one"]))
    assert torch.equal(tree["w"], ROWS)
    assert tree["n"] == [3, 0.5]


@pytest.mark.parametrize(
    ("cuts", "what"),
    [
        ([(0, 3), (4, 7)], "of 7 rows of w those from 3 on are not there"),
        ([(0, 3)], "of 7 rows of w those from 3 on are not there"),
        ([(0, 3), (2, 7)], "of 7 rows of w those from 3 on are not there"),
        ([(1, 7)], "of 7 rows of w those from 0 on are not there"),
    ],
)
def test_rows_that_are_not_there_or_doubled_are_refused(tmp_path, cuts, what):
    files = [write_part(tmp_path, n, *cut) for n, cut in enumerate(cuts)]
    with pytest.raises(ValueError, match=what):
        open_tree(files)


def test_files_that_contradict_each_other_are_refused(tmp_path):
    first = write_part(tmp_path, 0, 0, 4)
    others = {
        "parts of w have different shapes": ({"w": torch.ones(3, 5)}, {"w": [4, 7]}),
        "parts of w have different types": ({"w": torch.ones(3, 2).int()}, {"w": [4, 7]}),
        "w is whole in one file and in parts in another": ({"w": torch.ones(3, 2)}, {}),
        "n.0 is in two files": ({"n.0": torch.ones(3, 2)}, {}),
        "n.0 is whole in one": ({"n.0": torch.ones(3)}, {"n.0": [0, 3]}),
        "parts of w are of tensors with different rows": ({"w": torch.ones(3, 2)}, {"w": [4, 8]}),
    }
    for number, (text, (tensors, starts)) in enumerate(others.items()):
        path = tmp_path / f"other-{number}"
        write_tensors(path, tensors, {"starts": json.dumps(starts)})
        with pytest.raises(ValueError, match=text):
            open_tree([first, path])
    for starts in ("[", "7", '{"w": 3}', '{"w": ["a", 2]}', '{"w": [null, 7]}'):
        path = tmp_path / f"hostile-{abs(hash(starts))}"
        write_tensors(path, {"w": torch.ones(3, 2)}, {"starts": starts})
        with pytest.raises(MALFORMED):
            open_tree([first, path])


def test_tensors_fit_a_weight_that_is_not_sharded(tmp_path):
    tree = open_tree([write_part(tmp_path, 0, 0, 7)])
    like = torch.zeros(7, 2)
    assert torch.equal(fit_like(tree["w"], like), ROWS)
    assert fit_like({"a": [tree["n"][0], 4], "b": ROWS}, like)["a"] == [3, 4]
    assert fit_like(ROWS, like) is ROWS


def test_bytes_of_trees_are_those_of_tensors_and_parts():
    trees = {"a": {"x": torch.ones(3), "y": 2}, "b": [Part(torch.ones(2, 2), 0, 9)]}
    assert count_bytes(trees) == 12 + 16


def test_blob_is_hashed_as_it_is_written(tmp_path):
    written = write_blob(tmp_path / "b", b"abc")
    assert written == (hashlib.sha256(b"abc").hexdigest(), 3)
    assert (tmp_path / "b").read_bytes() == b"abc"
