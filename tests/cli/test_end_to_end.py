"""The command from end to end: real training of a few steps, and every mistake a newcomer makes."""

import csv
import io
import json
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from children import Child, wait_until
from pages import words_of
from PIL import Image
from sklearn.datasets import load_digits

from torchloupe.cli import main

Capture = pytest.CaptureFixture[str]
QUICK = ["--model", "cnn", "--epochs", "2", "--seed", "1", "--device", "cpu"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over the digits that got somewhere."""
    folder = tmp_path_factory.mktemp("runs") / "with space"
    assert main.run(["train", "digits", *QUICK, "--out", str(folder), "--quiet"]) == 0
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty small colour images of two classes, easy to tell apart."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number, name in enumerate(("cat", "dog")):
        (folder / name).mkdir()
        for k in range(20):
            pixels = rng.integers(0, 80, (16, 16, 3), dtype=np.uint8)
            pixels[:, :, number] += 150
            Image.fromarray(pixels).save(folder / name / f"{k}.png")
    return folder


def draw_digits(folder: Path, count: int) -> list[Path]:
    """PNG files of the first `count` digits, named by what they show."""
    bunch = load_digits()
    paths = []
    for k in range(count):
        path = folder / f"{k}-shows-{bunch.target[k]}.png"
        Image.fromarray((bunch.images[k] * 255 / 16).astype(np.uint8)).save(path)
        paths.append(path)
    return paths


def tree_of(folder: Path) -> dict[str, int]:
    """Every file below `folder` with its size."""
    return {str(path): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def test_train_prints_the_result_on_stdout_and_progress_on_stderr(
    tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "run"
    assert main.run(["train", "digits", *QUICK, "--out", str(out)]) == 0
    seen = capsys.readouterr()
    lines = seen.out.splitlines()
    assert re.fullmatch(
        r"test accuracy   \d+\.\d\d %  \(95 % interval \d+\.\d\d to \d+\.\d\d %, \d+ images\)",
        lines[0],
    )
    assert re.fullmatch(r"test loss       \d+\.\d{4}", lines[1])
    assert re.match(r"trained in      .*, \d+ steps, [\d,]+ images/s", lines[2])
    assert lines[3] == f"run folder      {out}"
    assert lines[5] == "next:"
    assert f"loupe eval {out} " in seen.out
    progress = seen.err.splitlines()
    assert re.match(
        r"digits: 1,\d+ train, \d+ val, \d+ test images of 1 x 8 x 8 in 10", progress[0]
    )
    assert progress[1].startswith("cnn: ")
    assert [line.split("  ")[0] for line in progress if line.startswith("epoch")] == [
        "epoch 1/2",
        "epoch 2/2",
    ]
    assert "\x1b" not in seen.err


def test_train_leaves_the_run_folder_complete(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert {
        *("config.json", "contract.json", "environment.json", "events.jsonl", "metrics.json"),
        *("predictions.parquet", "checkpoints", "best", "last"),
    } <= names
    assert not [name for name in tree_of(run) if ".writing" in name or name.endswith(".lock")]


def test_train_quiet_prints_nothing_but_the_result(tmp_path: Path, capsys: Capture) -> None:
    out = str(tmp_path / "run")
    assert main.run(["train", "digits", *QUICK, "--out", out, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_train_json_prints_one_object_and_sends_prints_of_the_model_to_stderr(
    photos: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "loud.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Sequential):\n"
        "    def __init__(self, in_channels, classes):\n"
        "        print('building')\n"
        "        super().__init__(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(),\n"
        "                         torch.nn.Linear(4 * in_channels, classes))\n"
    )
    arguments = ["train", str(photos), "--model", f"{tmp_path / 'loud.py'}:Net", "--epochs", "2"]
    before = tree_of(photos)
    assert main.run([*arguments, "--out", str(tmp_path / "run"), "--json"]) == 0
    seen = capsys.readouterr()
    result = json.loads(seen.out)
    assert result["run"] == str(tmp_path / "run")
    assert set(result["metrics"]) == {"val", "test", "train", "verdicts"}
    assert 0 <= result["metrics"]["test"]["accuracy"] <= 1
    assert "building" in seen.err
    assert tree_of(photos) == before


def test_train_numbers_its_runs_when_no_folder_is_given(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        assert main.run(["train", str(photos), "--model", "net", "--epochs", "1", "--json"]) == 0
        name = Path(json.loads(capsys.readouterr().out)["run"]).name
        assert name.endswith(f"-{number:03d}")


def test_commands_that_train_proposes_work(photos: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "it's a run"
    assert main.run(["train", str(photos), *QUICK, "--out", str(out)]) == 0
    lines = capsys.readouterr().out.partition("next:\n")[2].splitlines()
    assert len(lines) == 3
    for line in lines:
        words = words_of(line)  # as bash reads them
        assert words, line
        assert main.run(words) == 0, line
        assert capsys.readouterr().out


def test_train_sends_events_to_tensorboard_when_asked(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    out = tmp_path / "run"
    arguments = ["--model", "net", "--epochs", "1", "--set", "track=tensorboard"]
    assert main.run(["train", str(photos), *arguments, "--out", str(out), "--quiet"]) == 0
    assert list((out / "tensorboard").glob("events.out.tfevents.*"))


def test_settings_remember_what_was_typed(run: Path) -> None:
    settings = json.loads((run / "config.json").read_text())["settings"]
    assert settings["model.name"] == {"value": "cnn", "source": "typed"}
    assert settings["train.epochs"] == {"value": 2.0, "source": "typed"}
    assert settings["hardware.device"] == {"value": "cpu", "source": "typed"}
    assert settings["data.source"] == {"value": "digits", "source": "typed"}
    assert settings["train.clip_norm"]["source"] != "typed"


def test_eval_prints_scores_classes_and_confusions(run: Path, capsys: Capture) -> None:
    assert main.run(["eval", str(run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("test accuracy ")
    heads = [line.split() for line in lines]
    table = heads.index(["class", "precision", "recall", "f1", "images"])
    assert [line.split()[0] for line in lines[table + 1 : table + 11]] == list("0123456789")


def test_eval_gives_the_numbers_of_the_run_again(run: Path, capsys: Capture) -> None:
    assert main.run(["eval", str(run), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    known = json.loads((run / "metrics.json").read_text())["test"]
    assert scores["accuracy"] == known["accuracy"]
    assert scores["confusion"] == known["confusion"]


def test_eval_judges_other_data_by_class_name(run: Path, tmp_path: Path, capsys: Capture) -> None:
    for digit in "7", "3":
        (tmp_path / "data" / digit).mkdir(parents=True)
    bunch = load_digits()
    for k in range(200):
        if bunch.target[k] in (3, 7):
            path = tmp_path / "data" / str(bunch.target[k]) / f"{k}.png"
            Image.fromarray((bunch.images[k] * 255 / 16).astype(np.uint8)).save(path)
    assert main.run(["eval", str(run), str(tmp_path / "data"), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert scores["count"] == len(list((tmp_path / "data").rglob("*.png")))
    assert scores["per_class"]["3"]["count"] + scores["per_class"]["7"]["count"] == scores["count"]
    assert scores["accuracy"] > 0.5


def test_predict_labels_files_and_folders(run: Path, tmp_path: Path, capsys: Capture) -> None:
    paths = draw_digits(tmp_path, 12)
    assert main.run(["predict", str(run), str(tmp_path), "--format", "csv", "--top", "2"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert sorted(row["path"] for row in rows) == sorted(str(path) for path in paths)
    right = [row["path"].endswith(f"-{row['label']}.png") for row in rows]
    assert sum(right) >= 9
    for row in rows:
        assert float(row["confidence"]) >= float(row["confidence_2"]) > 0


def test_predict_writes_a_file_in_the_format_of_its_ending(run: Path, tmp_path: Path) -> None:
    (path,) = draw_digits(tmp_path, 1)
    out = tmp_path / "labels.json"
    assert main.run(["predict", str(run), str(path), "--out", str(out)]) == 0
    (row,) = json.loads(out.read_text())
    assert row["path"] == str(path)


def test_predict_labels_the_rest_and_exits_3_when_an_image_is_bad(
    run: Path, tmp_path: Path, capsys: Capture
) -> None:
    (path,) = draw_digits(tmp_path, 1)
    bad = tmp_path / "-odd\nname.jpg"
    bad.write_text("this is text")
    assert main.run(["predict", str(run), "--format", "csv", "--", str(path), str(bad)]) == 3
    seen = capsys.readouterr()
    good_row, bad_row = csv.DictReader(io.StringIO(seen.out, newline=""))
    assert good_row["label"] and not good_row["error"]
    assert bad_row["path"] == str(bad)
    assert bad_row["error"] and not bad_row["label"]
    lines = seen.err.splitlines()
    assert lines[0].startswith("error: 1 of 2 images can't be read: ")
    assert "-odd\\nname.jpg" in lines[0]
    assert lines[1:] == ["hint: its row has the reason; the others are labelled"]


def test_predict_takes_a_name_that_begins_with_a_dash(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (path,) = draw_digits(tmp_path, 1)
    path.rename(tmp_path / "-x.png")
    monkeypatch.chdir(tmp_path)
    assert main.run(["predict", str(run), "--", "-x.png"]) == 0
    assert capsys.readouterr().out.startswith("-x.png ")


def test_resume_trains_a_finished_run_for_longer(tmp_path: Path, capsys: Capture) -> None:
    out = str(tmp_path / "run")
    assert main.run(["train", "digits", *QUICK, "--out", out, "--quiet"]) == 0
    first = json.loads((tmp_path / "run" / "metrics.json").read_text())["train"]["steps"]
    assert main.run(["resume", out, "--epochs", "3", "--quiet", "--json"]) == 0
    result = json.loads(capsys.readouterr().out.partition("\n{")[2].join(["{", ""]))
    assert result["metrics"]["train"]["steps"] == first * 3 // 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_train_stops_with_a_checkpoint_and_resume_finishes(
    number: int, code: int, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = ["train", "digits", "--model", "cnn", "--epochs", "400", "--out", str(out)]
    child = Child(words, tmp_path / "said.txt")
    assert wait_until((out / "last").exists, child)
    child.send(number)
    assert child.end() == code
    errors = (tmp_path / "said.txt").read_text()
    message, hint = errors.splitlines()[-2:]
    assert message.startswith("error: stopped by ")
    assert hint == f"hint: loupe resume {out} continues from there"
    last = json.loads((out / "last" / "state.json").read_text())
    epochs = str(last["step"] // 20 + 1)
    assert main.run(["resume", str(out), "--set", f"train.epochs={epochs}", "--quiet"]) == 0
    assert json.loads((out / "metrics.json").read_text())["train"]["steps"] >= last["step"]


def test_summary_shows_the_layers_of_a_model_and_of_a_run(run: Path, capsys: Capture) -> None:
    words = ["--input", "1,8,8", "--classes", "10", "--no-time"]
    assert main.run(["summary", "cnn", *words]) == 0
    named = capsys.readouterr().out
    assert main.run(["summary", str(run), "--no-time"]) == 0
    assert capsys.readouterr().out == named
    lines = named.splitlines()
    assert lines[0].split() == ["layer", "type", "output", "parameters", "FLOPs", "activations"]
    assert main.run(["summary", "cnn", "--input", "1,8,8", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert f"  parameters  {facts['parameters']:,}" in lines
    assert {"name", "type", "output_shape", "parameters"} <= set(facts["layers"][0])
