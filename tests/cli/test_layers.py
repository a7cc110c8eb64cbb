"""`loupe summary` of models by name."""

import json
import re
from pathlib import Path

import pytest

from torchloupe.cli import main
from torchloupe.cli.summary import parse_shape
from torchloupe.errors import UsageError

Capture = pytest.CaptureFixture[str]


def test_summary_lists_layers_with_shapes_and_parameters(capsys: Capture) -> None:
    assert main.run(["summary", "net", "--input", "1,8,8", "--classes", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = ["layer", "type", "output", "parameters", "FLOPs", "activations", "forward", "backward"]
    assert lines[0].split() == names
    assert lines[1].split()[:7] == ["conv", "Conv2d", "[1,", "32,", "8,", "8]", "320"]
    assert lines[-5:-2] == [
        "net",
        "  parameters  419",
        "  FLOPs       37,056 forward, for 1 image",
    ]
    assert lines[-2] == (
        "  memory      weights 1.68 kB, gradients 1.68 kB, AdamW 3.37 kB, activations 8.2 kB"
    )
    assert re.fullmatch(r"  time +forward \d.* [mµ]s, backward \d.* [mµ]s, for 1 image", lines[-1])


def test_summary_measures_no_times_when_asked(capsys: Capture) -> None:
    assert main.run(["summary", "net", "--input", "1,8,8", "--batch", "3", "--no-time"]) == 0
    text = capsys.readouterr().out
    assert "backward" not in text
    assert "[3, 32, 8, 8]" in text
    assert "for 3 images" in text


def test_summary_draws_one_picture(tmp_path: Path, capsys: Capture) -> None:
    picture = tmp_path / "net.svg"
    assert main.run(["summary", "net", "--input", "1,8,8", "--svg", str(picture)]) == 0
    assert picture.read_text().startswith("<svg ")
    assert (
        main.run(["summary", "net", "--input", "1,8,8", "--svg", str(tmp_path / "no/x.svg")]) == 6
    )
    assert "can't write" in capsys.readouterr().err


def test_summary_json_adds_up(capsys: Capture) -> None:
    assert main.run(["summary", "cnn", "--input", "3,16,16", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["model"] == "cnn"
    assert facts["parameters"] == sum(layer["parameters"] for layer in facts["layers"]) > 0
    assert facts["layers"][0]["input_shape"] == [1, 3, 16, 16]
    assert facts["layers"][-1]["output_shape"] == [1, 10]


def test_summary_names_the_layer_that_does_not_fit(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(99, 10))\n"
    )
    assert main.run(["summary", f"{tmp_path / 'mine.py'}:Net", "--input", "1,8,8"]) == 2
    seen = capsys.readouterr()
    assert seen.out == ""
    assert seen.err.startswith("error: ")
    assert "144" in seen.err
    assert "99" in seen.err
    assert seen.err.splitlines()[-1].startswith("hint: ")
    assert "Traceback" not in seen.err


def test_summary_escapes_the_name_of_a_layer(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.add_module('\\x1b[31m[red]', nn.Linear(4, 10))\n"
        "    def forward(self, images):\n"
        "        return self._modules['\\x1b[31m[red]'](images.flatten(1))\n"
    )
    assert main.run(["summary", f"{tmp_path / 'mine.py'}:Net", "--input", "1,2,2"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("\\x1b[31m[red]  Linear ")


@pytest.mark.parametrize("text", ["1,28,28", "1x28x28", " 1, 28 ,28"])
def test_parse_shape_takes_commas_or_crosses(text: str) -> None:
    assert parse_shape(text) == (1, 28, 28)


@pytest.mark.parametrize("text", ["28", "0,1,1", "a,b,c", "1,2,3,4", "1,-2,3"])
def test_parse_shape_refuses_anything_else(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--input takes channels,height,width, got "):
        parse_shape(text)


@pytest.mark.parametrize("output", ["{'logits': found}", "(found, maps)"])
@pytest.mark.parametrize("command", ["summary", "memory"])
def test_models_that_return_more_than_logits_are_measured(
    command: str, output: str, tmp_path: Path, capsys: Capture
) -> None:
    code = f"""
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, num_classes)

    def forward(self, images):
        maps = self.conv(images)
        found = self.head(maps.mean((2, 3)))
        return {output}
"""
    (tmp_path / "net.py").write_text(code)
    more = ["--classes", "3", "--no-time"] if command == "summary" else ["--no-check"]
    words = [command, f"{tmp_path}/net.py:Net", "--input", "3,8,8", "--device", "cpu", *more]
    assert main.run(words) == 0
    assert "head" in capsys.readouterr().out
