"""Templates with lines for cases, and Python literals as a formatter would lay them out."""

import ast

import pytest

from torchloupe.deploy.ejection.text import assign, list_imports, literal, render

TEMPLATE = """first  #? a
second  #? !a
#? b {
  inner {{name}}
  only  #? a
#? }
last  # a comment stays
"""


@pytest.mark.parametrize(
    ("flags", "lines"),
    [
        (set(), ["second", "last  # a comment stays"]),
        ({"a"}, ["first", "last  # a comment stays"]),
        ({"a", "b"}, ["first", "  inner x", "  only", "last  # a comment stays"]),
    ],
)
def test_lines_of_a_case_are_kept(flags: set[str], lines: list[str]) -> None:
    assert render(TEMPLATE, flags, {"name": "x"}).splitlines() == lines


@pytest.mark.parametrize(
    "value",
    [
        *("plain", 'say "hi"', "it's", "both \" and '", "line\nbreak", "\x1b[31m", "back\\slash"),
        *("émile", "\N{GRINNING FACE}", "\u202e", ("a",), ("a", "b"), [1.5, None], {"a": (1, 2)}),
    ],
)
def test_literal_is_the_value_again(value: object) -> None:
    assert ast.literal_eval(literal(value)) == value


def test_long_collections_get_a_line_an_item() -> None:
    text = assign("NAMES", tuple(f"class number {k}" for k in range(9)), "all of them")
    assert text.splitlines()[0] == "NAMES = (  # all of them"
    assert text.splitlines()[1] == '    "class number 0",'
    assert text.splitlines()[-1] == ")"


def test_imports_are_those_that_code_uses_and_no_others() -> None:
    code = 'x = np.ones(3)  # torch.ones\ny = "math.pi"\npath: Path = F.relu(Tensor(1))'
    lines = list_imports(code, ["from mine import Net"]).splitlines()
    assert lines == [
        "from pathlib import Path",
        "",
        "import numpy as np",
        "import torch.nn.functional as F",
        "from torch import Tensor",
        "",
        "from mine import Net",
    ]
