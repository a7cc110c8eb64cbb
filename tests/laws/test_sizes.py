"""Files, classes and signatures stay small enough to be read in one sitting."""

import ast
import statistics

import house

MOST_LINES = 350
MEDIAN_LINES = 200
MOST_CLASS_LINES = 200
MOST_PUBLIC_METHODS = 12
MOST_ARGUMENTS = 8


def test_files_are_short() -> None:
    lengths = {module.name: module.lines for module in house.modules()}
    assert {name: n for name, n in lengths.items() if n > MOST_LINES} == {}
    assert statistics.median(lengths.values()) < MEDIAN_LINES


def test_classes_are_small() -> None:
    wrong = []
    for module in house.modules():
        for node in house.classes_of(module.tree):
            lines = (node.end_lineno or 0) - node.lineno + 1
            public = [
                item.name
                for item in node.body
                if isinstance(item, ast.FunctionDef) and not item.name.startswith("_")
            ]
            if lines > MOST_CLASS_LINES or len(public) > MOST_PUBLIC_METHODS:
                wrong.append(f"{module.name}.{node.name}: {lines} lines, {len(public)} methods")
    assert not wrong


def is_command(module: house.Module, function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """A command's parameters are its options, which test_frozen.py holds one by one."""
    return module.top == "cli" and any(
        "typer." in ast.unparse(arg.annotation) for arg in function.args.args if arg.annotation
    )


def test_public_functions_take_few_arguments() -> None:
    wrong = []
    for module in house.modules():
        for function in house.functions_of(module.tree):
            arguments = [
                arg.arg
                for arg in (
                    *function.args.posonlyargs,
                    *function.args.args,
                    *function.args.kwonlyargs,
                )
                if arg.arg not in ("self", "cls")
            ]
            is_public = not function.name.startswith("_") or function.name == "__init__"
            if is_public and len(arguments) > MOST_ARGUMENTS and not is_command(module, function):
                wrong.append(f"{module.name}.{function.name}: {len(arguments)}")
    assert not wrong
