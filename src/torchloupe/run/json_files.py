"""JSON files of a run, written atomically."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torchloupe.errors import CheckpointError, printable
from torchloupe.system import files


def write_json(path: Path, content: Any) -> None:
    """Write `path` whole or not at all; numbers that are not finite become null, text stays."""
    text = content if isinstance(content, str) else json.dumps(finite(content), indent=1)
    files.replace_file(path, text.encode("utf-8", "surrogateescape"))


def read_json(path: Path) -> Any:
    """The content of a JSON file of a run; CheckpointError if it can't be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{printable(path)} can't be read ({error})", "the run folder is damaged; train again"
        ) from None


def finite(value: Any) -> Any:
    """`value` with NaN and infinities as None, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value
