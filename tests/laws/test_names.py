"""Files are nouns, nothing is a manager, nothing is left for later, everything says what it is."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import house

BANNED = {
    *("utils", "util", "helpers", "helper", "common", "misc", "base", "core", "manager"),
    *("handler", "engine", "wrapper", "tools"),
}
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|raise NotImplemented")


def words_of(name: str) -> set[str]:
    """The words of a file or class name, in lower case."""
    return set(re.findall(r"[a-z0-9]+", re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name).lower()))


def test_names_avoid_words_that_say_nothing() -> None:
    files = [*house.SOURCE.rglob("*"), *house.TESTS.rglob("*.py")]
    wrong = [str(path) for path in files if words_of(path.stem) & BANNED]
    wrong += [
        f"{module.name}.{node.name}"
        for module in house.modules()
        for node in house.classes_of(module.tree)
        if words_of(node.name) & BANNED
    ]
    assert not wrong


def test_nothing_is_left_for_later() -> None:
    wrong = [
        f"{path.relative_to(house.ROOT)}:{number}"
        for folder in (house.SOURCE, house.ROOT / "examples", house.ROOT / "docs")
        for path in folder.rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert not wrong


def stubs(module: house.Module) -> Iterator[str]:
    """Functions whose body does nothing, protocols aside."""
    protocols = {
        item
        for node in house.classes_of(module.tree)
        if any(isinstance(b, ast.Name) and b.id == "Protocol" for b in node.bases)
        for item in node.body
    }
    for function in house.functions_of(module.tree):
        body = function.body
        says = isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
        rest = body[1:] if says else body
        is_overload = any("overload" in ast.unparse(d) for d in function.decorator_list)
        is_empty = all(
            isinstance(node, ast.Pass)
            or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
            for node in rest
        )
        # A method may rightly do nothing if its docstring says that; a bare `...` may not.
        if is_empty and not is_overload and function not in protocols and (rest or not says):
            yield f"{module.name}.{function.name}"


def test_no_function_is_a_stub() -> None:
    assert [name for module in house.modules() for name in stubs(module)] == []


def test_modules_classes_and_functions_say_what_they_are() -> None:
    wrong = []
    for module in house.modules():
        if not ast.get_docstring(module.tree):
            wrong.append(f"{module.name} (the module)")
        for node in module.tree.body:
            is_public = isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not (
                node.name.startswith("_")
            )
            if is_public and not ast.get_docstring(node):
                wrong.append(f"{module.name}.{node.name}")
    assert not wrong


def test_code_names_no_machine() -> None:
    """No absolute path of somebody's own computer in what is published."""
    mark = re.compile(r"/(?:home|Users|root|work)/\w")
    files: list[Path] = [*house.SOURCE.rglob("*.py"), *house.TESTS.rglob("*.py")]
    files += [*house.ROOT.glob("*.md"), *(house.ROOT / "docs").rglob("*.md")]
    wrong = [
        f"{path.relative_to(house.ROOT)}:{number}"
        for path in files
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if mark.search(line)
    ]
    assert not wrong
