"""An HTML page that needs nothing else: its template filled, with its styles and script inside.

Jinja2 escapes every value. A content security policy allows the script of this package alone and
no network address; a page that is served while a run goes on may ask its own server.
"""

import base64
import hashlib
import json
import math
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from torchloupe.errors import printable
from torchloupe.units import format_bytes, format_count, format_seconds

SCRIPTS = ("charts.js", "page.js")
_LONGEST_TEXT = 200


def fill_page(
    template: str, values: Mapping[str, Any], *, is_served: bool = False, has_script: bool = True
) -> str:
    """The page that `template` makes of `values`; `values["facts"]` is handed to the script.

    Text of any kind may stand in `values`: all of it is escaped. A template that leaves the script
    out says so, and its page may run none.
    """
    script = "\n".join(read_asset(name) for name in SCRIPTS)
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    policy += f"script-src 'sha256-{hashed}'; " if has_script else ""
    policy += "base-uri 'none'; form-action 'none'"
    if is_served:
        policy += "; connect-src 'self'"
    page: str = (
        _environment()
        .get_template(template)
        .render(
            {
                **values,
                "policy": policy,
                "style": read_asset("page.css"),
                "script": script,
                "facts_text": to_script(values.get("facts") or {}),
            }
        )
    )
    return page.encode("utf-8", "backslashreplace").decode()


def read_asset(name: str) -> str:
    """A file of report/assets, which is installed with the package."""
    return (files("torchloupe.report") / "assets" / name).read_text(encoding="utf-8")


def to_script(value: Any) -> str:
    """JSON that may stand in a script element: no text in it can end the element or open another.

    Numbers that are not finite become null.
    """
    text = json.dumps(_plain(value), separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _plain(value: Any) -> Any:
    if value is None or type(value) in (int, bool):
        return value
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "backslashreplace").decode()
    return _plain(dict(value)) if isinstance(value, Mapping) else value


@cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("torchloupe.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "shown": shown,
        "grouped": lambda number: f"{number:,}",
        "bytes": format_bytes,
        "rate": format_count,
        "seconds": format_seconds,
        "number": lambda value: "-" if value is None else f"{value:.4g}",
    }
    return environment


def percent(share: float | None, digits: int = 1) -> str:
    """A share from 0 to 1 as a percentage; - where there is none. 99.97 % is not 100 %."""
    if share is None or not math.isfinite(share):
        return "-"
    text = f"{100 * share:.{digits}f}"
    if share < 1 and text == f"{100:.{digits}f}":
        text = f"{100 - 10**-digits:.{digits}f}"
    return f"{text}\u00a0%"


def shown(text: Any, limit: int = _LONGEST_TEXT) -> str:
    """Any text as one line: control characters are escapes, long texts are cut."""
    return printable(text, limit)
