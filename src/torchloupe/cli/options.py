"""Options that several commands share, and the context that every command runs in."""

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from torchloupe.cli.gpus import is_first_rank
from torchloupe.display.waiting import WaitingLine, waiting_line
from torchloupe.errors import printable

_OUTPUT = "Output"


@contextlib.contextmanager
def results_only(*, quiet: bool = False) -> Iterator[WaitingLine]:
    """A context in which everything printed goes to stderr: stdout is for results.

    It yields a line that shows on a terminal what is being loaded.
    """
    with waiting_line(quiet=quiet) as line, contextlib.redirect_stdout(sys.stderr):
        if is_first_rank():
            line.say("loading PyTorch")
        yield line


def with_traceback(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with the option --traceback, which `main.run` reads when the command fails."""

    @functools.wraps(command)
    def run(**options: Any) -> None:
        del options["traceback"]
        command(**options)

    kind = inspect.Parameter.KEYWORD_ONLY
    option = inspect.Parameter("traceback", kind, default=False, annotation=Traceback)
    parameters = [*inspect.signature(command).parameters.values(), option]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {**command.__annotations__, "traceback": Traceback}
    return run


def _remember_traceback(context: typer.Context, wanted: bool) -> bool:
    """Note that tracebacks are wanted where `main.run`, outside every command, finds it."""
    asked: dict[str, Any] = context.find_root().obj
    asked["traceback"] = wanted or asked.get("traceback", False)
    return wanted


def amount(text: str) -> float:
    """A number above 0 from the command line."""
    try:
        found = float(text)
    except ValueError:
        raise typer.BadParameter(f"{printable(text)!r} is not a number") from None
    if not 0 < found < float("inf"):
        raise typer.BadParameter(f"it is {found:g} and should be more than 0")
    return found


def whole_number(text: str | int) -> int:
    """A whole number, 0 or more, from the command line (or a default, which is an int)."""
    digits = str(text)
    if digits.isascii() and digits.isdigit():
        return int(digits)
    raise typer.BadParameter(f"{printable(text)!r} is not a whole number")


def count(text: str | int) -> int:
    """A whole number, 1 or more, from the command line."""
    found = whole_number(text)
    if found == 0:
        raise typer.BadParameter("it is 0 and should be 1 or more")
    return found


def folds_count(text: str | int) -> int:
    """A whole number, 2 or more, from the command line."""
    found = whole_number(text)
    if found < 2:
        raise typer.BadParameter(f"it is {found} and should be 2 or more")
    return found


Quiet = Annotated[
    bool, typer.Option("--quiet", help="Only notes and errors on stderr.", rich_help_panel=_OUTPUT)
]
Json = Annotated[
    bool, typer.Option("--json", help="One JSON object on stdout.", rich_help_panel=_OUTPUT)
]
Traceback = Annotated[
    bool,
    typer.Option(
        "--traceback",
        help="Print the Python traceback of an error.",
        callback=_remember_traceback,
        rich_help_panel=_OUTPUT,
    ),
]
Device = Annotated[
    str | None,
    typer.Option("--device", metavar="D", help="cpu, cuda, cuda:1 or mps; chosen if left out."),
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="F",
        help="Number format: fp32, tf32, bf16 or fp16; chosen if left out.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any setting by its dotted name; may be repeated. docs/settings.md lists them.",
    ),
]
RunFolder = Annotated[
    str, typer.Argument(metavar="RUN", help="A run folder, as `loupe train` printed it.")
]
RunModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="FILE.PY:NAME",
        help="The code of the model, if the run was trained with a model of your own.",
    ),
]
Views = Annotated[
    str,
    typer.Option(
        "--views",
        metavar="V",
        help="Average over views of each image: flip (2), five or ten. One view if left out.",
    ),
]
TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="Run the model code that the run folder names.")
]
