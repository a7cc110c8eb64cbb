"""The door: command lines in, exit codes and two-line errors out."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from torchloupe import __version__
from torchloupe.cli import main
from torchloupe.cli.train import RunName
from torchloupe.config.settings import Settings
from torchloupe.data.contract import Contract
from torchloupe.errors import (
    CheckpointError,
    DataError,
    Interrupted,
    NumericError,
    ResourceError,
    Terminated,
)

Capture = pytest.CaptureFixture[str]


def add_command(monkeypatch: pytest.MonkeyPatch, command: Callable[[], None]) -> None:
    """A command `loupe probe` that does what the test wants."""
    app = typer.Typer(cls=main.LoupeGroup, add_completion=False)
    app.registered_callback = main.app.registered_callback
    app.registered_commands = list(main.app.registered_commands)
    app.command("probe", cls=main.LoupeCommand)(command)
    monkeypatch.setattr(main, "app", app)


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["trian"], "there is no command 'trian'", "did you mean 'train'?"),
        (
            ["fly"],
            "there is no command 'fly'",
            "known: " + ", ".join(sorted(typer.main.get_command(main.app).commands)),
        ),
        (["--verison"], "loupe has no option --verison", "did you mean '--version'?"),
        (
            ["train", "digits", "--epoch", "3"],
            "loupe train has no option --epoch",
            "did you mean '--epochs' or '--teacher'?",
        ),
        (
            ["predict", "run", "-weird.jpg"],
            "loupe predict has no option -w",
            "loupe predict --help lists what it takes; -- before a name that begins with -",
        ),
        (["train"], "loupe train needs DATA", "loupe train --help lists what it takes"),
        (["eval"], "loupe eval needs RUN", "loupe eval --help lists what it takes"),
        (
            ["train", "digits", "--epochs", "many"],
            "--epochs: 'many' is not a number",
            "loupe train --help lists what it takes",
        ),
        (
            ["train", "digits", "--epochs", "0"],
            "--epochs: it is 0 and should be more than 0",
            "loupe train --help lists what it takes",
        ),
        (
            ["train", "digits", "--minutes", "nan"],
            "--minutes: it is nan and should be more than 0",
            "loupe train --help lists what it takes",
        ),
        (
            ["train", "digits", "--seed", "-1"],
            "--seed: '-1' is not a whole number",
            "loupe train --help lists what it takes",
        ),
        (
            ["predict", "run", "a.jpg", "--top", "0"],
            "--top: it is 0 and should be 1 or more",
            "loupe predict --help lists what it takes",
        ),
        (
            ["predict", "run", "a.jpg", "--format", "exel"],
            "--format takes table, csv, json, parquet, got 'exel'",
            "known: csv, json, parquet, table",
        ),
        (
            ["train", "digits", "--set", "lr"],
            "--set takes name=value, got 'lr'",
            "for example --set optimizer.lr=3e-4",
        ),
        (
            ["summary", "cnn", "--input", "28"],
            "--input takes channels,height,width, got '28'",
            "for example --input 1,28,28",
        ),
        (
            ["train", "digits", "--epochs", "3", "--minutes", "1"],
            "both epochs and minutes were given, and either one decides when training ends",
            "leave one of them out",
        ),
        (
            ["train", "digits", "--seed", "1", "--set", "train.seed=2"],
            "train.seed was given twice: 1 and 2",
            "leave one of them out",
        ),
    ],
)
def test_run_refuses_a_wrong_command_line_in_two_lines(
    arguments: list[str], error: str, hint: str, capsys: Capture
) -> None:
    assert main.run(arguments) == 2
    seen = capsys.readouterr()
    assert seen.err == f"error: {error}\nhint: {hint}\n"
    assert seen.out == ""


def test_run_refuses_an_option_without_its_value(capsys: Capture) -> None:
    assert main.run(["train", "digits", "--epochs"]) == 2
    seen = capsys.readouterr().err.splitlines()
    assert seen[0].startswith("error: loupe train: option '--epochs' requires an argument")
    assert seen[1:] == ["hint: loupe train --help lists what it takes"]


def test_run_escapes_control_characters_of_the_command_line(capsys: Capture) -> None:
    assert main.run(["\x1b[31mred\n"]) == 2
    assert capsys.readouterr().err.startswith("error: there is no command '\\\\x1b[31mred\\\\n'")


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_run_shows_help(arguments: list[str], capsys: Capture) -> None:
    assert main.run(arguments) == 0
    seen = capsys.readouterr()
    assert seen.err == ""
    for word in ("train", "resume", "predict", "eval", "summary", "info", "loupe train digits"):
        assert word in seen.out


def test_run_shows_the_version(capsys: Capture) -> None:
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out == f"torchloupe {__version__}\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataError("no images", "add some"), 3),
        (CheckpointError("no images", "add some"), 4),
        (NumericError("no images", "add some"), 5),
        (ResourceError("no images", "add some"), 6),
        (Interrupted("no images", "add some"), 130),
        (Terminated("no images", "add some"), 143),
    ],
)
def test_run_turns_an_error_into_its_exit_code(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def fail() -> None:
        raise error

    add_command(monkeypatch, fail)
    assert main.run(["probe"]) == code
    assert capsys.readouterr().err == "error: no images\nhint: add some\n"


def test_run_keeps_the_lines_of_a_message_and_escapes_the_rest(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def fail() -> None:
        raise DataError("first\nsecond\x1b[2J", "look")

    add_command(monkeypatch, fail)
    main.run(["probe"])
    assert capsys.readouterr().err == "error: first\nsecond\\x1b[2J\nhint: look\n"


def test_run_reports_what_nobody_expected_in_two_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("division by zero")

    add_command(monkeypatch, fail)
    assert main.run(["probe"]) == 1
    assert capsys.readouterr().err == (
        "error: unexpected ZeroDivisionError: division by zero\n"
        "hint: run it again with --traceback to see where it comes from\n"
    )


@pytest.mark.parametrize("wanted", [False, True])
def test_run_prints_a_traceback_only_when_asked(
    wanted: bool, capsys: Capture, tmp_path: Path
) -> None:
    arguments = ["predict", str(tmp_path), "a", "--format", "exel"]
    assert main.run([*arguments, "--traceback"] if wanted else arguments) == 2
    seen = capsys.readouterr().err
    assert ("Traceback (most recent call last)" in seen) is wanted
    assert "error: --format takes" in seen


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "out of memory"),
        (OSError(28, "No space left on device", "/a/b"), "the disk is full at /a/b"),
    ],
)
def test_explain_names_the_resource_that_ran_out(error: Exception, message: str) -> None:
    refusal = main.to_loupe_error(error)
    assert isinstance(refusal, ResourceError)
    assert refusal.message == message


def test_run_gives_130_when_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    add_command(monkeypatch, interrupt)
    assert main.run(["probe"]) == 130
    assert capsys.readouterr().err == "error: interrupted\nhint: give the command again\n"


@pytest.mark.parametrize(
    ("number", "code", "error"),
    [(signal.SIGTERM, 143, "stopped by SIGTERM"), (signal.SIGINT, 130, "interrupted")],
)
def test_run_names_the_run_to_resume_when_it_was_stopped(
    number: int, code: int, error: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def stop(context: typer.Context) -> None:
        listener = RunName(context.find_root().obj)
        listener.start({"run": "runs/my photos-001"})
        os.kill(os.getpid(), number)

    add_command(monkeypatch, stop)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    try:
        assert main.run(["probe"]) == code
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == (
        f"error: {error}\n"
        "hint: loupe resume 'runs/my photos-001' continues from its last checkpoint\n"
    )


def test_run_name_of_a_fold_is_the_cross_validation(tmp_path: Path) -> None:
    (tmp_path / "folds.json").write_text("{}")
    asked: dict[str, object] = {}
    RunName(asked).start({"run": str(tmp_path / "fold-2")})
    assert asked == {"run": tmp_path}


def test_resume_names_its_run_when_it_is_stopped_before_the_first_step(
    tmp_path: Path, capsys: Capture
) -> None:
    """SIGTERM while the data are opened: the run folder is known from the command line."""
    (tmp_path / "stop.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\ndata = []\n"
    )
    named = {"data.source": f"{tmp_path}/stop.py:data", "model.name": "net"}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(Settings().with_default(named).to_json())
    contract = Contract("L", 1, (8, 8), class_names=("a", "b"))
    (tmp_path / "run" / "contract.json").write_text(contract.to_json())
    words = ["resume", str(tmp_path / "run"), "--trust-code", "--set", "hardware.device=cpu"]
    assert main.run(words) == 143
    assert capsys.readouterr().err == (
        "error: stopped by SIGTERM\n"
        f"hint: loupe resume {tmp_path / 'run'} continues from its last checkpoint\n"
    )


def test_run_is_quiet_when_the_reader_goes_away() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "torchloupe", "--help"],
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (main.PIPE_CLOSED, b"")


def test_run_prints_help_in_an_encoding_without_boxes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "torchloupe", "--help"],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"loupe train digits" in done.stdout


def test_run_shows_a_warning_as_one_line(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    import warnings

    def warn() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("something\nodd", UserWarning, stacklevel=1)

    shown = warnings.showwarning
    add_command(monkeypatch, warn)
    assert main.run(["probe"]) == 0
    assert capsys.readouterr().err == "warning: something\\nodd\n"
    assert warnings.showwarning is shown


def test_say_error_survives_a_closed_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        monkeypatch.setattr(sys, "stderr", stream)
        assert main.say_error("no", "yes") is None  # type: ignore[func-returns-value]


def test_python_m_torchloupe_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "torchloupe", "trian"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: there is no command 'trian'\nhint: did you mean 'train'?\n"
