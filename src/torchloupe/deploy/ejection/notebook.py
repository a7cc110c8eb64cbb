"""An ejected file as a notebook: a cell for each section, its text as Markdown."""

import ast
import json
import re
from typing import Any

_RULE = re.compile(r"^# --- (.+?) -+$", re.MULTILINE)


def to_notebook(page: str) -> str:
    """The text of an .ipynb with the code of an ejected file; its last cell trains."""
    head = ast.get_docstring(ast.parse(page)) or ""
    code = page[page.index('\n"""\n') + 5 :].strip("\n")
    code, _, _ = code.partition('\n\n\nif __name__ == "__main__":')
    sections = _RULE.split(code)
    cells = [_markdown(_as_markdown(head)), _code(sections[0])]
    for title, body in zip(sections[1::2], sections[2::2], strict=True):
        cells += [_markdown(f"## {title}"), _code(body)]
    cells += [_markdown("## Train"), _code("train()  # train(resume=True) goes on from last.pt")]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _as_markdown(head: str) -> str:
    first, _, rest = head.partition("\n")
    kept = [line for line in rest.split("\n") if not line.startswith("    python train.py")]
    return f"# {first}\n" + "\n".join(kept)


def _markdown(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": _lines(text)}


def _code(text: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {},
        "outputs": [],
        "source": _lines(text.strip("\n")),
    }


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)
