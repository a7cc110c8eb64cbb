"""The help pages: commands and options in panels, examples below.

They are formatted here and not by typer, which imports rich and a Markdown parser for it:
`loupe --help` must start fast. They also look the same with every version of typer.
"""

import inspect
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

from typer.core import TyperCommand, TyperGroup

from torchloupe.errors import UsageError, did_you_mean, printable

_WIDEST = 96
Panels = dict[str, list[tuple[str, str]]]  # title: (label, meaning) of each row


class LoupeCommand(TyperCommand):
    """A command whose docstring is its help; lines that begin with `loupe ` are its examples."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line; typer's errors get the context of this command."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if getattr(error, "ctx", ctx) is None:
                error.ctx = ctx  # type: ignore[attr-defined]
            raise

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - typer's signature
        """Print the page; `formatter` stays empty."""
        words = [spell(p) for p in self.get_params(ctx) if _is_argument(p)]
        _print_page(ctx, " ".join(words), {"Arguments": [], **_parameters(self, ctx)})


class LoupeGroup(TyperGroup):
    """The list of commands; an unknown one is refused with the nearest names."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Print the page; `formatter` stays empty."""
        panels: Panels = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                title = getattr(command, "rich_help_panel", None) or "Commands"
                summary = split_help(command.help or "")[0].split("\n")[0]
                panels.setdefault(title, []).append((name, summary))
        _print_page(ctx, "COMMAND ...", {**panels, **_parameters(self, ctx)})

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that `args` begins with; UsageError for an unknown one."""
        if args and self.get_command(ctx, args[0]) is None:
            raise UsageError(
                f"there is no command {printable(args[0])!r}",
                did_you_mean(args[0], self.list_commands(ctx)),
            )
        return super().resolve_command(ctx, args)


def split_help(text: str) -> tuple[str, list[str]]:
    """The prose of a docstring as unbroken paragraphs, and its example lines."""
    lines = [line.strip() for line in inspect.cleandoc(text).replace("\b", "").splitlines()]
    examples = [line for line in lines if line.startswith("loupe ")]
    prose = "\n".join(line for line in lines if not line.startswith("loupe "))
    paragraphs = [" ".join(part.split("\n")) for part in prose.strip().split("\n\n")]
    return "\n\n".join(part.strip() for part in paragraphs), examples


def spell(parameter: Any) -> str:
    """An argument or option as a person types it: `DATA`, or `--epochs N`."""
    value = str(parameter.metavar or parameter.name.upper())
    if _is_argument(parameter):
        return value
    names = ", ".join([*parameter.opts, *parameter.secondary_opts])
    return names if parameter.is_flag else f"{names} {value}"


def paint(text: str, code: str, wanted: bool) -> str:
    """`text` in an ANSI style if `wanted`."""
    return f"\x1b[{code}m{text}\x1b[0m" if wanted and text else text


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _parameters(command: Any, ctx: Any) -> Panels:
    """The arguments and options of a command by panel."""
    panels: Panels = {"Options": []}
    for parameter in command.get_params(ctx):
        if not getattr(parameter, "hidden", False):
            own = getattr(parameter, "rich_help_panel", None) or "Options"
            title = "Arguments" if _is_argument(parameter) else own
            row = (spell(parameter), str(getattr(parameter, "help", None) or ""))
            panels.setdefault(title, []).append(row)
    return panels


def _print_page(ctx: Any, words: str, panels: Panels) -> None:
    text, examples = split_help(ctx.command.help or "")
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    lines = ["", paint(" Usage:", "1", colours) + f" {ctx.command_path} [OPTIONS] {words}"]
    for paragraph in text.split("\n\n"):
        lines += ["", *(f" {line}" for line in textwrap.wrap(paragraph, width - 2))]
    lines.append("")
    label_width = max(len(label) for rows in panels.values() for label, _ in rows)
    for title, rows in panels.items():
        if rows:
            lines += _draw(title, _wrap(rows, label_width, width - 4, ("36;1", "")), width, colours)
    if examples:
        pairs = [line.partition("  #")[::2] for line in examples]
        label_width = max((len(command.strip()) for command, remark in pairs if remark), default=0)
        rows = [(command.strip(), remark and f"#{remark}") for command, remark in pairs]
        lines += _draw("Examples", _wrap(rows, label_width, width - 4, ("", "2")), width, colours)
    print("\n".join(lines))


Cells = list[tuple[str, str]]  # one line: (text, style) after another


def _wrap(
    rows: list[tuple[str, str]], label_width: int, width: int, styles: tuple[str, str]
) -> Iterator[Cells]:
    """Lines of at most `width`: a label and, beside it, its description, wrapped.

    A label that is too long is wrapped on separate lines above its description.
    """
    room = width - label_width - 2
    for label, meaning in rows:
        meanings = textwrap.wrap(meaning, max(room, 12))
        if not meanings or len(label) > label_width or room < 12:
            for line in textwrap.wrap(label, width, subsequent_indent="  ", break_on_hyphens=False):
                yield [(line, styles[0])]
            for line in textwrap.wrap(meaning, width - 4):
                yield [("    ", ""), (line, styles[1])]
            continue
        for number, line in enumerate(meanings):
            start = label if number == 0 else ""
            yield [
                (start, styles[0]),
                (" " * (label_width - len(start) + 2), ""),
                (line, styles[1]),
            ]


def _draw(title: str, lines: Iterator[Cells], width: int, colours: bool) -> Iterator[str]:
    """A box with a title around the lines."""
    rule = "─" * (width - len(title) - 5)
    yield paint("╭─ ", "2", colours) + paint(title, "1", colours) + paint(f" {rule}╮", "2", colours)
    side = paint("│", "2", colours)
    for cells in lines:
        space = " " * (width - 4 - sum(len(text) for text, _ in cells))
        content = "".join(paint(text, style, colours and bool(style)) for text, style in cells)
        yield f"{side} {content}{space} {side}"
    yield paint(f"╰{'─' * (width - 2)}╯", "2", colours)
