"""What the pages show works: every python and console block of README.md and docs/ is run."""

import ast
import re
from pathlib import Path

import house
import pages
import pytest

PAGES = [house.ROOT / "README.md", *sorted((house.ROOT / "docs").glob("*.md"))]
USE = "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/loupe train digits"
TEST = "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest"


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.name, marks=() if page.name == "README.md" else pytest.mark.long)
        for page in PAGES
    ],
)
def test_page_runs(page: Path, tmp_path: Path) -> None:
    pages.lay_out(tmp_path)
    done = pages.run_page(page, tmp_path)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_excuses_no_block_without_a_reason(page: Path) -> None:
    for block in pages.blocks_of(page.read_text(encoding="utf-8")):
        if not block.language:
            lines = block.text.splitlines()
            code = [line for line in lines if line.startswith(("$ ", "import ", "from "))]
            assert not code, f"{page.name}:{block.line} looks like code: name its language"
        if block.excuse:
            assert len(block.excuse.split()) >= 3, f"{page.name}:{block.line}: {block.excuse}"
        elif block.language == "console":
            assert pages.commands_of(block), f"{page.name}:{block.line} runs nothing"


def test_readme_shows_both_commands_and_ci_runs_the_second() -> None:
    readme = (house.ROOT / "README.md").read_text(encoding="utf-8")
    commands = [
        line.strip().removeprefix("$ ") for line in readme.splitlines() if "-m venv" in line
    ]
    assert commands == [USE, TEST]
    ci = (house.ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "README.md" in ci
    assert "pip install" not in ci.replace(".venv/bin/pip install -e", "")


def test_links_between_pages_lead_somewhere() -> None:
    wrong = [
        f"{page.name}: {target}"
        for page in {*PAGES, *house.ROOT.glob("*.md")}
        for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not wrong


def test_examples_are_short_and_read_like_python() -> None:
    for path in sorted((house.ROOT / "examples").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert ast.get_docstring(ast.parse(text)), path.name
        assert len(text.splitlines()) < 60, path.name


def test_blocks_of_finds_languages_files_and_excuses() -> None:
    page = (
        "text\n```python\nx = 1\n```\n"
        "<!-- file: my.py -->\n\n```python\ny = 2\n```\n"
        "<!-- not run: it needs a GPU -->\n```console\n$ loupe train x\n```\n"
        "- list\n  ```console\n  $ loupe info \\\n      --json\n  output\n  $ true\n  ```\n"
    )
    blocks = pages.blocks_of(page)
    assert [(b.language, b.line, b.file, b.excuse, b.is_run) for b in blocks] == [
        ("python", 3, "", "", True),
        ("python", 8, "my.py", "", True),
        ("console", 12, "", "it needs a GPU", False),
        ("console", 16, "", "", True),
    ]
    assert pages.commands_of(blocks[3]) == [(16, "loupe info  --json"), (19, "true")]


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("```python\nx = 1\n```\n\n```python\n\nassert x == 2\n```\n", 'page.md", line 7'),
        ("```console\n$ true\n$ false\n```\n", "page.md:3: exit 1"),
        ("```console\n$ loupe trian\n```\n", "there is no command 'trian'"),
    ],
)
def test_run_page_fails_where_a_block_does(page: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(page)
    done = pages.run_page(file, tmp_path)
    assert done.returncode != 0
    assert message in done.stderr


def test_run_page_shares_names_and_files_between_blocks(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(
        "```python\nx = 1\n```\n<!-- file: mine.py -->\n```python\nvalue = 5\n```\n"
        '```console\n$ python -c \'import mine; open("out", "w").write(str(mine.value))\'\n```\n'
        "```python\nassert x == 1 and open('out').read() == '5'\n```\n"
    )
    done = pages.run_page(file, tmp_path)
    assert done.returncode == 0, done.stderr
