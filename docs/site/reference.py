"""The API reference: a page for each public room of the package, made from its docstrings.

What is public is what `__all__` names; in a module without it, the classes that it defines.
Docstrings are plain text with `code` between backticks. Here they become what Sphinx reads, so
that no docstring has to be written for it.
"""

import dataclasses
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torchloupe

FOLDER = Path(__file__).parents[1] / "reference"
EXAMPLES = Path(__file__).parents[2] / "examples"
CODE = re.compile(r"(`+)(?P<text>.+?)\1", re.DOTALL)
ERROR = re.compile(r"\b[A-Z]\w+(?:Error|Failed)\b")
SPECIAL = re.compile(r"([\\*|]|_\b)")  # what would be markup outside of code
PAGE = re.compile(r"\bdocs/(?P<name>[\w-]+)\.md\b")


def public_names(module: ModuleType) -> list[str]:
    """The names of a module that users may rely on."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    return [
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and name[0] != "_"
    ]


def public_rooms() -> Iterator[tuple[str, ModuleType]]:
    """(name, module) of the package and of each module that it exports."""
    yield "torchloupe", torchloupe
    for name in torchloupe.__all__:
        value = getattr(torchloupe, name)
        if inspect.ismodule(value):
            yield f"torchloupe.{name}", value


@cache
def public_objects() -> dict[str, Any]:
    """Everything public that is no module, by its full name: the first, if it has several."""
    found: dict[str, Any] = {}
    for room, module in public_rooms():
        for name in public_names(module):
            value = getattr(module, name)
            is_known = not is_data(value) and any(other is value for other in found.values())
            if not inspect.ismodule(value) and not is_known:
                found[f"{room}::{name}"] = value
    return found


@cache
def short_names() -> dict[str, str]:
    """The full name of everything public by its last part."""
    return {place.rpartition("::")[2]: place.replace("::", ".") for place in public_objects()}


def write_pages() -> None:
    """Write docs/reference anew: a page a room, and one of the examples."""
    FOLDER.mkdir(exist_ok=True)
    pages = {f"{room}.rst": make_page(room, module) for room, module in public_rooms()}
    pages["examples.rst"] = make_examples()
    for old in FOLDER.iterdir():
        old.unlink()
    for name, text in pages.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


def make_page(room: str, module: ModuleType) -> str:
    """The page of a room: what it is, its rooms, its functions, its classes and the rest."""
    lines = [title(room), f".. py:module:: {room}", "", *to_rst(inspect.getdoc(module) or ""), ""]
    values = {name: getattr(module, name) for name in public_names(module)}
    for name, value in values.items():
        if inspect.ismodule(value):
            lines.append(f"- :doc:`{room}.{name}`: {first_line(value)}")
        elif f"{room}::{name}" not in public_objects():
            owner = next(p for p, other in public_objects().items() if other is value)
            lines.append(f"- ``{name}`` is :py:obj:`{owner.replace('::', '.')}`.")
    for is_wanted, describe in (
        (inspect.isroutine, describe_function),
        (inspect.isclass, describe_class),
        (is_data, describe_data),
    ):
        for name, value in values.items():
            if is_wanted(value) and f"{room}::{name}" in public_objects():
                lines += ["", *describe(f"{room}::{name}", value)]
    return "\n".join([*lines, ""])


def is_data(value: object) -> bool:
    """Whether it is no module, class or function."""
    return not (inspect.ismodule(value) or inspect.isclass(value) or inspect.isroutine(value))


def describe_function(place: str, _value: object) -> list[str]:
    """The directive for a function."""
    return [f".. autofunction:: {place}"]


def describe_class(place: str, value: type) -> list[str]:
    """The directive for a class. Fields of a dataclass are parameters, and not shown again."""
    lines = [f".. autoclass:: {place}", "   :members:"]
    if dataclasses.is_dataclass(value):
        lines.append("   :exclude-members: " + ", ".join(value.__dataclass_fields__))
    if issubclass(value, BaseException):
        lines += ["   :show-inheritance:", "   :undoc-members:"]  # exit codes need no words
    return lines


def describe_data(place: str, _value: object) -> list[str]:
    """The directive for a constant."""
    return [f".. autodata:: {place}", "   :no-value:"]


def make_examples() -> str:
    """The page of all examples with their code."""
    lines = [
        title("Examples"),
        "Each is one file that runs as it is, in the folder ``examples``.",
        "",
    ]
    for path in sorted(EXAMPLES.glob("*.py")):
        lines += [path.name, "-" * len(path.name), ""]
        lines += [f".. literalinclude:: ../../examples/{path.name}", "   :language: python", ""]
    return "\n".join(lines)


def title(text: str) -> str:
    """The heading of a page."""
    return f"{text}\n{'=' * len(text)}\n"


def first_line(value: object) -> str:
    """The first line of a docstring, as reStructuredText."""
    return to_rst((inspect.getdoc(value) or "").partition("\n")[0])[0]


def to_rst(text: str) -> list[str]:
    """A docstring as lines of reStructuredText: code, links to public names and to pages."""
    known = short_names()
    text = mark_code_blocks(text)
    parts, end = [], 0
    for code in CODE.finditer(text):
        parts.append(to_plain(text[end : code.start()]))
        shown = " ".join(code["text"].split())
        place = known.get(shown)
        # "\\ " ends markup where a letter follows, as in `step`s.
        parts.append(f":py:obj:`{shown} <{place}>`\\ " if place else f"``{shown}``\\ ")
        end = code.end()
    return "".join([*parts, to_plain(text[end:])]).splitlines() or [""]


def to_plain(text: str) -> str:
    """Text outside of code: nothing in it is markup; names of errors and pages are links."""

    def link_error(name: re.Match[str]) -> str:
        place = short_names().get(name[0])
        return f":py:obj:`{name[0]} <{place}>`" if place else name[0]

    lines = []
    for line in text.split("\n"):
        is_code = line.startswith("    ") or line.lstrip().startswith((">>>", ".. code-block"))
        lines.append(line if is_code else SPECIAL.sub(r"\\\1", line))
    linked = ERROR.sub(link_error, "\n".join(lines))
    return PAGE.sub(r":doc:`docs/\g<name>.md </docs/\g<name>>`", linked)


def mark_code_blocks(text: str) -> str:
    """Put the directive for code before each indented block that follows an empty line."""
    lines = text.split("\n")
    marked: list[str] = []
    for number, line in enumerate(lines):
        is_first = line.startswith("    ") and number > 1 and not lines[number - 1].strip()
        before = next((other for other in reversed(marked) if other.strip()), "")
        if is_first and not before.startswith(("    ", "- ")):
            marked += [".. code-block:: python", ""]
        marked.append(line)
    return "\n".join(marked)


def rewrite_docstring(
    _app: object, what: str, name: str, value: object, _options: object, lines: list[str]
) -> None:
    """Replace the docstring of an object that Sphinx documents, in place."""
    text = "\n".join(lines).strip("\n")
    if what == "class" and isinstance(value, type) and dataclasses.is_dataclass(value):
        text = "" if text.startswith(f"{name.rpartition('.')[2]}(") else text  # made by Python
        comments = field_comments(value)
        lines[:] = [*to_rst(text), ""]
        lines += [f":param {field}: {' '.join(to_rst(comments[field]))}" for field in comments]
        lines.append("")
    else:
        lines[:] = [*to_rst(text), ""]


def field_comments(owner: type) -> dict[str, str]:
    """The comment behind each field of a dataclass that has one: `side: int  # pixels`."""
    found = re.findall(r"^    (\w+): .*?  # (?!noqa)(.+)$", inspect.getsource(owner), re.MULTILINE)
    return {name: comment for name, comment in found if name in owner.__dataclass_fields__}
