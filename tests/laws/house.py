"""The code as the laws see it: every module parsed, with its floor and its room."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "torchloupe"
TESTS = ROOT / "tests"

# Floor by floor from the lowest; rooms of one floor may not know each other.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "units"),
    ("system", "distributed", "lens", "config"),
    ("data", "model", "hardware", "report", "recipes"),
    ("run", "evaluation", "speed"),
    ("checks", "display"),
    ("prepare",),
    ("trained",),
    ("train", "deploy"),
    ("studies",),
    ("cli",),
    ("__main__",),
)
LOOSE = {"__init__", "__main__", "errors", "units"}  # modules that stand in no room

# Packages of the extras: the only ones that a function may import (the command aside).
EXTRAS = {
    *("tensorboard", "torch.utils.tensorboard", "mlflow", "wandb"),
    *("pillow_heif", "h5py"),
    *("onnx", "onnxscript", "onnxruntime", "openvino"),
    *("optuna", "psycopg", "sqlalchemy", "sqlalchemy.pool"),
    *("aiohttp",),
    *("ray", "ray.exceptions", "ray.util"),
}

# What takes 0.1 to 1 second to import, and that the start of a training doesn't need.
SLOW = {
    *("torch.distributed.fsdp", "torch.distributed.tensor", "torch.utils.flop_counter"),
    *("scipy.sparse", "scipy.special", "sklearn.manifold", "jinja2", "fsspec", "pyarrow.compute"),
    "torchloupe.trained.facts.page",  # with all sections of a report
}


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    name: str  # "data.split", without the package's own name
    path: Path
    tree: ast.Module

    @property
    def top(self) -> str:
        """The first part of the name: a room, or the module itself."""
        return self.name.partition(".")[0]

    @property
    def lines(self) -> int:
        """How long the file is."""
        return len(self.path.read_text(encoding="utf-8").splitlines())


@cache
def modules() -> tuple[Module, ...]:
    """Every module of the package, `__init__` of the package itself included as "" ."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, path, ast.parse(path.read_text(encoding="utf-8"))))
    return tuple(found)


def floor_of(top: str) -> int:
    """The floor of a room or module of the house; KeyError for one without a place."""
    for floor, rooms in enumerate(FLOORS):
        if top in rooms:
            return floor
    raise KeyError(top)


@cache
def parsed_tests() -> tuple[tuple[Path, ast.Module], ...]:
    """Every file of tests, parsed."""
    paths = sorted(TESTS.rglob("test_*.py"))
    return tuple((path, ast.parse(path.read_text(encoding="utf-8"))) for path in paths)


@cache
def module_names() -> frozenset[str]:
    """The names of all modules of the package."""
    return frozenset(module.name for module in modules())


def name_of(node: ast.expr) -> str:
    """`a.b.c` for such an expression; other parts are left out (`f(x).b` is ".b").

    ast.unparse says more and takes a hundred times as long.
    """
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def imports_of(module: Module) -> Iterator[tuple[str, int]]:
    """(module of the package that is imported, line), wherever in the file it stands."""
    names = module_names()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.path}:{node.lineno} imports relatively"
            targets = [node.module or ""]
            if (node.module or "").partition(".")[0] == "torchloupe":
                inner = (node.module or "").removeprefix("torchloupe").removeprefix(".")
                deeper = [f"{inner}.{alias.name}".removeprefix(".") for alias in node.names]
                targets = [
                    f"torchloupe.{name}" if name in names else node.module or "" for name in deeper
                ]
        else:
            continue
        for target in targets:
            if target == "torchloupe" or target.startswith("torchloupe."):
                yield target.removeprefix("torchloupe").removeprefix("."), node.lineno


def functions_of(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method, however deep."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def classes_of(tree: ast.AST) -> Iterator[ast.ClassDef]:
    """Every class, however deep."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node
