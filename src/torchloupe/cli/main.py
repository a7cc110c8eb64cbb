"""The command `loupe`: its subcommands, and how every error becomes an exit code.

Nothing here imports torch; the commands do when they run, so that help starts fast.
"""

import contextlib
import errno
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from torchloupe import __version__
from torchloupe.cli import (
    check,
    compare,
    eject,
    evaluate,
    export,
    info,
    launch,
    look,
    memory,
    pack,
    predict,
    probe,
    report,
    resume,
    serve,
    shard,
    summary,
    sweep,
    tell,
    train,
    verify,
)
from torchloupe.cli.help import LoupeCommand, LoupeGroup, paint, spell
from torchloupe.cli.options import with_traceback
from torchloupe.errors import (
    HungError,
    Interrupted,
    LoupeError,
    RankFailed,
    ResourceError,
    Terminated,
    UsageError,
    did_you_mean,
    printable,
)

PIPE_CLOSED = 141  # what a shell reports for a program that SIGPIPE ended

app = typer.Typer(cls=LoupeGroup, add_completion=False, pretty_exceptions_enable=False)
for panel, command in (
    ("Train", train.train),
    ("Train", resume.resume),
    ("Train", sweep.sweep),
    ("Train", launch.launch),
    ("Train", tell.tell),
    ("Train", pack.pack),
    ("Train", shard.shard),
    ("Train", check.check),
    ("Use", predict.predict),
    ("Use", evaluate.evaluate),
    ("Use", compare.compare),
    ("Use", export.export),
    ("Use", serve.serve),
    ("Use", eject.eject),
    ("Look", report.report),
    ("Look", look.look),
    ("Look", summary.summary),
    ("Look", memory.memory),
    ("Look", info.info),
    ("Look", probe.probe),
    ("Prove", verify.verify_resume),
    ("Prove", verify.diff),
):
    name = "eval" if command is evaluate.evaluate else command.__name__.replace("_", "-")
    app.command(name, cls=LoupeCommand, rich_help_panel=panel)(with_traceback(command))


@app.callback(invoke_without_command=True)
def loupe(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Train image classifiers in plain PyTorch: from a folder of images to a tested model.

    loupe train digits  # real handwritten digits, included

    loupe train photos/  # a folder of images for each class

    loupe predict runs/photos-001 cat.jpg  # with the run of the training

    loupe train --help  # every command has its own page
    """
    if version:
        print(f"torchloupe {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help(), end="")


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; prints errors, raises nothing.

    0 done, 1 unexpected, 2 usage, 3 data, 4 checkpoint, 5 numeric, 6 resources, 7 check,
    130 interrupted, 141 closed pipe, 143 terminated.
    """
    asked: dict[str, Any] = {"began": time.perf_counter()}
    try:
        with _plain_warnings(), _any_encoding(), _ending_on_sigterm():
            group: Any = typer.main.get_command(app)
            words = list(sys.argv[1:] if arguments is None else arguments)
            asked["words"] = words
            with group.make_context("loupe", words, obj=asked) as context:
                group.invoke(context)
            sys.stdout.flush()
    except typer.Exit as stop:
        return int(stop.exit_code)
    except BrokenPipeError:
        _forget_stdout()
        return PIPE_CLOSED
    except (KeyboardInterrupt, typer.Abort, _SigtermError) as stop:
        explained = explain_stop(stop, asked)
        if asked.get("is_serving"):  # this is how a server ends
            print("stopped", file=sys.stderr)
            return explained.exit_code
        return _report(explained, asked)
    except Exception as error:
        return _report(to_loupe_error(error), asked)
    return 0


def _report(error: LoupeError, asked: Mapping[str, Any]) -> int:
    """Print the error that is being handled, and give its exit code."""
    if asked.get("traceback"):
        traceback.print_exc()
    if not isinstance(error, RankFailed):  # the rank that failed has printed it
        say_error(error.message, error.hint)
    if isinstance(error, HungError):
        _leave(error.exit_code)
    return error.exit_code


def explain_stop(stop: BaseException, asked: Mapping[str, Any]) -> LoupeError:
    """Ctrl-C or SIGTERM as a LoupeError; its hint names the run to resume, if one had begun."""
    if isinstance(stop, LoupeError):
        return stop
    hint = "give the command again"
    if "run" in asked:
        from torchloupe.cli.text import quote

        hint = f"loupe resume {quote(asked['run'])} continues from its last checkpoint"
    if isinstance(stop, _SigtermError):
        return Terminated("stopped by SIGTERM", hint)
    return Interrupted("interrupted", hint)


def to_loupe_error(error: Exception) -> LoupeError:
    """`error` as a LoupeError, with its two lines and exit code."""
    if isinstance(error, LoupeError):
        return error
    if isinstance(error, typer.BadParameter.__mro__[2]):  # ClickException, which has moved
        return _explain_command_line(error)
    if isinstance(error, MemoryError):
        return ResourceError("out of memory", "use smaller batches: --set train.batch_total=32")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        place = f" at {printable(error.filename)}" if error.filename else ""
        return ResourceError(f"the disk is full{place}", "free some space and run it again")
    from torchloupe.system.user_code import is_from_named_code, refuse_failure

    if is_from_named_code(error):
        return refuse_failure(error, "your own code")
    text = printable(error, limit=1000)
    return LoupeError(
        f"unexpected {type(error).__name__}{': ' if text else ''}{text}",
        "run it again with --traceback to see where it comes from",
    )


def _explain_command_line(error: Any) -> UsageError:
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    command = context.command_path if context is not None else "loupe"
    see_help = f"{command} --help lists what it takes"
    kind, option = type(error).__name__, getattr(error, "option_name", None)
    if kind == "NoSuchOption" and context is not None:
        known = _spellings(context)
        hint = f"{see_help}; -- before a name that begins with -"
        if (near := did_you_mean(str(option), known)).startswith("did"):
            hint = near
        if context.info_name == "launch" and option in _spellings(context, "train"):
            hint = "options of the training stand behind --: -- train photos/ --out runs/photos"
        return UsageError(
            f"{command} has no option {printable(option)}",
            hint,
        )
    if kind == "MissingParameter" and parameter is not None:
        return UsageError(f"{command} needs {spell(parameter)}", see_help)
    halves = (
        [text for text in (context.params.get("settings") or ()) if "=" not in text]
        if context
        else []
    )
    if halves and "extra argument" in error.message:
        return UsageError(
            f"--set takes NAME=VALUE in one word, got {printable(halves[0])!r}",
            f"write --set {printable(halves[0])}=VALUE",
        )
    text = printable(error.message).rstrip(".")
    place = spell(parameter).partition(" ")[0] if parameter is not None else command
    return UsageError(f"{place}: {text[:1].lower()}{text[1:]}", see_help)


def _spellings(context: Any, other: str = "") -> list[str]:
    """The options of a command, or of another one, in all their spellings."""
    command = context.find_root().command.commands[other] if other else context.command
    return [
        spelling
        for candidate in command.get_params(context)
        if candidate.param_type_name == "option"
        for spelling in (*candidate.opts, *candidate.secondary_opts)
    ]


def say_error(message: str, hint: str) -> None:
    """Print the two lines of an error on stderr; control characters are escaped."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # stderr closed, or None
        colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        for label, code, text in (("error", "1;31", message), ("hint", "1", hint)):
            if text:
                lines = "\n".join(printable(line, limit=10_000) for line in text.split("\n"))
                print(paint(f"{label}:", code, colours), lines, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """A context in which warnings of libraries are one line on stderr, without their origin."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        print(f"warning: {printable(message, limit=1000)}", file=sys.stderr)

    before = warnings.showwarning
    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


class _SigtermError(BaseException):
    """SIGTERM as an exception that `except Exception` lets through, as KeyboardInterrupt is."""


@contextlib.contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """A context in which SIGTERM raises, so that open files and child processes are closed.

    Training replaces this handler by one that finishes the step first.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def end(_number: int, _frame: object) -> None:
        if os.getpid() != owner:
            os._exit(143)  # a forked worker process has nothing to close
        raise _SigtermError

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _any_encoding() -> Iterator[None]:
    """A context in which characters that the encoding of stdout lacks are printed as escapes."""
    before = getattr(sys.stdout, "errors", None)
    with contextlib.suppress(AttributeError, ValueError):  # not a stream of the usual kind
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        yield
    finally:
        with contextlib.suppress(AttributeError, ValueError):
            sys.stdout.reconfigure(errors=before)  # type: ignore[union-attr]


def _leave(code: int) -> None:
    """Exit without waiting for a thread that hangs, as Python would."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


def _forget_stdout() -> None:
    """Redirect stdout to the null device, so that Python's flush at exit does not fail."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
