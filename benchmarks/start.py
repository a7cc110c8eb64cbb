"""What `import torchloupe` and `loupe --help` take beyond the interpreter's own start.

    python benchmarks/start.py

Each is a fresh process, timed from outside, in turns with an interpreter that does nothing. The
peers' imports stand beside it. Bytecode is kept, as it is wherever pip has installed a package; the
first process of each kind makes it. Under a minute for 5 repeats of torchloupe, a few with peers.
"""

import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time

from table import Table
from turns import Answer, Failure, in_turns, spread_of

NOTHING = ("-c", "pass")
GOALS_MS = {"import torchloupe": 50, "loupe --help": 150}
OURS = {
    "import torchloupe": ("-c", "import torchloupe"),
    "loupe --help": ("-m", "torchloupe", "--help"),
    "loupe train --help": ("-m", "torchloupe", "train", "--help"),
    "import typer, which the command needs": ("-c", "import typer"),
}
PEERS = {
    f"import {name}": ("-c", f"import {name}")
    for name in (
        *("torch", "lightning", "accelerate", "ignite", "skorch", "keras"),
        "fastai.vision.all",
    )
}
PEERS["import keras"] = ("-c", "import os; os.environ['KERAS_BACKEND'] = 'torch'; import keras")
TRIES = 6  # interpreters a measurement; the fastest counts


def make_table(repeats: int = 5, *, quick: bool = False) -> Table:
    """The table of torchloupe's own starts, and of the imports of every peer that is installed."""
    commands = dict(OURS)
    if not quick:
        commands |= {name: command for name, command in PEERS.items() if is_installed(name)}
    table = Table(
        "start", "Starting, beyond the interpreter's own start", ("", "ms", "whole process, ms")
    )
    with tempfile.TemporaryDirectory() as bytecode:
        cases = {
            name: lambda name=name: measure(commands[name], 2 if quick else TRIES, bytecode)
            for name in commands
        }
        measured = in_turns(cases, repeats)
    for name, answers in measured.items():
        if isinstance(answers, Failure):
            table.add(name, f"failed: {answers.reason}", "")
            continue
        beyond, whole = spread_of(answers, "beyond"), spread_of(answers, "whole")
        table.add(name, beyond.show(factor=1e3), whole.show(factor=1e3))
        if name in GOALS_MS:
            seen, most = 1e3 * beyond.median, GOALS_MS[name]
            table.expect(name, f"<= {most} ms", f"{seen:.0f} ms", seen <= most)
    table.notes.append(
        f"n = {repeats}, in turns; each the fastest of {TRIES} processes, less the fastest of as "
        "many that do nothing, taken alternately; median (range)"
    )
    return table


def is_installed(statement: str) -> bool:
    """Whether the package of an import statement is there."""
    package = statement.removeprefix("import ").partition(".")[0]
    return importlib.util.find_spec(package) is not None


def measure(command: tuple[str, ...], tries: int, bytecode: str) -> Answer | Failure:
    """Seconds of the fastest process, and of what it took beyond the fastest that does nothing.

    `bytecode` is a folder for it.
    """
    kept = {"PYTHONPYCACHEPREFIX": bytecode, "PYTHONDONTWRITEBYTECODE": ""}
    whole, bare = [], []
    for _ in range(tries):
        bare.append(time_process(NOTHING, kept))
        try:
            whole.append(time_process(command, kept))
        except subprocess.CalledProcessError as error:
            return Failure(f"exit code {error.returncode}")
    return {"whole": min(whole), "beyond": min(whole) - min(bare), "bare": statistics.median(bare)}


def time_process(command: tuple[str, ...], variables: dict[str, str]) -> float:
    """Seconds from starting an interpreter with these arguments to its end."""
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, *command],
        env={**os.environ, **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - begin


if __name__ == "__main__":
    print(make_table().to_markdown())
