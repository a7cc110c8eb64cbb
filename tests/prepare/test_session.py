"""What was left open is settled before the first step, and written down with its origin."""

import json
from pathlib import Path

import numpy as np
import pytest

from torchloupe.cli import main
from torchloupe.config.settings import Settings
from torchloupe.distributed.rank import Rank
from torchloupe.distributed.world import ALONE, World
from torchloupe.errors import UsageError
from torchloupe.prepare.session import settle_layout

Capture = pytest.CaptureFixture[str]


def save_arrays(path: Path, counts: tuple[int, ...]) -> Path:
    """An .npz of small images with so many of each class."""
    labels = np.repeat(np.arange(len(counts)), counts)
    rng = np.random.default_rng(0)
    images = (rng.integers(0, 60, (len(labels), 8, 8)) + 60 * labels[:, None, None]).astype(
        np.uint8
    )
    np.savez(path, images=images, labels=labels)
    return path


def train(data: Path | str, out: Path, *more: str, code: int = 0) -> None:
    words = ["train", str(data), "--device", "cpu", "--out", str(out), *more]
    assert main.run(words) == code


def settings_of(run: Path) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads((run / "config.json").read_text())["settings"]
    return found


def test_settings_left_open_are_settled(tmp_path: Path) -> None:
    train("digits", tmp_path / "run", "--model", "cnn", "--epochs", "0.1", "--quiet")
    settings = settings_of(tmp_path / "run")
    assert settings["train.epochs"] == {"value": 0.1, "source": "typed"}
    names = ["optimizer.name", "schedule.name", "loss.name", "hardware.precision"]
    assert not [name for name in names if settings[name]["value"] == "auto"]
    assert settings["train.batch_total"]["value"] != 0
    assert settings["optimizer.lr"]["value"] != 0


def test_weights_that_are_sharded_are_contiguous() -> None:
    name, ranks = "hardware.channels_last", World(Rank(0, 2, 0, 2))
    sharded = Settings().with_typed({"hardware.parallel": "fsdp"})
    assert settle_layout(sharded, ranks).config.hardware.channels_last is False
    assert not settle_layout(sharded, ranks).is_open(name)
    typed = sharded.with_typed({name: False})
    assert settle_layout(typed, ranks) is typed
    with pytest.raises(UsageError) as caught:
        settle_layout(sharded.with_typed({name: True}), ranks)
    assert str(caught.value) == (
        "hardware.channels_last=true was asked for, and fsdp shards only weights that are "
        "contiguous\nhint: leave hardware.channels_last out, or use --parallel ddp"
    )
    assert settle_layout(sharded, ALONE) is sharded
    assert settle_layout(Settings(), ranks) == Settings()


def test_typed_settings_stay_as_they_were_typed(tmp_path: Path) -> None:
    typed = {"train.batch_total": 100, "optimizer.name": "sgd", "optimizer.lr": 0.5}
    words = [word for name, value in typed.items() for word in ("--set", f"{name}={value}")]
    train("digits", tmp_path / "run", "--model", "cnn", "--epochs", "0.1", "--quiet", *words)
    settings = settings_of(tmp_path / "run")
    for name, value in typed.items():
        assert settings[name] == {"value": value, "source": "typed"}


def test_split_of_equal_seeds_is_equal_and_of_others_is_not(tmp_path: Path) -> None:
    facts = {}
    for name, seed in (("one", "0"), ("two", "0"), ("other", "1")):
        out = tmp_path / name
        train("digits", out, "--model", "net", "--epochs", "0.1", "--seed", seed, "--quiet")
        facts[name] = (out / "predictions.parquet").read_bytes()
    assert facts["one"] == facts["two"] != facts["other"]


def test_uneven_classes_are_noted(tmp_path: Path, capsys: Capture) -> None:
    words = ["--model", "net", "--epochs", "1"]
    train(save_arrays(tmp_path / "even.npz", (40, 40)), tmp_path / "even", *words)
    assert "classes are uneven" not in capsys.readouterr().err
    train(save_arrays(tmp_path / "uneven.npz", (120, 12)), tmp_path / "uneven", *words)
    assert "classes are uneven" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "data.fold=2"], "data.folds and data.fold"),
        (["--set", "optimizer.name=adm"], "adm"),
        (["--set", "lens.watch=nothing*", "--set", "lens.hook=hooks.py:look"], "hooks.py"),
    ],
)
def test_contradictions_are_refused_before_the_first_step(
    tmp_path: Path, capsys: Capture, words: list[str], said: str
) -> None:
    train("digits", tmp_path / "run", "--model", "net", *words, code=2)
    lines = capsys.readouterr().err.splitlines()
    assert said in lines[-2]
    assert [line.partition(":")[0] for line in lines[-2:]] == ["error", "hint"]
    assert not (tmp_path / "run" / "events.jsonl").exists()
