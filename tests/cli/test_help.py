"""Help pages: complete, and readable on any width."""

import pytest

from torchloupe.cli import main
from torchloupe.cli.help import split_help

COMMANDS = ["train", "resume", "predict", "eval", "summary", "info", "verify-resume", "diff"]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("width", [60, 80, 200])
def test_help_names_every_option_with_its_meaning(
    command: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert main.run([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= min(width, 96)
    assert f"Usage: loupe {command} [OPTIONS]" in shown
    assert f"loupe {command}" in shown.partition("Examples")[2]
    panels = shown.partition("Examples")[0].splitlines()
    found = main.typer.main.get_command(main.app)
    for parameter in found.commands[command].params:
        name = parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar
        (line,) = [text for text in panels if text.startswith(f"│ {name} ")]
        assert parameter.help.split()[0] in line


def test_help_of_the_group_has_every_command_on_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    main.run(["--help"])
    lines = capsys.readouterr().out.splitlines()
    for command in COMMANDS:
        (line,) = [text for text in lines if text.startswith(f"│ {command} ")]
        assert line.rstrip(" │").endswith(".")


def test_split_help_joins_paragraphs_and_takes_out_examples() -> None:
    text = """First line
    goes on.

    Second paragraph.

    loupe train digits  # why
    """
    assert split_help(text) == (
        "First line goes on.\n\nSecond paragraph.",
        ["loupe train digits  # why"],
    )
