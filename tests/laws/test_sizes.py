"""Files, classes and signatures stay small enough to be read in one sitting."""

import ast
import statistics

import house

MOST_LINES = 350
MEDIAN_LINES = 200
MOST_CLASS_LINES = 200
MOST_PUBLIC_METHODS = 12
MOST_ARGUMENTS = 8
MOST_FUNCTION_LINES = 60
# Functions that are longer today, with their lines. This table can only shrink.
LONG_FUNCTIONS: dict[str, int] = {}
# What people set every day; and all that says how data are to be read.
MOST_OF_ENTRY_POINTS = {"fit": 12, "cross_validate": 12, "sweep": 12, "open_data": 10}


def test_files_are_short() -> None:
    lengths = {module.name: module.lines for module in house.modules()}
    assert {name: n for name, n in lengths.items() if n > MOST_LINES} == {}
    assert statistics.median(lengths.values()) < MEDIAN_LINES


def test_classes_are_small() -> None:
    wrong = []
    for module in house.modules():
        for node in house.classes_of(module.tree):
            lines = (node.end_lineno or 0) - node.lineno + 1
            public = {  # overloads are one method
                item.name
                for item in node.body
                if isinstance(item, ast.FunctionDef) and not item.name.startswith("_")
            }
            if lines > MOST_CLASS_LINES or len(public) > MOST_PUBLIC_METHODS:
                wrong.append(f"{module.name}.{node.name}: {lines} lines, {len(public)} methods")
    assert not wrong


def is_command(module: house.Module, function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """A command's parameters are its options, which test_frozen.py holds one by one."""
    return module.top == "cli" and any(
        "typer." in ast.unparse(arg.annotation) for arg in function.args.args if arg.annotation
    )


def lines_of(module: house.Module, function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end; of a command without its options."""
    first = function.body[0].lineno if is_command(module, function) else function.lineno
    return (function.end_lineno or 0) - first + 1


def test_functions_are_short() -> None:
    lengths: dict[str, int] = {}
    for module in house.modules():
        for function in house.functions_of(module.tree):
            name = f"{module.name}.{function.name}"
            lengths[name] = max(lengths.get(name, 0), lines_of(module, function))
    grown = {
        name: lines
        for name, lines in lengths.items()
        if lines > max(MOST_FUNCTION_LINES, LONG_FUNCTIONS.get(name, 0))
    }
    assert grown == {}
    short = {name for name in LONG_FUNCTIONS if lengths.get(name, 0) <= MOST_FUNCTION_LINES}
    assert short == set()  # take them out of the table


def test_lines_of_counts_a_command_without_its_options() -> None:
    text = "def f(\n    a: typer.Context,\n    b=False,\n):\n    one = 1\n    return one\n"
    tree = ast.parse(text)
    (function,) = house.functions_of(tree)
    for name, lines in (("cli.f", 2), ("train.f", 6)):
        assert lines_of(house.Module(name, house.SOURCE, tree), function) == lines


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
            most = MOST_OF_ENTRY_POINTS.get(function.name, MOST_ARGUMENTS)
            if is_public and len(arguments) > most and not is_command(module, function):
                wrong.append(f"{module.name}.{function.name}: {len(arguments)}")
    assert not wrong
