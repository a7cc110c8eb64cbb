"""What others build on: the options of each command, and the names of the package.

A change here breaks somebody's script. Make it on purpose, and say it in CHANGELOG.md.
"""

import importlib

import pytest
import typer
from children import run_python

import torchloupe
from torchloupe.cli.main import app

OPTIONS = {
    "train": [
        *("DATA", "--model", "--strategy", "--weights", "--teacher", "--epochs", "--minutes"),
        *("--folds", "--out", "--resume", "--recipe", "--set", "--device"),
        *("--gpus", "--parallel", "--precision", "--seed", "--download", "--quiet", "--json"),
        "--traceback",
    ],
    "resume": [
        *("RUN", "--epochs", "--minutes", "--set", "--device", "--gpus", "--parallel", "--model"),
        *("--trust-code", "--accept-new-data", "--quiet", "--json", "--traceback"),
    ],
    "sweep": [
        *("DATA", "--try", "--trials", "--minutes", "--repeat", "--prune", "--workers"),
        *("--storage", "--model", "--epochs", "--out", "--recipe", "--set", "--device"),
        *("--precision", "--seed", "--quiet", "--json", "--traceback"),
    ],
    "launch": [
        *("WHERE", "TRAIN...", "--nodes", "--ranks", "--cpu", "--minutes", "--name", "--hosts"),
        *("--image", "--claim", "--print", "--traceback"),
    ],
    "predict": [
        *(
            "RUN",
            "IMAGES...",
            "--format",
            "--top",
            "--out",
            "--views",
            "--raw",
            "--fast",
            "--ranks",
        ),
        *("--on", "--device", "--model", "--trust-code", "--traceback"),
    ],
    "eval": [
        *("RUN", "[DATA]", "--threshold", "--views", "--device", "--model", "--trust-code"),
        "--samples",
        *("--json", "--traceback"),
    ],
    "report": [
        *("RUN", "--open", "--live", "--port", "--out", "--device", "--model", "--trust-code"),
        "--traceback",
    ],
    "look": [
        *(
            "RUN",
            "IMAGE",
            "--layer",
            "--out",
            "--live",
            "--device",
            "--model",
            "--trust-code",
            "--json",
        ),
        "--traceback",
    ],
    "summary": [
        *("MODEL", "--input", "--classes", "--batch", "--svg", "--no-time", "--device"),
        *("--trust-code", "--json", "--traceback"),
    ],
    "memory": [
        *("MODEL", "--input", "--batch", "--classes", "--optimizer", "--precision", "--device"),
        *("--no-check", "--json", "--traceback"),
    ],
    "export": [
        *("RUN", "--to", "--precision", "--input", "--out", "--max-drop", "--files", "--model"),
        *("--trust-code", "--quiet", "--json", "--traceback"),
    ],
    "info": ["--json", "--traceback"],
    "verify-resume": [
        *("DATA", "--model", "--kills", "--epochs", "--set", "--out", "--quiet", "--json"),
        "--traceback",
    ],
    "pack": [
        *("[DATA]", "--list", "--check", "--clear", "--older-than", "--set", "--quiet", "--json"),
        "--traceback",
    ],
    "shard": ["DATA", "OUT", "--megabytes", "--set", "--quiet", "--json", "--traceback"],
    "check": ["DATA", "--model", "--loss", "--set", "--ignore", "--quiet", "--json", "--traceback"],
    "probe": [
        *("[DATA]", "--model", "--set", "--export", "--refresh", "--device", "--trust-code"),
        *("--quiet", "--json", "--traceback"),
    ],
    "compare": ["RUN...", "--out", "--json", "--traceback"],
    "tell": ["RUN", "WHAT", "--model", "--trust-code", "--traceback"],
    "serve": [
        *("RUN", "--host", "--port", "--workers", "--token", "--write-deploy", "--device"),
        *("--model", "--trust-code", "--traceback"),
    ],
    "eject": ["RUN", "--notebook", "--data", "--prove", "--model", "--trust-code", "--traceback"],
    "diff": ["RUN", "OTHER", "--json", "--traceback"],
}

EXPORTS = [
    *(
        "Config",
        "CrossValidation",
        "Prediction",
        "Run",
        "cross_validate",
        "data",
        "errors",
        "evaluate",
    ),
    *("fit", "hardware", "lens", "models", "open_data", "open_run", "resume"),
    *("Comparison", "check", "checks", "compare", "export_run", "open_export"),
    *("Precision", "choose_device", "config", "distributed", "prepare_data"),
    *("Sweep", "sweep"),
]


@pytest.mark.parametrize("command", OPTIONS)
def test_options_of_a_command_are_frozen(command: str) -> None:
    found = typer.main.get_command(app).commands[command]
    names = [
        parameter.metavar if parameter.param_type_name == "argument" else parameter.opts[0]
        for parameter in found.params
    ]
    assert names == OPTIONS[command]


def test_commands_are_frozen() -> None:
    assert set(typer.main.get_command(app).commands) == set(OPTIONS)


@pytest.mark.parametrize("name", EXPORTS)
def test_exported_name_is_there(name: str) -> None:
    assert name in torchloupe.__all__
    assert getattr(torchloupe, name) is not None


def test_exports_are_frozen() -> None:
    assert set(torchloupe.__all__) - {"__version__"} == set(EXPORTS)
    assert set(torchloupe.__all__) <= set(dir(torchloupe))


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        torchloupe.no_such_name  # noqa: B018


def test_star_import_gives_the_exports() -> None:
    code = "from torchloupe import *; import torchloupe as t; print(set(t.__all__) <= set(dir()))"
    done = run_python(["-c", code])
    assert (done.stdout, done.stderr) == ("True\n", "")


@pytest.mark.parametrize(
    "module",
    ["hardware.precision", "data.feeds.feed", "lens.anatomy", "evaluation.scoring", "train.loop"],
)
def test_part_is_importable_alone(module: str) -> None:
    assert importlib.import_module(f"torchloupe.{module}").__doc__
