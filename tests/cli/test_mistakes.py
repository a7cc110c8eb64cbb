"""Every mistake a newcomer makes, with the whole text of its error and its exit code."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from torchloupe.cli import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))


def refused(arguments: list[str], code: int, capsys: Capture) -> tuple[str, str]:
    """The message and hint of a command that must fail with `code`, leave no run and no result."""
    assert main.run(arguments) == code
    seen = capsys.readouterr()
    assert seen.out == ""
    assert "Traceback" not in seen.err
    assert {path.name for path in Path("runs").glob("*/*")} <= {"set-aside.csv"}
    message, _, hint = seen.err.partition("error: ")[2].rpartition("\nhint: ")
    return message, hint.rstrip("\n")


def draw(folder: str, count: int = 8, side: int = 9) -> None:
    """PNG files 0.png, 1.png and so on, no two alike."""
    Path(folder).mkdir(parents=True)
    rng = np.random.default_rng(len(folder))
    for k in range(count):
        pixels = rng.integers(0, 255, (side, side), dtype=np.uint8)
        Image.fromarray(pixels).save(Path(folder) / f"{k}.png")


def make_empty_folder() -> None:
    Path("photos").mkdir()


def make_flat_folder() -> None:
    draw("photos", 5)


def make_one_class() -> None:
    draw("photos/cat")


def make_text_as_images() -> None:
    for name in ("cat", "dog"):
        draw(f"photos/{name}", 20)
    Path("photos/dog/a.jpg").write_text("this is text")
    Path("photos/dog/b.png").write_bytes(b"")


def make_extra_class_in_val() -> None:
    for folder in ("train/cat", "train/dog", "val/cat", "val/cow"):
        draw(f"photos/{folder}")


def make_empty_class() -> None:
    for name in ("cat", "dog"):
        draw(f"photos/{name}")
    Path("photos/cow").mkdir()


DATA_MISTAKES: list[tuple[Callable[[], None], int, str, str]] = [
    (
        make_empty_folder,
        3,
        "photos is empty",
        "give a folder that holds one folder of images per class",
    ),
    (
        make_flat_folder,
        3,
        "photos holds 5 images but no class folders",
        "put the images of each class in a folder of its own, list them in a .csv, or say where "
        "the class is in their names: data.label_pattern=REGEX",
    ),
    (
        make_one_class,
        3,
        "there is only one class: 'cat'",
        "add images of another class, or say where the classes are: a folder for each, a table "
        "that lists image and label, or data.label_pattern for those in file names",
    ),
    (
        make_text_as_images,
        3,
        "2 images of 42 can't be read, more than 1.0% (1 not an image, 1 empty): dog/a.jpg: not "
        "an image: none of JPEG, PNG, GIF, WebP, TIFF, BMP, PPM, AVIF, HEIC, JPEG 2000, TGA, ICO, "
        "PCX, DDS, QOI; dog/b.png: empty file (0 bytes)",
        "runs/photos-001/set-aside.csv lists them; repair or remove them, or allow more with "
        "--set data.bad_fraction=0.05",
    ),
    (
        make_extra_class_in_val,
        3,
        "val has a class that train lacks: 'cow'",
        "add training images of it, or take it out of val",
    ),
]


@pytest.mark.parametrize(("make", "code", "message", "hint"), DATA_MISTAKES)
def test_train_refuses_data(
    make: Callable[[], None], code: int, message: str, hint: str, capsys: Capture
) -> None:
    make()
    assert refused(["train", "photos"], code, capsys) == (message, hint)


@pytest.mark.parametrize(
    ("arguments", "code", "message", "hint"),
    [
        (["train", "digit"], 2, "there is no file or folder digit", "did you mean 'digits'?"),
        (
            ["train", "mine.csv"],
            2,
            "there is no file or folder mine.csv",
            "did you mean 'mine.py'?",
        ),
        (
            ["train", "digits", "--model", "cnnn"],
            2,
            "there is no model 'cnnn'",
            "did you mean 'cnn'? (others: torchvision:NAME, timm:NAME, your own: file.py:Class)",
        ),
        (
            ["train", "digits", "--model", "mine.py:Nett"],
            2,
            "model mine.py:Nett: mine.py defines no 'Nett'",
            "did you mean 'Net'?",
        ),
        (
            ["train", "digits", "--device", "gpu"],
            2,
            "--device takes auto, cpu, cuda, cuda:N or mps, got 'gpu'",
            "leave it out to have the device chosen",
        ),
        (
            ["train", "digits", "--set", "optimizer.lr=fast", "--set", "train.epoch=3"],
            2,
            "these settings can't be used: optimizer.lr: 'fast' is not a number; train.epoch "
            "(did you mean 'train.epochs' or 'train.report' or 'train.keep'?)",
            "docs/settings.md lists every setting with its default",
        ),
        (
            ["train", "digits", "--set", "optimizer.name=adm"],
            2,
            "there is no optimizer 'adm'",
            "did you mean 'adam' or 'radam' or 'nadam'? (your own: file.py:Name)",
        ),
        (
            ["train", "digits", "--set", "loss.name=focall"],
            2,
            "there is no loss 'focall'",
            "did you mean 'focal'? (torch's: torch.nn:NAME)",
        ),
        (
            ["train", "digits", "--set", "optimizer.lr", "0.1"],
            2,
            "--set takes NAME=VALUE in one word, got 'optimizer.lr'",
            "write --set optimizer.lr=VALUE",
        ),
        (
            ["train", "digits", "--folds", "1"],
            2,
            "--folds: it is 1 and should be 2 or more",
            "loupe train --help lists what it takes",
        ),
        (
            ["train", "digits", "--recipe", "no.py:f"],
            2,
            "recipe no.py:f: there is no file no.py",
            "did you mean 'mine.py'?",
        ),
        (
            ["train", "digits", "--out", "."],
            2,
            "--out . is not empty",
            "give a new folder for --out",
        ),
        (
            ["predict", "none", "a.jpg"],
            2,
            "there is no run folder none",
            "loupe train makes one",
        ),
        (
            ["resume", "."],
            2,
            ". is not a run folder (it has no config.json)",
            "give the folder that `loupe train` printed, such as runs/digits-001",
        ),
        (
            ["train", "torchvision:CIFAR10"],
            3,
            "the files of torchvision's CIFAR10 are missing or damaged "
            "(looked in: data, ./, {cache})",
            "--download fetches them, or say where they are: torchvision:FOLDER/CIFAR10",
        ),
    ],
)
def test_command_refuses(
    arguments: list[str], code: int, message: str, hint: str, tmp_path: Path, capsys: Capture
) -> None:
    Path("mine.py").write_text("class Net:\n    pass\n")
    cache = tmp_path / ".cache" / "torchloupe" / "torchvision"
    assert refused(arguments, code, capsys) == (message.format(cache=cache), hint)


def test_train_refuses_a_model_with_the_wrong_output_size(capsys: Capture) -> None:
    Path("mine.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(64, 7))\n"
    )
    message, hint = refused(["train", "digits", "--model", "mine.py:Net"], 2, capsys)
    lines = message.splitlines()
    assert lines[0] == "the model gives [2, 7], 7 outputs per image; the data have 10 classes"
    assert lines[1].split() == ["layer", "type", "input", "output", "parameters"]
    assert "[2, 7]" in lines[-1]
    assert hint == (
        "make layer 1 a Linear(64, 10), or let the model's constructor take `classes`, "
        "which is filled in"
    )


def test_train_shows_the_layers_up_to_the_one_that_fails(capsys: Capture) -> None:
    Path("mine.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(100, 10))\n"
    )
    message, hint = refused(["train", "digits", "--model", "mine.py:Net"], 2, capsys)
    lines = message.splitlines()
    assert lines[0] == "layer 1 (Linear) takes 100 features (in_features), it got 64"
    assert lines[1].split() == ["layer", "type", "input", "output", "parameters"]
    assert [line.split()[1] for line in lines[2:]] == ["Flatten", "Linear"]
    assert hint == "make layer 1 a Linear(64, 10)"


def test_train_names_the_row_of_a_table_whose_image_is_missing(
    tmp_path: Path, capsys: Capture
) -> None:
    with Path("labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "label"), ("no.png", "cat"), ("-x\n.png", "dog")])
    message, hint = refused(["train", "labels.csv"], 3, capsys)
    assert message == ("labels.csv lists 2 files of 2 that can't be found: 'no.png', '-x\\n.png'")
    assert hint == (
        f"paths are relative to the table's folder, {tmp_path}; data.image_folder=FOLDER names "
        "another"
    )


def test_train_warns_of_a_class_without_images(capsys: Capture) -> None:
    make_empty_class()
    assert main.run(["train", "photos", "--model", "net", "--epochs", "1", "--quiet"]) == 0
    assert "note: 'cow' holds no images" in capsys.readouterr().err.splitlines()


LATE = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, 10))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if self.training and self.calls > 20:
            raise ValueError("no more")
        return super().forward(x)

def look(module, inputs, output):
    return output[0, 99]
"""


def test_train_names_file_and_line_of_a_model_or_hook_that_raises(
    tmp_path: Path, capsys: Capture
) -> None:
    file = tmp_path / "late.py"
    file.write_text(LATE)
    own = ["train", "digits", "--model", f"{file}:Net", "--epochs", "1"]
    assert main.run(own) == 2
    assert capsys.readouterr().err.endswith(
        f"error: your own code fails at {file}, line 12: ValueError: no more\n"
        "hint: fix it there; --traceback shows the whole chain\n"
    )
    words = ["train", "digits", "--model", "net", "--epochs", "1"]
    hook = ["--set", "lens.watch=fc", "--set", f"lens.hook={file}:look"]
    assert main.run([*words, *hook]) == 2
    assert capsys.readouterr().err.splitlines()[-2] == (
        f"error: hook {file}:look fails at {file}, line 16: IndexError: index 99 is out of bounds "
        "for dimension 1 with size 10"
    )
