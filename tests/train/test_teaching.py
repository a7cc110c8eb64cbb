"""Runs that learn from another run: exact at a resume, better informed, refused where unfit."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import torchloupe as loupe
from stopping import StopAt
from torchloupe.errors import CheckpointError, LoupeError, Terminated, UsageError
from torchloupe.run import checkpoint
from torchloupe.system.cache import find_cache
from torchloupe.train.start import continue_run, train

SETTINGS = {
    "model.name": "cnn",
    "train.epochs": 3,
    "train.batch_total": 64,
    "train.report": False,
    "train.strategy": "scratch",
    "augment.translate": 0.1,
    "distill.views": 2,
    "hardware.precision": "fp32",
    "hardware.channels_last": False,
    "hardware.threads": 1,
    "check.level": "off",
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Folders of images whose brightness says their class."""
    drawn, folder = np.random.default_rng(0), tmp_path_factory.mktemp("pairs")
    for number in range(180):
        name = "abc"[number % 3]
        pixels = drawn.integers(0, 90, (16, 16, 3)) + 60 * (number % 3)
        (folder / name).mkdir(exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def teacher(pairs, tmp_path_factory):
    """A run at another size and with another contract than its students have."""
    out = tmp_path_factory.mktemp("teacher") / "run"
    return train(pairs, {**SETTINGS, "data.size": "12", "data.mode": "L"}, out=out)


def learn(pairs: Path, teacher: loupe.Run, out: Path, **more) -> loupe.Run:
    listeners = more.pop("listeners", [])
    typed = {**SETTINGS, "distill.teacher": str(teacher.folder), **more.pop("settings", {})}
    return train(pairs, typed, out=out, listeners=listeners)


def facts(run: Path) -> list[str]:
    _, path, _ = checkpoint.read_newest(run / "checkpoints")
    files = [path / name for name in ("model.safetensors", "optimizer.safetensors")]
    return [path.name, *(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)]


@pytest.mark.parametrize("more", [{}, {"distill.views": 0, "augment.mixup": 0.2}])
def test_a_student_that_was_stopped_twice_is_bit_equal(pairs, teacher, tmp_path, more) -> None:
    whole = learn(pairs, teacher, tmp_path / "whole", settings=more)
    with pytest.raises(Terminated):
        learn(pairs, teacher, tmp_path / "run", settings=more, listeners=[StopAt(2)])
    with pytest.raises(Terminated):
        continue_run(tmp_path / "run", {}, listeners=[StopAt(4)])
    shutil.rmtree(find_cache() / "answers", ignore_errors=True)  # they are made again
    continue_run(tmp_path / "run", {})
    assert facts(tmp_path / "run") == facts(whole.folder)
    alone = train(pairs, {**SETTINGS, **more}, out=tmp_path / "alone")
    assert facts(alone.folder) != facts(whole.folder)


def test_answers_are_made_once_for_runs_alike(pairs, teacher, tmp_path) -> None:
    first = learn(pairs, teacher, tmp_path / "a")
    kept = {path: path.stat().st_mtime_ns for path in (find_cache() / "answers").iterdir()}
    second = learn(pairs, teacher, tmp_path / "b", settings={"distill.weight": 0.5})
    assert kept == {path: path.stat().st_mtime_ns for path in (find_cache() / "answers").iterdir()}
    assert facts(first.folder) == facts(second.folder)


def test_fit_takes_a_run_or_its_folder_and_notes_what_it_learned_from(
    pairs, teacher, tmp_path
) -> None:
    settings = {name: value for name, value in SETTINGS.items() if name != "model.name"}
    runs = [
        loupe.fit(
            pairs,
            model="cnn",
            settings={**settings, "distill.teacher": given},
            out=tmp_path / name,
        )
        for name, given in (("a", teacher), ("b", teacher.folder))
    ]
    assert facts(runs[0].folder) == facts(runs[1].folder)
    notes = [event["note"] for event in runs[0].events if "note" in event]
    assert any(note.startswith("teacher: ") for note in notes)
    assert not any("too good" in note for note in notes)


def test_a_teacher_that_may_have_seen_what_is_held_out_is_noted(pairs, teacher, tmp_path) -> None:
    run = learn(pairs, teacher, tmp_path / "run", settings={"train.seed": 5, "train.epochs": 1})
    notes = [event["note"] for event in run.events if "note" in event]
    assert any("scores of this run may be too good" in note for note in notes)


def test_a_teacher_of_other_classes_is_refused(pairs, teacher, tmp_path) -> None:
    copy = tmp_path / "pairs"
    shutil.copytree(pairs, copy)
    (copy / "c").rename(copy / "d")
    with pytest.raises(UsageError, match=r"it lacks .d., and it has .c. besides") as found:
        learn(copy, teacher, tmp_path / "run")
    assert found.value.hint == "give a teacher that was trained on the same classes, by name"
    assert not (tmp_path / "run").exists()


def test_classes_in_another_order_are_matched_by_name(pairs, teacher, tmp_path) -> None:
    order = {"data.class_names": ("c", "a", "b")}
    run = learn(pairs, teacher, tmp_path / "run", settings={"distill.weight": 1.0, **order})
    assert run.metrics["test"]["accuracy"] > 0.6


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"augment.mixup": 0.2}, "can't be kept for images that are streamed or mixed"),
        ({"distill.teacher": "nowhere"}, "nowhere"),
    ],
)
def test_what_can_not_be_taught_is_refused(pairs, teacher, tmp_path, more, text) -> None:
    with pytest.raises(LoupeError, match=text):
        learn(pairs, teacher, tmp_path / "run", settings=more)


def test_a_resume_refuses_another_teacher_and_other_weights(pairs, teacher, tmp_path) -> None:
    with pytest.raises(Terminated):
        learn(pairs, teacher, tmp_path / "run", listeners=[StopAt(2)])
    other = train(pairs, {**SETTINGS, "train.epochs": 1}, out=tmp_path / "other")
    with pytest.raises(CheckpointError, match="has other weights than when"):
        continue_run(tmp_path / "run", {"distill.teacher": str(other.folder)})
    for name, value in (("distill.teacher", ""), ("distill.weight", 0.7), ("distill.views", 0)):
        with pytest.raises(UsageError, match=f"a started run can't change {name}"):
            continue_run(tmp_path / "run", {name: value})
