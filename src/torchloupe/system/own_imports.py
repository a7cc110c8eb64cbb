"""What a user's file needs to be imported: its package, and the folders its imports start from.

Python finds `from .layers import X` and `from project.models import X` where a program was
started in the project's folder; a file that is named by its path alone has no such place.
"""

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

_HIGHEST = 4  # folders above the file in which imports may start


def find_roots(path: Path) -> tuple[list[Path], str]:
    """The folders that must be on sys.path besides the file's own, and the file's package.

    The package is "" unless the file imports something relative to it.
    """
    relative, absolute = _read_imports(path)
    roots: list[Path] = []
    package = ""
    if relative:
        folder = path.parent
        parts = [folder.name]
        while len(parts) < relative or (folder.parent / "__init__.py").is_file():
            folder = folder.parent
            parts.insert(0, folder.name)
        if all(part.isidentifier() for part in parts):
            roots, package = [folder.parent], ".".join(parts)
    for name in sorted(absolute):
        if _holds(path.parent, name) or _is_installed(name):
            continue
        found = next((place for place in _folders_above(path) if _holds(place, name)), None)
        if found is not None and found not in roots:
            roots.append(found)
    return roots, package


def _read_imports(path: Path) -> tuple[int, set[str]]:
    """How many levels up relative imports go, and the first words of absolute ones."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError):  # told where the file is run
        return 0, set()
    levels, names = 0, set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            levels = max(levels, node.level)
            if not node.level and node.module:
                names.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
    return levels, names


def _folders_above(path: Path) -> Iterator[Path]:
    yield from list(path.parent.parents)[:_HIGHEST]


def _holds(folder: Path, name: str) -> bool:
    """Whether a module of this name lies in a folder, as a file or as a folder of Python files."""
    if (folder / f"{name}.py").is_file():
        return True
    place = folder / name
    return place.is_dir() and any(place.glob("*.py"))


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError, AttributeError):
        return False
