"""The plan of a run: what decides the best checkpoint is known before anything is read."""

from pathlib import Path

import pytest

import torchloupe as loupe
from torchloupe.cli import main
from torchloupe.errors import UsageError
from torchloupe.prepare.plan import MONITORED, refuse_unknown_monitor


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("val_acc", "did you mean 'val_accuracy'?"),
        ("accuracy", "did you mean 'val_accuracy'?"),
        ("loss", "did you mean 'val_loss'?"),
        ("train_loss", "did you mean 'val_loss'?"),
        ("Val_Accuracy", "did you mean 'val_accuracy'?"),
        ("f1", "use --set train.monitor=val_accuracy"),
        ("", "use --set train.monitor=val_accuracy"),
        ("\x1b[31m", "use --set train.monitor=val_accuracy"),
    ],
)
def test_an_unknown_monitor_is_refused_with_the_names_there_are(name: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        refuse_unknown_monitor(name)
    shown = "\\x1b[31m" if name.startswith("\x1b") else name
    assert caught.value.message.replace("\\\\", "\\") == (
        f"train.monitor is '{shown}'; an evaluation measures val_accuracy and val_loss"
    )
    assert caught.value.hint == hint


def test_an_unknown_monitor_is_refused_before_a_run_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--model", "net", "--epochs", "1", "--set", "train.monitor=val_acc"]
    assert main.run(["train", "digits", *words]) == 2
    assert main.run(["train", "digits", "--folds", "2", *words]) == 2
    line = "error: train.monitor is 'val_acc'; an evaluation measures val_accuracy and val_loss\n"
    assert capsys.readouterr().err == 2 * f"{line}hint: did you mean 'val_accuracy'?\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", MONITORED)
def test_every_metric_that_is_offered_is_measured(name: str, tmp_path: Path) -> None:
    settings = {"train.monitor": name, "train.epochs": 0.1}
    run = loupe.fit("digits", model="net", out=tmp_path / "run", settings=settings)
    assert [event for event in run.events if name in event]
