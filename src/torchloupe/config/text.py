"""Settings as text: dotted names and `--set a.b=v`.

Unknown names and values out of range are all reported at once.
"""

import json
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass, replace
from typing import Any

from torchloupe.config.schema import Config, check
from torchloupe.errors import UsageError, did_you_mean, printable


def change(config: Config, values: Mapping[str, Any]) -> Config:
    """A new Config with dotted names replaced; all unknown names are reported at once.

    Values may be Python values or the text a person types (`"3e-4"`, `"true"`, `"[1, 2]"`).
    `model.options.depth=3` sets one key of a dict.
    """
    known = _annotations()
    problems: list[str] = []
    for name, value in values.items():
        owner = _owner(name, known)
        if owner is None:
            problems.append(f"{printable(name)} ({_suggest(name, known)})")
            continue
        try:
            config = _replace(config, owner, name, _parse(value, known[owner], owner != name))
        except ValueError as error:
            problems.append(f"{printable(name)}: {error}")
    if problems:
        raise UsageError(
            "these settings can't be used: " + "; ".join(problems),
            "docs/settings.md lists every setting with its default",
        )
    check(config)
    return config


def _suggest(name: str, known: Mapping[str, Any]) -> str:
    """What may have been meant: the same name elsewhere, a near one, or what there is beside it."""
    section, _, last = name.rpartition(".")
    elsewhere = [one for one in known if one.rpartition(".")[2] == last]
    if elsewhere:
        return did_you_mean(name, elsewhere, f"did you mean {' or '.join(map(repr, elsewhere))}?")
    beside = [one for one in known if section and one.startswith(f"{section}.")]
    sections = dict.fromkeys(f"{one.partition('.')[0]}.*" for one in known)
    return did_you_mean(name, known, f"known: {', '.join(beside or sections)}")


def parse_assignments(assignments: Iterable[str]) -> dict[str, str]:
    """`{"optimizer.lr": "3e-4"}` from the `a.b=value` texts of `--set`."""
    values = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(
                f"--set takes name=value, got {printable(text)!r}",
                "for example --set optimizer.lr=3e-4",
            )
        values[name.strip()] = value.strip()
    return values


def _annotations() -> dict[str, Any]:
    """The annotation of every dotted name."""
    found: dict[str, Any] = {}
    for section, kind in typing.get_type_hints(Config).items():
        if is_dataclass(kind):
            hints = typing.get_type_hints(kind)
            found |= {f"{section}.{name}": hint for name, hint in hints.items()}
        else:
            found[section] = kind
    return found


def _owner(name: str, known: Mapping[str, Any]) -> str | None:
    """The setting that `name` belongs to: itself, or the dict it is a key of."""
    if name in known:
        return name
    parent, _, key = name.rpartition(".")
    return parent if key and parent in known and typing.get_origin(known[parent]) is dict else None


def _replace(config: Config, owner: str, name: str, value: Any) -> Config:
    section, _, attribute = owner.partition(".")
    if not attribute:
        return replace(config, **{section: value})
    part = getattr(config, section)
    if owner != name:
        value = {**getattr(part, attribute), name.rpartition(".")[2]: value}
    return replace(config, **{section: replace(part, **{attribute: value})})


def _parse(value: Any, annotation: Any, is_key: bool) -> Any:
    """`value` as the annotated type, text read as JSON where that fits; raises ValueError."""
    if is_key:
        return _from_text(value)
    origin = typing.get_origin(annotation)
    if origin in (types.UnionType, typing.Union):
        for option in typing.get_args(annotation):
            try:
                return _parse(value, option, False)
            except ValueError:
                continue
        kinds = [getattr(kind, "__name__", str(kind)) for kind in typing.get_args(annotation)]
        raise ValueError(f"{printable(value)!r} is not {' or '.join(kinds)}")
    if origin is tuple:
        items = _from_text(value) if isinstance(value, str) and value.startswith("[") else value
        if isinstance(items, str):
            items = [item.strip() for item in items.split(",") if item.strip()]
        if not isinstance(items, (list, tuple)):
            raise ValueError(f"{printable(value)!r} is not a list such as a,b")
        return tuple(_parse(item, typing.get_args(annotation)[0], False) for item in items)
    if origin is dict:
        found = _from_text(value)
        if not isinstance(found, dict):
            raise ValueError(f'{printable(value)!r} is not a dict such as {{"depth": 3}}')
        return found
    return _parse_scalar(value, annotation)


def _parse_scalar(value: Any, kind: type) -> Any:
    if kind is str:
        if isinstance(value, (bool, dict, list, tuple)) or value is None:
            raise ValueError(f"{printable(value)!r} is not text")
        return str(value)
    found = _from_text(value)
    if kind is type(None) and found is None:
        return None
    if kind is bool and isinstance(found, bool):
        return found
    if isinstance(found, (int, float)) and not isinstance(found, bool):
        if kind is float:
            return float(found)
        if kind is int and float(found).is_integer():
            return int(found)
    wanted = {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, "null")
    raise ValueError(f"{printable(value)!r} is not {wanted}")


def _from_text(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = {"True": "true", "False": "false", "None": "null"}.get(value, value)
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return float(text)  # 3e-4, 1e3: JSON reads these too, but not .5 or 1.
    except ValueError:
        return value
