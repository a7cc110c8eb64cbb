"""JSON that ends with its own SHA-256, so that a change of a single bit in it is found."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def seal(content: Mapping[str, Any], indent: int | None = None) -> bytes:
    """`content` as JSON text with its SHA-256 as the last entry, `sha256`."""
    own = hashlib.sha256(json.dumps(content).encode("ascii")).hexdigest()
    return json.dumps({**content, "sha256": own}, indent=indent).encode("ascii")


def unseal(blob: bytes | str, indent: int | None = None) -> tuple[dict[str, Any], bool]:
    """The content of sealed JSON, and whether it is, byte for byte, what `seal` wrote.

    Raises ValueError, KeyError or TypeError for what is no JSON object with a `sha256`.
    """
    blob = blob.encode("utf-8", "surrogateescape") if isinstance(blob, str) else blob
    content = json.loads(blob)
    del content["sha256"]
    return content, blob == seal(content, indent)
