"""Objects by name: `file.py:Name` or `package.module:Name`, from the user's own code.

Only what a user named is run, never a name from a run folder or a data set. A mistake in that
code becomes an error of two lines with its file and line.
"""

import ast
import importlib
import importlib.util
import pickle
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

from torchloupe.errors import LoupeError, UsageError, did_you_mean, printable
from torchloupe.system.counter_rng import make_key
from torchloupe.system.own_imports import find_roots


def is_object_spec(text: str) -> bool:
    """Whether `text` has the form `file.py:Name`, `package.module:Name`, or is a .py file."""
    file, _, name = _split(text)
    dotted = r"[A-Za-z_]\w*(\.\w+)*"
    return file.endswith(".py") or all(re.fullmatch(dotted, part) for part in (file, name))


def load_object(spec: str, what: str) -> Any:
    """The object that `spec` names; `what` ("model", "dataset") is its purpose, for errors.

    While the code loads, its folder is on sys.path, so that it can import its neighbours; for a
    module the current folder is. A file is run once, until it changes on disk, and no bytecode
    is written beside it. Raises UsageError for anything that goes wrong.
    """
    file, colon, name = _split(spec)
    if not colon or not name or not file:
        raise _nameless(spec, what)
    is_file = file.endswith(".py") or "/" in file or "\\" in file
    module = _load_file(Path(file).expanduser(), spec, what) if is_file else _load(file, spec, what)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise UsageError(
                f"{what} {printable(spec)}: {printable(file)} defines no {printable(name)!r}",
                _suggest(name, _names_of(module)),
            )
        found = getattr(found, part)
    return found


class Carried:
    """An object on its way to another process, with the files that its classes came from.

    Pickle finds a class by its module, and there a file loaded by its path is not a module yet.
    """

    def __init__(self, value: Any) -> None:
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        files = {
            name: str(module.__file__)
            for name, module in list(sys.modules.items())
            if "__loupe_state__" in getattr(module, "__dict__", ())
        }
        return _unpack, (files, pickle.dumps(self.value))


def _unpack(files: dict[str, str], pickled: bytes) -> Carried:
    """The object again; `files` maps the name of each module of user code to its file."""
    failures: dict[str, LoupeError] = {}
    for name, file in files.items():
        try:
            _load_file(Path(file), file, "code")
        except LoupeError as error:  # it matters only where the object comes from that file
            failures[name] = error
    try:
        return Carried(pickle.loads(pickled))
    except ModuleNotFoundError as error:
        for name, failure in failures.items():
            if f"{name}.".startswith(f"{error.name}."):  # the module or a package around it
                raise failure from None
        raise


def where_raised(error: BaseException, folders: Iterable[Path] = (Path("/"),)) -> str:
    """`/path/net.py, line 12`: the last line of the user's own code that `error` passed.

    That is code in `folders` which belongs neither to Python, nor to an installed package, nor
    to torchloupe; empty if there is none.
    """
    inside = [folder.resolve() for folder in folders]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.is_file() and _is_below(file, inside) and not _is_below(file, _NOT_OWN):
            return f"{printable(frame.filename)}, line {frame.lineno}"
    return ""


def is_from_named_code(error: BaseException) -> bool:
    """Whether `error` passed through code that was loaded by name, or that lies beside it."""
    marks = {"__loupe_state__", "__loupe_named__"}
    files = [
        module.__file__
        for module in list(sys.modules.values())
        if marks & getattr(module, "__dict__", {}).keys() and getattr(module, "__file__", None)
    ]
    return bool(where_raised(error, {Path(str(file)).parent for file in files}))


def _is_below(file: Path, folders: Iterable[Path]) -> bool:
    resolved = file.resolve()
    return any(resolved.is_relative_to(folder) for folder in folders)


def naming_errors(function: Callable[..., Any], spec: str, what: str) -> Callable[..., Any]:
    """`function`, whose exceptions become a UsageError with file and line: a user's hook."""

    @wraps(function, updated=())
    def call(*arguments: Any, **keywords: Any) -> Any:
        try:
            return function(*arguments, **keywords)
        except LoupeError:
            raise
        except Exception as error:
            raise refuse_failure(error, f"{what} {printable(spec)}") from error

    return call


def refuse_failure(error: BaseException, what: str) -> UsageError:
    """The error for code of the user's that raised `error` while it ran; `what` is its name."""
    place = where_raised(error)
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return UsageError(
        f"{what} fails{' at ' + place if place else ''}: {printable(text)}",
        "fix it there; --traceback shows the whole chain",
    )


def explain(error: BaseException, spec: str, what: str) -> UsageError:
    """The error that names the file and line of the user's code where `error` was raised."""
    file = _split(spec)[0]
    path = Path(file).expanduser().resolve() if file.endswith(".py") else None
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if (path is not None and Path(frame.filename).is_relative_to(path.parent))
        or (path is None and "importlib" not in frame.filename and frame.filename != __file__)
    ]
    place = f"{own[-1].filename}, line {own[-1].lineno}" if own else str(path or spec)
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{error.filename}, line {error.lineno}"
    text = str(error.msg if isinstance(error, SyntaxError) else error)
    reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return UsageError(
        f"{what} {printable(spec)} can't be loaded: {printable(place)}: {printable(reason)}",
        "make `python` run that file first; --traceback shows the whole chain",
    )


def _split(spec: str) -> tuple[str, str, str]:
    """File or module, colon, name; a text that ends in .py has no name (`C:\\a.py` too)."""
    return (spec, "", "") if spec.endswith(".py") else spec.rpartition(":")


def _nameless(spec: str, what: str) -> UsageError:
    path = Path(spec).expanduser()
    message = f"{what} {printable(spec)!r} doesn't say which object: it takes file.py:NAME"
    names: list[str] = []
    if spec.endswith(".py") and path.is_file():
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError, OSError):
            tree = ast.Module([], [])
        for node in tree.body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                names.append(node.name)
            elif isinstance(node, ast.Assign):
                names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    public = [name for name in names if not name.startswith("_")]
    example = f"for example {spec}:{public[-1]}" if public else "for example my_code.py:Name"
    return UsageError(message, printable(example))


def _load_file(path: Path, spec: str, what: str) -> ModuleType:
    if not path.is_file():
        raise _no_file(path, spec, what)
    path = path.resolve()
    facts = path.stat()
    # The name must be unique (a file may be called data.py or torch.py), and the same for the
    # same file, so that its classes can be pickled and it is not run twice.
    roots, package = find_roots(path)
    name = f"loupe_{re.sub(r'[^0-9a-zA-Z_]', '_', path.stem)}_{make_key(str(path)):016x}"
    name = f"{package}.{name}" if package else name
    state = (facts.st_mtime_ns, facts.st_size)
    module = sys.modules.get(name)
    if module is not None and getattr(module, "__loupe_state__", None) == state:
        return module
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise UsageError(
            f"{what} {printable(spec)}: not a Python file", "name a file ending in .py"
        )
    module = importlib.util.module_from_spec(found)
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        with ExitStack() as importable:
            for folder in (*roots, path.parent):
                importable.enter_context(_importable(folder, first=True))
                _forget_other_siblings(folder)
            known = set(sys.modules)
            try:
                found.loader.exec_module(module)
            finally:
                for folder in (*roots, path.parent):
                    _mark_siblings(folder, known)
    except BaseException as error:
        if before is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = before
        if isinstance(error, LoupeError) or not isinstance(error, (Exception, SystemExit)):
            raise  # Ctrl-C and SIGTERM among them
        raise explain(error, spec, what) from error
    module.__loupe_state__ = state  # type: ignore[attr-defined]
    return module


def _load(name: str, spec: str, what: str) -> ModuleType:
    try:
        with _importable(Path.cwd(), first=False):
            module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise UsageError(
                f"{what} {printable(spec)}: there is no module named {printable(error.name)}",
                "for a file, write its path: folder/file.py:Name",
            ) from None
        raise explain(error, spec, what) from error
    except LoupeError:
        raise
    except (Exception, SystemExit) as error:
        raise explain(error, spec, what) from error
    vars(module)["__loupe_named__"] = True
    return module


@contextmanager
def _importable(folder: Path, *, first: bool) -> Iterator[None]:
    """`folder` on sys.path, and no bytecode written into it, until the block ends."""
    path, bytecode = list(sys.path), sys.dont_write_bytecode
    sys.path.insert(0 if first else len(sys.path), str(folder))
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = path
        sys.dont_write_bytecode = bytecode


def _forget_other_siblings(folder: Path) -> None:
    """Drop modules that an earlier file imported from its folder, where this one has the same name.

    Without this, two projects with a `layers.py` each would silently share the first one.
    """
    for name, module in list(sys.modules.items()):
        origin = vars(module).get("__loupe_sibling__") if module is not None else None
        top = name.partition(".")[0]
        if (
            origin is not None
            and origin != str(folder)
            and ((folder / f"{top}.py").is_file() or (folder / top).is_dir())
        ):
            del sys.modules[name]


def _mark_siblings(folder: Path, known: set[str]) -> None:
    """Note on each module imported by a file the folder that it came from."""
    for name in sys.modules.keys() - known:
        module = sys.modules[name]
        own = vars(module)  # torch.classes makes up any attribute that it is asked for
        places = [own.get("__file__"), *own.get("__path__", ())]
        if any(place and Path(place).is_relative_to(folder) for place in places):
            vars(module)["__loupe_sibling__"] = str(folder)


def _no_file(path: Path, spec: str, what: str) -> UsageError:
    try:
        near = [p.name for p in path.parent.iterdir() if p.suffix == ".py" and p.is_file()]
    except (OSError, ValueError):
        near = []
    hint = _suggest(path.name, near) if near else "give the path of a Python file: file.py:Name"
    return UsageError(f"{what} {printable(spec)}: there is no file {printable(path)}", hint)


def _names_of(module: ModuleType) -> list[str]:
    """The public names that the module itself defines, without those it imported."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not isinstance(value, ModuleType)
        and getattr(value, "__module__", module.__name__) == module.__name__
    ] or [name for name in vars(module) if not name.startswith("_")]


def _suggest(name: str, known: list[str]) -> str:
    if not known:
        return "define it there, or name another object"
    return printable(did_you_mean(name, known))


# The folders of Python, of installed packages and of torchloupe itself.
_NOT_OWN = tuple(
    Path(str(place)).resolve()
    for place in (
        *map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib", "scripts")),
        Path(__file__).parents[1],
    )
)

PYTHON_OBJECT = "python object"  # what config.json says where the user gave an object, not a name
