"""Every error says what is wrong and one thing to do; whole texts are in tests/cli."""

import ast
from functools import cache

import house

from torchloupe import errors

KINDS = {
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.LoupeError)
}
# Signs of a mistake in code, which callers turn into errors for people.
PLAIN = {
    *("ValueError", "TypeError", "KeyError", "IndexError", "AttributeError", "StopIteration"),
    *("KeyboardInterrupt", "SystemExit", "typer.BadParameter", "OSError", "FileNotFoundError"),
    "type(error)",  # the same error again, with more to say
}


@cache
def raised() -> tuple[tuple[str, ast.Call], ...]:
    """(place, call) of every error that is made in a raise statement."""
    return tuple(
        (f"{module.name}:{node.lineno}", node.exc)
        for module in house.modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
    )


def own_kinds() -> set[str]:
    """Names of exception classes defined in the package itself."""
    return {
        node.name
        for module in house.modules()
        for node in house.classes_of(module.tree)
        if any(house.name_of(b).endswith(("Error", "Exception")) for b in node.bases)
    }


def test_errors_for_people_have_a_hint() -> None:
    wrong = [
        place
        for place, call in raised()
        if house.name_of(call.func) in KINDS and len(call.args) + len(call.keywords) < 2
    ]
    assert not wrong


def test_nothing_else_is_raised_for_people() -> None:
    makers = {f.name for m in house.modules() for f in house.functions_of(m.tree)}
    known = KINDS | own_kinds() | makers
    wrong = [
        f"{place} {ast.unparse(call.func)}"
        for place, call in raised()
        if house.name_of(call.func).rpartition(".")[2] not in known
        and ast.unparse(call.func) not in PLAIN
    ]
    assert not wrong


def test_messages_begin_in_lower_case_and_end_without_a_stop() -> None:
    wrong = []
    for place, call in raised():
        if house.name_of(call.func) not in KINDS:
            continue
        for text in call.args[:2]:
            parts = text.values if isinstance(text, ast.JoinedStr) else [text]
            first, last = parts[0], parts[-1]
            if isinstance(first, ast.Constant) and str(first.value)[:1].isupper():
                word = str(first.value).split()[0]
                if word == word.capitalize() and len(word) > 1:
                    wrong.append(f"{place} {word}")
            if (
                isinstance(last, ast.Constant)
                and str(last.value).rstrip().endswith(".")
                and (not str(last.value).endswith("..."))
            ):
                wrong.append(f"{place} ends with a stop")
    assert not wrong


def test_assert_validates_no_input() -> None:
    """`assert` is for what the code itself guarantees; python -O takes it away."""
    wrong = [
        f"{module.name}:{node.lineno} (a message means that it may fail)"
        for module in house.modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Assert) and node.msg is not None
    ]
    assert not wrong


def test_every_kind_of_error_has_its_exit_code() -> None:
    codes = {name: getattr(errors, name).exit_code for name in KINDS}
    assert codes == {
        "LoupeError": 1,
        "UsageError": 2,
        "DataError": 3,
        "CheckpointError": 4,
        "NumericError": 5,
        "ResourceError": 6,
        "VerdictError": 7,
        "HungError": 6,
        "RankFailed": 6,  # each has that of the rank which failed first
        "Interrupted": 130,
        "Terminated": 143,
    }
