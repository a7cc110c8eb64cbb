"""Tests about tests: each can fail, has a telling name, and stands where its subject is."""

import ast
import re
from collections.abc import Iterator
from functools import cache

import house
import pytest

FILES = sorted(house.TESTS.rglob("test_*.py"))


def cases_of(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """The test functions of a file."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node


Function = ast.FunctionDef | ast.AsyncFunctionDef
FAILING_CALL = re.compile(r"^pytest\.(raises|warns|fail)$|\.assert_\w+$")


def can_fail(function: Function, checkers: set[str]) -> bool:
    """Whether it asserts, expects an exception or warning, or calls one of `checkers`."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assert) and not isinstance(node.test, ast.Constant):
            return True
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if FAILING_CALL.search(name) or name in checkers:
                return True
    return False


def checkers_of(tree: ast.Module, known: set[str]) -> set[str]:
    """Names of the file's own functions that can fail, be it through others of them."""
    functions = [n for n in tree.body if isinstance(n, Function) and n.name[:5] != "test_"]
    found = set(known)
    while more := {f.name for f in functions if f.name not in found and can_fail(f, found)}:
        found |= more
    return found


@cache
def checkers_of_module(name: str) -> frozenset[str]:
    """The same of a module that tests share, such as `runs`; none where there is no such file."""
    paths = [path for path in house.TESTS.rglob(f"{name}.py") if not path.name.startswith("test_")]
    return frozenset(
        checker for path in paths for checker in checkers_of(ast.parse(path.read_text()), set())
    )


def imported_checkers(tree: ast.Module) -> set[str]:
    """Checkers of shared modules, by the names they have in this file."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                own = alias.asname or alias.name
                found |= {f"{own}.{name}" for name in checkers_of_module(alias.name)}
        elif isinstance(node, ast.ImportFrom) and node.module:
            theirs = checkers_of_module(node.module)
            found |= {alias.asname or alias.name for alias in node.names if alias.name in theirs}
    return found


def idle_tests(text: str) -> list[str]:
    """Names of the tests of a file that can't fail but by an error."""
    tree = ast.parse(text)
    checkers = checkers_of(tree, imported_checkers(tree))
    return [function.name for function in cases_of(tree) if not can_fail(function, checkers)]


def test_every_test_can_fail() -> None:
    idle = [
        f"{path.name}::{name}"
        for path in FILES
        for name in idle_tests(path.read_text(encoding="utf-8"))
    ]
    assert not idle


@pytest.mark.parametrize(
    ("text", "idle"),
    [
        ("def test_a():\n    assert f() == 1", []),
        ("def test_a():\n    assert True", ["test_a"]),
        ("def test_a():\n    check_it()", ["test_a"]),
        ("def check_it():\n    print(1)\ndef test_a():\n    check_it()", ["test_a"]),
        ("def look():\n    assert f()\ndef test_a():\n    look()", []),
        ("def f():\n    assert g()\ndef look():\n    f()\ndef test_a():\n    look()", []),
        ("from runs import is_bit_equal\ndef test_a():\n    is_bit_equal(1, 2)", ["test_a"]),
        ("import numpy as np\ndef test_a():\n    np.testing.assert_allclose(1, 2)", []),
        ("import pytest\ndef test_a():\n    with pytest.raises(OSError):\n        f()", []),
    ],
)
def test_idle_tests_are_found(text: str, idle: list[str]) -> None:
    assert idle_tests(text) == idle


def test_no_test_is_defined_twice_in_a_file() -> None:
    twice = []
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [function.name for function in cases_of(tree)]
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
