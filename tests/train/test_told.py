"""A training that is told something while it runs, in a process of its own."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from children import Child, run_loupe, wait_until
from PIL import Image

import torchloupe as loupe
from torchloupe.cli import main
from torchloupe.run.events import read_events
from torchloupe.run.mailbox import Mailbox

TRAIN = ["train", "digits", "--model", "net", "--epochs", "3000", "--set", "optimizer.lr=0.01"]


def told_of(run: Path) -> list[str]:
    return [str(event["told"]) for event in read_events(run) if "told" in event]


def test_a_running_training_saves_changes_its_rate_shows_what_it_sees_and_stops(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, image = tmp_path / "run", tmp_path / "digit.png"
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(image)
    fixed = [*TRAIN, "--set", "schedule.name=constant", "--set", "hardware.precision=fp32"]
    child = Child([*fixed, "--out", str(run)], tmp_path / "said")
    try:
        assert wait_until((run / "last").exists, child, 200)
        assert main.run(["tell", str(run), "lr=0.002"]) == 0
        assert wait_until(lambda: told_of(run) == ["lr=0.002"], child, 200)
        for words in (["nowhere.png"], [str(image), "--layer", "none"]):
            assert main.run(["look", str(run), *words, "--live"]) != 0  # nothing is saved for it
        assert main.run(["look", str(run), str(image), "--live"]) == 0
        assert main.run(["tell", str(run), "look"]) == 0
        assert main.run(["tell", str(run), "stop"]) == 0
        assert child.end(200) == 143
    finally:
        child.kill()
    assert told_of(run) == ["lr=0.002", "save", "look", "stop"]
    said = capsys.readouterr().out
    assert "Grad-CAM" in said
    drawn = [Path(line) for line in said.splitlines() if "/looks/step-" in line]
    assert sorted(path.suffix for path in drawn) == [".html", ".png"]
    assert "(val) at step" in next(p for p in drawn if p.suffix == ".html").read_text()
    assert "stopped by loupe tell" in (tmp_path / "said").read_text()
    assert [path.name for path in run.glob(".*")] == []
    logged = [event for event in read_events(run) if "lr" in event]
    assert (logged[0]["lr"], logged[-1]["lr"]) == (0.01, 0.002)
    epochs = str(int(logged[-1]["epoch"]) + 2)
    code, said = run_loupe(["resume", str(run), "--quiet", "--epochs", epochs], tmp_path / "said")
    assert code == 0, said
    logged_later = [event for event in read_events(run) if "lr" in event]
    assert len(logged_later) > len(logged)
    assert logged_later[-1]["lr"] == 0.002


@pytest.mark.usefixtures("own_cache")
def test_a_resume_after_another_rate_is_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told between the steps 4 and 5; the part ends after 6 of 12."""
    calls = itertools.count(1)
    monkeypatch.setattr(Mailbox, "read", lambda self: ["lr=0.002"] if next(calls) == 4 else [])
    settings: dict[str, Any] = {
        "train.batch_total": 450,
        "train.log_every_steps": 1,
        "train.report": False,
        "hardware.device": "cpu",
        "schedule.name": "constant",
        "optimizer.lr": 0.01,
    }
    runs = []
    for name, epochs in (("whole", 4), ("part", 2)):
        calls = itertools.count(1)
        runs.append(
            loupe.fit("digits", model="net", epochs=epochs, out=tmp_path / name, settings=settings)
        )
    whole = runs[0]
    again = loupe.resume(tmp_path / "part", settings={"train.epochs": 4})
    assert told_of(whole.folder) == told_of(again.folder) == ["lr=0.002"]
    assert whole.step == again.step == 12
    for name, wanted in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], wanted), name
    rates = [event["lr"] for event in read_events(again.folder) if "lr" in event]
    assert (rates[0], rates[-1]) == (0.01, 0.002)


@pytest.mark.parametrize("what", ["lr=0", "lr=-1", "lr=nan", "lr=x", "sav", "", "lr", "save=1"])
def test_other_words_are_refused_before_anything_is_written(tmp_path: Path, what: str) -> None:
    assert main.run(["tell", str(tmp_path), what]) == 2
    assert list(tmp_path.iterdir()) == []
