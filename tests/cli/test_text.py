"""Results as text and JSON."""

import json
import math
import shlex
import subprocess
from pathlib import Path

import pytest
from rich.text import Text

from torchloupe.cli.text import (
    align,
    confused_pairs,
    describe_evaluation,
    describe_result,
    print_text,
    quote,
    to_json,
)

TEST = {
    "accuracy": 0.98697,
    "accuracy_ci95": [0.967, 0.9949],
    "loss": 0.04512,
    "count": 307,
    "macro_f1": 0.98,
    "ece": 0.0123,
    "per_class": {
        "cat": {"precision": 0.9, "recall": 0.8, "f1": 0.85, "count": 10},
        "dog\x1b[2J": {"precision": 1.0, "recall": None, "f1": 0.5, "count": 0},
    },
    "confusion": [[8, 2], [0, 0]],
}
TRAIN = {
    "seconds": 12.34,
    "steps": 504,
    "images_per_second": 4321.0,
    "peak_memory_bytes": 512_000_000,
    "save_pause_seconds": 0.123,
}


def test_describe_result_gives_accuracy_time_folder_and_next_commands() -> None:
    text = describe_result(Path("runs/digits-001"), {"test": TEST, "train": TRAIN}, "digits")
    assert text.plain.splitlines() == [
        "test accuracy   98.70 %  (95 % interval 96.70 to 99.49 %, 307 images)",
        "test loss       0.0451",
        "trained in      12.3 s, 504 steps, 4,321 images/s, 512 MB of memory at most, "
        "0.1 s waiting for checkpoints",
        "run folder      runs/digits-001",
        "",
        "next:",
        "  loupe predict runs/digits-001 IMAGES...  # labels for image files and folders",
        "  loupe eval runs/digits-001               # each class, and what is confused with what",
        "  loupe summary runs/digits-001            # the layers of the model",
    ]


def test_describe_result_gives_val_and_says_so_when_there_is_no_test() -> None:
    lines = describe_result(Path("run"), {"val": TEST, "train": TRAIN}).plain.splitlines()
    assert lines[0].startswith("val accuracy    98.70 %")
    assert lines[2] == (
        "no test split was used; val also chose the best checkpoint, so expect a lower accuracy "
        "on new images"
    )


def test_describe_result_offers_no_predictions_of_files_that_are_refused() -> None:
    text = describe_result(Path("run"), {"val": TEST, "train": TRAIN}, takes_files=False).plain
    assert "loupe predict" not in text
    assert "loupe eval run" in text


def test_describe_result_without_val_and_test_says_so_and_offers_no_evaluation() -> None:
    text = describe_result(Path("run"), {"train": TRAIN}).plain
    assert text.startswith("no val or test images were evaluated, so there is no accuracy\n")
    assert "loupe eval" not in text and "loupe predict" in text


@pytest.mark.parametrize(
    ("spent", "line"),
    [
        ({"seconds": 0.0, "steps": 0, "head_seconds": 8.25}, "trained in      8.2 s"),
        ({"seconds": 0.0, "steps": 0}, None),
        ({"seconds": 2.0, "steps": 9, "head_seconds": 8.25}, "trained in      10.2 s, 9 steps"),
    ],
)
def test_describe_result_gives_the_time_of_a_head(
    spent: dict[str, float], line: str | None
) -> None:
    lines = describe_result(Path("run"), {"val": TEST, "train": spent}).plain.splitlines()
    assert [one for one in lines if one.startswith("trained in")] == ([line] if line else [])


def test_describe_result_offers_the_folder_that_was_trained_on(tmp_path: Path) -> None:
    photos = tmp_path / "my photos"
    photos.mkdir()
    text = describe_result(Path("run"), {"train": TRAIN}, str(photos)).plain
    assert f"loupe predict run '{photos}'" in text


def test_describe_evaluation_shows_classes_and_what_is_confused() -> None:
    assert describe_evaluation(TEST, "test").plain.splitlines() == [
        "test accuracy   98.70 %  (95 % interval 96.70 to 99.49 %, 307 images)",
        "test loss       0.0451",
        "mean class f1   0.9800",
        "calibration     0.0123 (expected error of the confidence)",
        "",
        "class       precision   recall       f1  images",
        "cat           90.00 %  80.00 %  85.00 %      10",
        "dog\\x1b[2J   100.00 %        -  50.00 %       0",
        "",
        "confused most  taken for   images  of the class",
        "cat            dog\\x1b[2J       2       20.00 %",
    ]


def test_describe_evaluation_shows_the_worst_of_many_classes() -> None:
    classes = {
        f"class {k}": {"precision": 1.0, "recall": 1.0, "f1": k / 100, "count": 1}
        for k in reversed(range(100))
    }
    shown = describe_evaluation({**TEST, "per_class": classes, "confusion": None}, "data").plain
    assert "the 40 classes with the lowest f1, of 100; --json has all" in shown
    assert "class 39 " in shown
    assert "class 40 " not in shown


def test_confused_pairs_are_sorted_by_images_then_share() -> None:
    confusion = [[5, 2, 0], [1, 5, 2], [0, 0, 4]]
    assert confused_pairs(confusion, ["a", "b", "c"]) == [
        ("a", "b", 2, 2 / 7),
        ("b", "c", 2, 2 / 8),
        ("b", "a", 1, 1 / 8),
    ]
    assert confused_pairs(None, ["a"]) == []


def test_align_sets_wide_characters_by_their_cells() -> None:
    assert align([["猫", "1"], ["dog", "22"]], right=(1,)).plain == "猫    1\ndog  22\n"


@pytest.mark.parametrize(
    "name",
    [
        "runs/digits-001",
        "with space",
        "it's",
        "-dash",
        "new\nline",
        "esc\x1b[31m and 'quote' and \\",
        "ünïcode 猫",
        "bytes \udcff",
    ],
)
def test_quote_is_read_back_by_a_shell(name: str) -> None:
    quoted = quote(name)
    assert quoted.isprintable()
    done = subprocess.run(
        ["bash", "-c", f"printf %s {quoted}"], capture_output=True, check=True
    ).stdout
    wanted = f"./{name}" if name.startswith("-") else name
    assert done == wanted.encode("utf-8", "surrogateescape")
    if name.isprintable():
        assert shlex.split(quoted) == [wanted]


def test_to_json_writes_null_for_what_is_no_number() -> None:
    value = {"a": math.nan, "b": [math.inf, 1.5], 3: Path("x"), "c": {"d": None, "e": True}}
    assert json.loads(to_json(value)) == {
        "a": None,
        "b": [None, 1.5],
        "3": "x",
        "c": {"d": None, "e": True},
    }


def test_print_text_neither_wraps_nor_reads_markup(capsys: pytest.CaptureFixture[str]) -> None:
    line = "[bold]" + "x" * 300 + "[/bold] :smile:\n"
    print_text(Text(line, "red"))
    assert capsys.readouterr().out == line
