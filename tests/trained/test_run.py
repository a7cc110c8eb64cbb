"""A run opened again: the same numbers as at its end, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import torchloupe as loupe
from torchloupe.cli import main
from torchloupe.errors import CheckpointError, DataError, UsageError

SIDE = 8


def make_images(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Grey images of two classes, told apart by their brightness."""
    labels = np.arange(count) % 2
    noise = np.random.default_rng(seed).integers(0, 60, (count, SIDE, SIDE))
    return (noise + 120 * labels[:, None, None]).astype(np.uint8), labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; its data lie beside it."""
    home = tmp_path_factory.mktemp("trained")
    images, labels = make_images(120)
    np.savez(home / "data.npz", images=images, labels=labels, class_names=["dark", "light"])
    words = ["train", str(home / "data.npz"), "--model", "cnn", "--epochs", "3", "--device", "cpu"]
    assert main.run([*words, "--out", str(home / "run"), "--quiet"]) == 0
    return home / "run"


@pytest.fixture(scope="module")
def run(folder: Path) -> loupe.Run:
    """It, opened."""
    return loupe.open_run(folder, device="cpu")


def test_run_shows_what_it_is(folder: Path, run: loupe.Run) -> None:
    assert repr(run) == f"Run({str(folder)!r}, step={run.step}, classes=2)"
    assert len(run.class_names) == 2
    assert run.metrics == json.loads((folder / "metrics.json").read_text())
    assert [event["step"] for event in run.events if "val_accuracy" in event]
    assert not run.model.training
    assert str(run.device) == "cpu"


def test_evaluation_gives_the_metrics_of_the_end_of_the_run(run: loupe.Run) -> None:
    found = run.evaluate()
    assert found["split"] == "test"
    for name in ("accuracy", "count", "confusion"):
        assert found[name] == run.metrics["test"][name]
    assert found["loss"] == pytest.approx(run.metrics["test"]["loss"], rel=1e-5)


def test_image_is_the_same_in_every_form_it_is_handed_over_in(
    run: loupe.Run, tmp_path: Path
) -> None:
    pixels = make_images(2, seed=5)[0][1]
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "folder").mkdir()
    shutil.copy(tmp_path / "a.png", tmp_path / "folder")
    forms = [
        *(tmp_path / "a.png", str(tmp_path / "a.png"), tmp_path / "folder"),
        *(Image.fromarray(pixels), pixels, pixels[:, :, None], (tmp_path / "a.png").read_bytes()),
    ]
    found = run.predict(forms)
    assert len(found) == len(forms)
    assert {(p.label, p.confidence) for p in found} == {(found[0].label, found[0].confidence)}
    assert found[0].label == run.class_names[1]
    assert sum(found[0].probabilities.values()) == pytest.approx(1)
    assert found[0].path == str(tmp_path / "a.png")


def test_probabilities_are_those_of_predict(run: loupe.Run) -> None:
    images = make_images(40, seed=6)[0]
    rows = run.probabilities(images[..., None])
    found = run.predict(*images)
    best = [prediction.confidence for prediction in found]
    assert np.array_equal(rows.max(1), np.array(best, np.float32))
    assert [prediction.label for prediction in found] == [
        run.class_names[k] for k in rows.argmax(1)
    ]


def test_image_that_can_not_be_read_says_why_and_the_rest_is_predicted(
    run: loupe.Run, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    bad, good = run.predict(tmp_path / "bad.png", make_images(1)[0][0])
    assert (bad.label, bad.probabilities) == ("", None)
    assert bad.error
    assert good.label == run.class_names[0]
    assert not good.error


def test_paths_that_are_not_there_and_nothing_at_all_are_refused(
    run: loupe.Run, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="there is no file"):
        run.predict(tmp_path / "none.png")
    with pytest.raises(DataError, match="there are no images to predict"):
        run.predict(tmp_path)


def test_checkpoints_are_opened_by_name(folder: Path) -> None:
    last = loupe.open_run(folder, device="cpu", which="last")
    named = loupe.open_run(folder, device="cpu", which=f"step-{last.step:08d}")
    assert named.step == last.step == int(last.metrics["train"]["steps"])
    state, other = last.model.state_dict(), named.model.state_dict()
    assert all(torch.equal(tensor, other[name]) for name, tensor in state.items())
    with pytest.raises(CheckpointError, match="has no checkpoint lst") as caught:
        loupe.open_run(folder, which="lst")
    assert "last" in caught.value.hint


def test_damaged_checkpoint_is_refused_and_the_sound_one_named(
    folder: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "run"
    shutil.copytree(folder, copied, symlinks=True)
    path = (copied / "last").resolve() / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00\x01")
    with pytest.raises(CheckpointError, match="the checkpoint last is damaged"):
        loupe.open_run(copied, which="last")


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff"])
def test_run_without_its_contract_is_refused(
    folder: Path, tmp_path: Path, content: bytes | None
) -> None:
    copied = tmp_path / "run"
    shutil.copytree(folder, copied, symlinks=True)
    (copied / "contract.json").unlink()
    if content is not None:
        (copied / "contract.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"contract\.json"):
        loupe.open_run(copied)


def test_code_that_a_folder_names_is_not_run_unasked(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", images=make_images(40)[0], labels=make_images(40)[1])
    (tmp_path / "own.py").write_text(
        "from torch import nn\n"
        "def net(in_channels, classes):\n"
        f"    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * {SIDE * SIDE}, classes))\n"
    )
    words = ["train", str(tmp_path / "data.npz"), "--model", f"{tmp_path}/own.py:net"]
    out = tmp_path / "run"
    assert main.run([*words, "--epochs", "1", "--device", "cpu", "--out", str(out), "--quiet"]) == 0
    (tmp_path / "own.py").write_text("raise SystemExit('this was run')")
    with pytest.raises(UsageError, match=r"own\.py"):
        loupe.open_run(out)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(SIDE * SIDE, 2))
    assert loupe.open_run(out, model=model).class_names == ("0", "1")
