"""Tests about tests: each can fail, has a telling name, and stands where its subject is."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import house

FILES = sorted(house.TESTS.rglob("test_*.py"))


def cases_of(path: Path) -> Iterator[ast.FunctionDef]:
    """The test functions of a file."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node


def checks_something(function: ast.FunctionDef, own: set[str]) -> bool:
    """Whether it asserts, expects an exception or warning, or calls a checker of its file."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return not (isinstance(node.test, ast.Constant) and node.test.value)
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if re.search(r"pytest\.(raises|warns|fail)$|assert_|^(check|expect|refuse)", name):
                return True
            if name in own:
                return True
    return False


def test_every_test_can_fail() -> None:
    idle = []
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        own = {
            node.name
            for node in tree.body
            if isinstance(node, ast.FunctionDef)
            and not node.name.startswith("test_")
            and any(isinstance(inner, ast.Assert) for inner in ast.walk(node))
        }
        idle += [f"{path.name}::{f.name}" for f in cases_of(path) if not checks_something(f, own)]
    assert not idle


def test_no_test_is_defined_twice_in_a_file() -> None:
    twice = []
    for path in FILES:
        names = [function.name for function in cases_of(path)]
        twice += [f"{path.name}::{name}" for name in set(names) if names.count(name) > 1]
    assert not twice


def test_tests_are_plain_functions_without_mocks() -> None:
    wrong = []
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        wrong += [
            f"{path.name}: class {n.name}"
            for n in house.classes_of(tree)
            if n.name.startswith("Test")
        ]
        for node in ast.walk(tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)) and "mock" in ast.unparse(node):
                wrong.append(f"{path.name}:{node.lineno}")
    assert not wrong


def test_tests_mirror_the_source() -> None:
    rooms = {path.name for path in house.SOURCE.iterdir() if path.is_dir()} - {"__pycache__"}
    folders = {path.name for path in house.TESTS.iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders - rooms <= {"laws", "faults"}
    assert rooms <= folders


def test_skipped_tests_give_their_reason() -> None:
    wrong = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_skip = isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                ("mark.skip", "mark.skipif", "mark.xfail", "pytest.skip")
            )
            if is_skip and not (
                [k for k in node.keywords if k.arg == "reason"]
                or (ast.unparse(node.func) == "pytest.skip" and node.args)
            ):
                wrong.append(f"{path.name}:{node.lineno}")
    assert not wrong
