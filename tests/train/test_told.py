"""A training that is told something while it runs, in a process of its own."""

from pathlib import Path

import numpy as np
import pytest
from children import Child, run_loupe, wait_until
from PIL import Image

from torchloupe.cli import main
from torchloupe.run.events import read_events

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


@pytest.mark.parametrize("what", ["lr=0", "lr=-1", "lr=nan", "lr=x", "sav", "", "lr", "save=1"])
def test_other_words_are_refused_before_anything_is_written(tmp_path: Path, what: str) -> None:
    assert main.run(["tell", str(tmp_path), what]) == 2
    assert list(tmp_path.iterdir()) == []
