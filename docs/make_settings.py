"""Write docs/settings.md from the settings in the code: `python docs/make_settings.py`.

The comment behind a setting in src/torchloupe/config/schema.py is its description. With --check
nothing is written, and a page that differs from the code is an error; CI runs that.
"""

import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

from torchloupe.config import schema as settings

PAGE = Path(__file__).with_name("settings.md")
HEAD = """# Settings

Every setting has a dotted name and is set with `--set name=value`, as often as needed, with
`settings={"name": value}` from Python, or by a recipe. What was typed wins over a recipe, and a
recipe over the defaults. `config.json` in the run folder lists every value and where it came from
(`typed`, `recipe`, `default` or `measured`); `--recipe RUN/config.json` starts a new run from it.

`auto`, or 0 where the text says so, is decided once the data are known, by the recipe that fits
them. A name that does not exist, or a value out of range, is an error before anything is read.
"""
TABLE = "| setting | default | what it is |\n|---|---|---|"


def describe_fields() -> dict[tuple[str, str], str]:
    """The comment behind each setting, by class and field."""
    found, owner = {}, ""
    for line in Path(str(settings.__file__)).read_text(encoding="utf-8").splitlines():
        if named := re.match(r"class (\w+)", line):
            owner = named[1]
        if field := re.match(r"    (\w+): .*?#\s*(.*)$", line):
            found[owner, field[1]] = field[2].replace("|", "or")
    return found


def make_page() -> str:
    """The whole page."""
    comments, parts, rest = describe_fields(), [HEAD], [f"## the rest\n\n{TABLE}"]
    default = settings.Config()
    for section in dataclasses.fields(default):
        value = getattr(default, section.name)
        if not dataclasses.is_dataclass(value):
            rest.append(make_row(section.name, value, comments["Config", section.name]))
            continue
        title = str(type(value).__doc__).splitlines()[0].rstrip(".")
        rows = [
            make_row(
                f"{section.name}.{f.name}",
                getattr(value, f.name),
                comments[type(value).__name__, f.name],
            )
            for f in dataclasses.fields(value)
        ]
        parts.append("\n".join([f"## {section.name}: {title}\n\n{TABLE}", *rows]) + "\n")
    return "\n".join([*parts, "\n".join(rest)]) + "\n"


def make_row(name: str, default: Any, what: str) -> str:
    """One line of a table."""
    return f"| `{name}` | `{json.dumps(default)}` | {what} |"


def main(arguments: list[str]) -> int:
    """Write the page, or compare it; 1 if it differs."""
    page = make_page()
    if "--check" not in arguments:
        PAGE.write_text(page, encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page:
        print("error: docs/settings.md differs from the settings in the code", file=sys.stderr)
        print("hint: python docs/make_settings.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
