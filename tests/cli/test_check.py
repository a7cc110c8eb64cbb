"""`loupe check`, and what a run does with its verdicts."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import torchloupe as loupe
from torchloupe.cli.main import run

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Arrays of three classes, of which two are tested."""
    path = tmp_path_factory.mktemp("split") / "split.npz"
    labels = np.arange(60) % 3
    images = np.random.default_rng(0).integers(0, 90, (60, 8, 8), dtype=np.uint8)
    images += (80 * labels[:, None, None]).astype(np.uint8)
    parts = {"train_images": images[:30], "train_labels": labels[:30]}
    np.savez(path, **parts, test_images=images[30:], test_labels=labels[30:] % 2)
    return path


def test_check_prints_verdicts_in_words_and_in_json(
    split: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check", str(split)]) == 0
    shown = capsys.readouterr().out
    assert "warning  class-never-tested  test\n  seen" in shown
    assert shown.endswith("1 warning\n")
    assert run(["check", str(split), "--json"]) == 0
    (verdict,) = json.loads(capsys.readouterr().out)["verdicts"]
    assert verdict["verdict"] == "class-never-tested"
    assert verdict["numbers"] == {"classes": 1}


def test_check_leaves_out_what_is_ignored(split: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(split), "--ignore", "class-never-tested"]) == 0
    assert capsys.readouterr().out == "nothing found\n"
    assert run(["check", str(split), "--ignore", "no-such-name"]) == 2
    assert "no-such-name" in capsys.readouterr().err


def test_a_run_keeps_its_verdicts(split: Path, tmp_path: Path) -> None:
    run_of_it = loupe.fit(split, model="net", epochs=1, out=tmp_path / "run")
    names = [event["verdict"] for event in run_of_it.events if "verdict" in event]
    assert names == ["class-never-tested"]
    assert [v["verdict"] for v in run_of_it.metrics["verdicts"]] == names


def test_a_run_remembers_what_is_ignored(split: Path, tmp_path: Path) -> None:
    settings = {"check.ignore": "class-never-tested"}
    run_of_it = loupe.fit(split, model="net", epochs=1, out=tmp_path / "run", settings=settings)
    assert run_of_it.metrics["verdicts"] == []
    assert run_of_it.config.check.ignore == ("class-never-tested",)


def test_a_run_names_a_scheduler_that_is_stepped_too_rarely_or_too_often(tmp_path: Path) -> None:
    settings = {"train.report": False, "train.log_every_steps": 2, "optimizer.name": "sgd"}
    cosine = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=44)
    sharp = partial(torch.optim.lr_scheduler.StepLR, step_size=5)
    for name, scheduler, every in (
        ("schedule-barely-begun", cosine, "epoch"),
        ("schedule-ended-early", sharp, "step"),
        ("", cosine, "step"),
    ):
        own = {**settings, "schedule": scheduler, "schedule.every": every}
        out = tmp_path / f"{every}-{name}"
        run_of_it = loupe.fit("digits", model="net", epochs=2, lr=0.1, out=out, settings=own)
        told = [v["verdict"] for v in run_of_it.metrics["verdicts"] if v["level"] != "note"]
        assert told == ([name] if name else [])


NET = """
from torch import nn


def net(in_channels, classes):
    layers = [nn.Flatten(), nn.Linear(64 * in_channels, 32), nn.ReLU(), nn.Linear(32, classes)]
    return nn.Sequential(*layers, {end})
"""


def test_strict_ends_a_run_before_it_costs_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, end in (("bad", "nn.Softmax(dim=1)"), ("sound", "nn.Identity()")):
        Path(f"{name}.py").write_text(NET.replace("{end}", end))
    words = ["--epochs", "1", "--set", "check.level=strict", "--out", "run", "--quiet"]
    assert run(["train", "digits", "--model", "bad.py:net", *words]) == 7
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2].startswith("error: softmax-before-cross-entropy: the model ends in softmax")
    assert "--set check.ignore=softmax-before-cross-entropy passes over it" in lines[-1]
    assert not Path("run").exists()
    ignored = ["--set", "check.ignore=softmax-before-cross-entropy", "--set", "train.report=false"]
    assert run(["train", "digits", "--model", "bad.py:net", *words, *ignored]) == 0
    assert run(["check", "digits", "--model", "bad.py:net", "--set", "check.level=strict"]) == 7
    assert run(["check", "digits", "--model", "sound.py:net", "--set", "check.level=strict"]) == 0
