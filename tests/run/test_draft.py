"""A checkpoint in the making: what each part writes, and that nobody sees it before it is whole."""

import json

import pytest
import torch

from torchloupe.distributed.parallel import Part
from torchloupe.errors import ResourceError
from torchloupe.run import checkpoint
from torchloupe.run.draft import Draft, checkpoint_name

ROWS = torch.arange(10.0).reshape(5, 2)


def trees_of(number: int) -> dict:
    """What one of two ranks has: on the second no tensor but its rows."""
    rows = Part(ROWS[:3], 0, 5) if number == 0 else Part(ROWS[3:], 3, 5)
    buffer = torch.tensor(7) if number == 0 else None
    return {"model": {"w": rows, "n": buffer}, "optimizer": {"lr": 0.1}, "state": {"step": 4}}


def test_parts_are_seen_only_when_the_draft_is_finished(tmp_path):
    first, second = Draft(tmp_path, 4), Draft(tmp_path, 4)
    first.begin()
    added = [second.add(trees_of(1), 1, 2), first.add(trees_of(0), 0, 2)]
    assert list(added[0]) == ["model-00002-of-00002.safetensors"]
    assert list(added[1]) == ["model-00001-of-00002.safetensors", "optimizer.json", "state.json"]
    assert checkpoint.list_checkpoints(tmp_path) == []
    path = first.finish([added[1], added[0]])
    assert [p.name for p in tmp_path.iterdir()] == [path.name] == [checkpoint_name(4)]
    trees = checkpoint.read_checkpoint(path)
    assert torch.equal(trees["model"]["w"], ROWS)
    assert (trees["model"]["n"], trees["optimizer"], trees["state"]) == (
        7,
        {"lr": 0.1},
        {"step": 4},
    )
    parts = json.loads((path / "manifest.json").read_text())["parts"]
    assert parts == {"model": [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]}


def test_a_checkpoint_without_the_rows_of_a_rank_is_refused(tmp_path):
    draft = Draft(tmp_path, 4)
    draft.begin()
    path = draft.finish([draft.add(trees_of(0), 0, 2)])
    with pytest.raises(checkpoint.CheckpointError, match="of 5 rows of w those from 3 on are not"):
        checkpoint.read_checkpoint(path)


def test_what_can_t_be_written_leaves_nothing(tmp_path):
    draft = Draft(tmp_path, 4)
    draft.begin()
    with pytest.raises(ValueError, match="may not hold the text"):
        draft.add({"state": {"odd": "tensor:x"}})
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_fails_leaves_the_folder_to_the_first(tmp_path):
    draft = Draft(tmp_path, 4)
    draft.begin()
    draft.add(trees_of(1), 1, 2)
    with pytest.raises(ResourceError, match="File exists"):
        draft.add(trees_of(1), 1, 2)
    assert draft.temporary.is_dir()
    draft.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_draft_that_has_no_room_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="can't write"):
        Draft(tmp_path / "file", 4).begin(100)
