"""What a loop of one's own needs comes from torchloupe or one room below it."""

import ast
import re
from pathlib import Path

import house
import pytest

import torchloupe as loupe

ROOMS = ("checks", "config", "data", "distributed", "hardware", "lens")
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
ALLOWED = {"torchloupe", *(f"torchloupe.{room}" for room in ROOMS)}


@pytest.mark.parametrize("room", ROOMS)
def test_room_shows_what_there_is(room: str) -> None:
    module = getattr(loupe, room)
    assert module.__all__
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        assert getattr(module, name) is not None


def inner_imports(code: str) -> list[str]:
    """Modules of the package that `code` imports and that are not public."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(node.module or "")
    return [n for n in found if n.partition(".")[0] == "torchloupe" and n not in ALLOWED]


def test_examples_and_pages_import_no_inner_module() -> None:
    pages = [house.ROOT / "README.md", *(house.ROOT / "docs").glob("*.md")]
    wrong = []
    for path in (*(house.ROOT / "examples").glob("*.py"), *pages):
        text = path.read_text(encoding="utf-8")
        blocks = [text] if path.suffix == ".py" else PYTHON.findall(text)
        wrong += [f"{path.name}: {name}" for code in blocks for name in inner_imports(code)]
    assert not wrong


def test_this_law_sees_an_inner_import(tmp_path: Path) -> None:
    assert inner_imports("from torchloupe.data.pack import format") == ["torchloupe.data.pack"]
