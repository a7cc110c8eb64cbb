"""Starting is cheap and harmless: nothing is opened, asked or loaded before it is needed."""

import ast
import json
import resource
import subprocess
import sys
from pathlib import Path

import house
import pytest

HEAVY = ("torch", "numpy", "torchvision", "timm", "sklearn", "pyarrow", "PIL", "pandas", "filelock")
# In units of an interpreter that imports typer alone, which the command can't do without. Seen are
# 0.3 and 2; one import of torch makes it 20. benchmarks/start.py has the milliseconds.
MOST_IMPORT = 1.0
MOST_HELP = 5.0
TRIES = 5

WATCH = """
import importlib, json, os, sys, threading
for name in json.loads(sys.argv[2]):
    importlib.import_module(name)
secrets, events = [], []
MARKS = ("TOKEN", "SECRET", "PASSWORD", "API_KEY", "CREDENTIAL")
real = os._Environ.__getitem__
def spy(self, key):
    if any(mark in str(key).upper() for mark in MARKS):
        secrets.append(key)
    return real(self, key)
os._Environ.__getitem__ = spy
def hook(event, arguments):
    if event.startswith("socket.") or event in ("subprocess.Popen", "os.system", "os.fork"):
        events.append(event)
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        events.append(f"open {arguments[0]} {arguments[1]}")
sys.addaudithook(hook)
loaded = {}
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
    threads = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
    if secrets or events or threads:
        loaded[name] = [secrets[:], events[:], threads]
        secrets.clear(); events.clear()
print(json.dumps(loaded))
"""


def python(*arguments: str) -> str:
    """What an interpreter of its own prints; no bytecode is written, which would be a trace."""
    done = subprocess.run(
        [sys.executable, "-B", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# Third-party packages are imported before the watch begins: what they do on import is theirs.
THIRD_PARTY = [
    "torch",
    "torchvision",
    "timm",
    "pyarrow.parquet",
]


def test_importing_any_module_opens_nothing_and_asks_nothing() -> None:
    names = [
        f"torchloupe.{module.name}".rstrip(".")
        for module in house.modules()
        if module.name != "__main__"
    ]
    assert json.loads(python("-c", WATCH, json.dumps(names), json.dumps(THIRD_PARTY))) == {}


def test_importing_torchloupe_starts_nothing_by_its_dependencies_either() -> None:
    names = ["torchloupe", "torchloupe.cli.main"]
    assert json.loads(python("-c", WATCH, json.dumps(names), "[]")) == {}


@pytest.mark.parametrize(
    "code",
    [
        "import torchloupe",
        "from torchloupe.cli.main import run; run(['--help'])",
        "from torchloupe.cli.main import run; run(['train', '--help'])",
        "from torchloupe.cli.main import run; run(['--version'])",
        "from torchloupe.cli.main import run; run(['trian'])",
    ],
)
def test_starting_loads_no_heavy_package(code: str) -> None:
    script = f"{code}\nimport sys\nprint('LOADED', [n for n in {HEAVY!r} if n in sys.modules])"
    assert python("-c", script).splitlines()[-1] == "LOADED []"


def children_seconds() -> float:
    """Processor time of the commands that have ended so far: other processes take none of it."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def best_seconds(*commands: list[str]) -> list[float]:
    """The least processor time of each command, tried in turns."""
    best = [float("inf")] * len(commands)
    for _ in range(TRIES):
        for number, command in enumerate(commands):
            start = children_seconds()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            best[number] = min(best[number], children_seconds() - start)
    return best


def test_starting_is_fast() -> None:
    typer, imported, helped = best_seconds(
        [sys.executable, "-c", "import typer"],
        [sys.executable, "-c", "import torchloupe"],
        [sys.executable, "-m", "torchloupe", "--help"],
    )
    assert imported <= MOST_IMPORT * typer
    assert helped <= MOST_HELP * typer


def test_modules_read_no_environment_when_imported() -> None:
    wrong = []
    for module in house.modules():
        for node in module.tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)):
                continue
            text = ast.unparse(node)
            if any(
                word in text for word in ("os.environ", "getenv", "is_available(", "device_count(")
            ):
                wrong.append(f"{module.name}:{node.lineno}")
            if "basicConfig" in text or "addHandler" in text or "filterwarnings" in text:
                wrong.append(f"{module.name}:{node.lineno}")
    assert not wrong


def test_running_help_writes_nothing(tmp_path: Path) -> None:
    script = "import os, sys; os.chdir(sys.argv[1]); from torchloupe.cli.main import run; run([])"
    python("-c", script, str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_training_begins_without_what_it_does_not_need() -> None:
    script = """
import sys
import torchloupe.train.start
slow = ("scipy", "sklearn", "pandas", "torchvision", "timm", "jinja2", "torch._dynamo")
slow += ("torch.distributed.tensor", "torch.distributed.fsdp", "torch.utils.flop_counter")
slow += ("pyarrow.compute", "torchloupe.trained.facts.page", "torchloupe.studies")
print("LOADED", [name for name in slow if name in sys.modules])
"""
    assert python("-c", script).splitlines()[-1] == "LOADED []"


def test_a_small_run_ends_without_what_it_does_not_need(tmp_path: Path) -> None:
    script = f"""
import sys
from torchloupe.cli.main import run
words = "train digits --model net --epochs 1 --quiet --out {tmp_path / "run"}".split()
assert run(words) == 0
slow = ("scipy", "sklearn", "pandas", "torchvision", "timm", "torch._dynamo", "pyarrow.dataset")
print("LOADED", [name for name in slow if name in sys.modules])
"""
    assert python("-c", script).splitlines()[-1] == "LOADED []"
