"""The error for a path that does not exist."""

import difflib
import os
from pathlib import Path

from torchloupe.data.sources.source import name_some
from torchloupe.errors import UsageError, printable


def missing_path(text: str, path: Path, hint: str) -> UsageError:
    """The error for a path that isn't there, with the nearest names that are."""
    if os.path.exists(path):  # noqa: PTH110
        return UsageError(f"{printable(text)} is neither a file nor a folder", hint)
    missing = path
    while not os.path.isdir(missing.parent) and missing.parent != missing:  # noqa: PTH112
        missing = missing.parent
    try:
        siblings = [name for name in os.listdir(missing.parent) if not name.startswith(".")]  # noqa: PTH208
    except OSError:
        siblings = []
    named = ["digits"] if missing.parent == Path() else []
    near = difflib.get_close_matches(missing.name, [*siblings, *named], n=3)
    places = [missing.parent / name if name in siblings else name for name in near]
    return UsageError(
        f"there is no file or folder {printable(text)}"
        + (f" (nor {printable(missing)})" if missing != path else ""),
        f"did you mean {name_some(places)}?" if near else hint,
    )
