"""Pages of verdicts: each has one, and what it shows fails first and is mended last."""

import shlex
from pathlib import Path
from typing import Any

import house
import pages
import pytest

from torchloupe.checks.names import NAMES
from torchloupe.cli.main import run

FOLDER = house.ROOT / "docs" / "checks"
INDEX = (FOLDER / "index.md").read_text(encoding="utf-8")


def told_by(page: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What each block of the page says that gives verdicts: `loupe check`, or `verdicts = ...`."""
    told: list[str] = []
    names: dict[str, Any] = {}
    for block in pages.blocks_of(page.read_text(encoding="utf-8")):
        if block.file:
            Path(block.file).write_text(block.text)
        elif block.language == "python":
            names.pop("verdicts", None)
            exec(compile(block.text, str(page), "exec"), names)
            if "verdicts" in names:
                told.append(" ".join(verdict.verdict for verdict in names["verdicts"]))
        elif block.language == "console":
            for _, command in pages.commands_of(block):
                capsys.readouterr()
                assert run(shlex.split(command)[1:]) in (0, 7), capsys.readouterr().err
                told.append(capsys.readouterr().out)
    return told


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_page_fails_first_and_is_mended_last(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    told = told_by(FOLDER / f"{name}.md", capsys)
    assert len(told) >= 2
    assert name in told[0].split()
    assert name not in told[-1].split()


@pytest.mark.parametrize("name", NAMES)
def test_name_is_listed_and_says_what_it_costs(name: str) -> None:
    meaning, cost = NAMES[name]
    assert f"| [{name}]({name}.md) | {meaning} |" in INDEX
    assert (FOLDER / f"{name}.md").read_text(encoding="utf-8").startswith(f"# {name}\n")
    assert len(meaning.split()) >= 4
    assert cost


def test_no_page_is_left_over() -> None:
    assert {path.stem for path in FOLDER.glob("*.md")} == {*NAMES, "index"}
