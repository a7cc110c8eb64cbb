"""Checkpoints: whole or not there, verified, and free of code."""

import hashlib
import json
import os
import pickle
import shutil

import pytest
import torch

from torchloupe.errors import CheckpointError, ResourceError
from torchloupe.run import checkpoint

TREES = {
    "model": {"conv.weight": torch.arange(6.0).reshape(2, 3), "conv.count": torch.tensor(7)},
    "optimizer": {
        "state": {
            0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(2, 3, dtype=torch.bfloat16)}
        },
        "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99), "params": [0], "fused": None}],
    },
    "state": {"step": 3, "best_value": None, "loss": 0.1 + 0.2},
}


def save(folder, step=3):
    return checkpoint.write_checkpoint(folder, step, TREES)


def test_checkpoint_gives_back_the_same_trees(tmp_path):
    path = save(tmp_path)
    assert path.name == "step-00000003"
    assert sorted(p.name for p in path.iterdir()) == [
        "manifest.json",
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
    ]
    trees = checkpoint.read_checkpoint(path)
    assert torch.equal(trees["model"]["conv.weight"], TREES["model"]["conv.weight"])
    assert trees["model"]["conv.count"].dtype == torch.int64
    assert trees["optimizer"]["state"][0]["exp_avg"].dtype == torch.bfloat16
    assert trees["optimizer"]["param_groups"][0]["lr"] == 0.1
    assert trees["state"] == TREES["state"]
    assert checkpoint.hash_tensors(trees["model"]) == checkpoint.hash_tensors(TREES["model"])


def test_checkpoint_keeps_tied_weights(tmp_path):
    weight = torch.ones(3, 3)
    path = checkpoint.write_checkpoint(
        tmp_path, 1, {"model": {"a": weight, "b": weight, "c": weight.T}}
    )
    assert set(checkpoint.read_checkpoint(path)["model"]) == {"a", "b", "c"}


def test_checkpoint_detects_every_flipped_bit_cut_and_swap(tmp_path):
    path = save(tmp_path)
    generator = torch.Generator().manual_seed(0)
    for file in sorted(path.iterdir()):
        content = file.read_bytes()
        for _ in range(25):
            place = int(torch.randint(len(content), (), generator=generator))
            bit = 1 << int(torch.randint(8, (), generator=generator))
            flipped = bytearray(content)
            flipped[place] ^= bit
            file.write_bytes(flipped)
            with pytest.raises(CheckpointError):
                checkpoint.read_checkpoint(path)
        for damaged in (b"", content[:-1], content[: len(content) // 2] + bytes(len(content) // 2)):
            file.write_bytes(damaged)
            with pytest.raises(CheckpointError):
                checkpoint.read_checkpoint(path)
        file.write_bytes(content)
    checkpoint.read_checkpoint(path)


def test_newest_sound_checkpoint_is_taken_and_the_damaged_one_named(tmp_path):
    save(tmp_path, 3)
    newer = save(tmp_path, 5)
    (newer / "model.safetensors").write_bytes(b"spoilt")
    _, path, passed_over = checkpoint.read_newest(tmp_path)
    assert path.name == "step-00000003"
    assert len(passed_over) == 1
    assert "step-00000005/model.safetensors is damaged" in passed_over[0]


def test_no_sound_checkpoint_is_an_error(tmp_path):
    (save(tmp_path) / "state.json").unlink()
    with pytest.raises(CheckpointError, match="no sound checkpoint"):
        checkpoint.read_newest(tmp_path)


def test_unfinished_checkpoint_is_not_one(tmp_path):
    path = save(tmp_path)
    shutil.copytree(path, tmp_path / ".step-00000009.writing")
    (tmp_path / "step-00000007").mkdir()
    assert checkpoint.list_checkpoints(tmp_path) == [path]


def test_write_checkpoint_replaces_its_own_leftovers(tmp_path):
    (tmp_path / ".step-00000003.writing").mkdir()
    (tmp_path / ".step-00000003.writing" / "model.safetensors").write_bytes(b"half")
    assert checkpoint.read_checkpoint(save(tmp_path))["state"]["step"] == 3
    assert not (tmp_path / ".step-00000003.writing").exists()


def test_write_checkpoint_does_not_follow_a_planted_link(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("keep me")
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / ".step-00000003.writing").symlink_to(outside)
    (folder / "step-00000003").symlink_to(outside)
    save(folder)
    assert [p.name for p in outside.iterdir()] == ["precious"]
    assert not (folder / "step-00000003").is_symlink()


def test_write_checkpoint_on_a_bad_disk_leaves_the_old_one(tmp_path, monkeypatch):
    old = save(tmp_path, 3)
    real = os.fsync

    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ResourceError, match=r"No space left on device; .* are needed, .* are free"):
        save(tmp_path, 5)
    monkeypatch.setattr(os, "fsync", real)
    assert checkpoint.list_checkpoints(tmp_path) == [old]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000003"]


def forge_manifest(path, files):
    """A manifest that also lists `files`, as an attacker would write it."""
    content = json.loads((path / "manifest.json").read_text())
    del content["sha256"]
    content["files"] |= files
    own = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    (path / "manifest.json").write_text(json.dumps({**content, "sha256": own}, indent=1))


def test_pickle_renamed_to_safetensors_is_refused_and_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "pwned"),))

    path = save(tmp_path)
    blob = pickle.dumps(Evil())
    (path / "model.safetensors").write_bytes(blob)
    forge_manifest(path, {"model.safetensors": hashlib.sha256(blob).hexdigest()})
    with pytest.raises(CheckpointError, match=r"model\.safetensors can't be read"):
        checkpoint.read_checkpoint(path)
    assert not (tmp_path / "pwned").exists()


def test_manifest_that_names_files_outside_is_refused(tmp_path):
    path = save(tmp_path)
    forge_manifest(path, {"../secret": "0" * 64})
    with pytest.raises(CheckpointError, match="names a file outside"):
        checkpoint.read_checkpoint(path)


def test_prune_keeps_the_newest_and_the_spared(tmp_path):
    for step in (1, 2, 3, 4, 5):
        save(tmp_path, step)
    checkpoint.prune_checkpoints(tmp_path, keep=2, spare={"step-00000001"})
    assert [p.name for p in checkpoint.list_checkpoints(tmp_path)] == [
        "step-00000005",
        "step-00000004",
        "step-00000001",
    ]
