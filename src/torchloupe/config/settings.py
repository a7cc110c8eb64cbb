"""The settings of a run as one value: the Config, and where each setting in it came from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from torchloupe.config.schema import Config, flatten
from torchloupe.config.text import change
from torchloupe.errors import UsageError, printable

Origin = Literal["default", "recipe", "typed", "measured"]
FORMAT = 1
TYPED: Origin = "typed"
MEASURED: Origin = "measured"


@dataclass(frozen=True)
class Settings:
    """Every setting of a run with its origin; the methods return new values.

    A setting is *open* while its origin is "default": a recipe or a measurement may still choose
    it. A setting without an entry in `origins` is a default.
    """

    config: Config = field(default_factory=Config)
    origins: Mapping[str, Origin] = field(default_factory=dict)

    def origin(self, name: str) -> Origin:
        """Where the value of the setting `name` (dotted) came from."""
        return self.origins.get(name, "default")

    def is_open(self, name: str) -> bool:
        """Whether neither the user, a recipe nor a measurement has chosen this setting."""
        return self.origin(name) == "default"

    def with_typed(self, values: Mapping[str, Any]) -> "Settings":
        """With `values` that the user gave, by dotted name; UsageError lists all wrong ones."""
        origins: dict[str, Origin] = {**self.origins, **dict.fromkeys(values, TYPED)}
        return Settings(change(self.config, values), origins)

    def with_recipe(self, values: Mapping[str, Any]) -> "Settings":
        """With those of a recipe's `values` whose settings are open."""
        return self.changed({k: v for k, v in values.items() if self.is_open(k)}, "recipe")

    def with_measured(self, values: Mapping[str, Any]) -> "Settings":
        """With `values` that were measured on this machine."""
        origins: dict[str, Origin] = {**self.origins, **dict.fromkeys(values, MEASURED)}
        return Settings(change(self.config, values), origins)

    def with_default(self, values: Mapping[str, Any]) -> "Settings":
        """With other values for settings that stay open, or keep their origin."""
        return replace(self, config=change(self.config, values))

    def changed(self, values: Mapping[str, Any], origin: Origin) -> "Settings":
        """With `values`; the settings that they change come from `origin`, others as before."""
        return self.replaced(change(self.config, values), origin)

    def replaced(self, config: Config, origin: Origin) -> "Settings":
        """With another Config, whose differences come from `origin`."""
        old, new = flatten(self.config), flatten(config)
        origins = {n: origin if new[n] != old[n] else self.origin(n) for n in new}
        return Settings(config, origins)

    def closed(self) -> "Settings":
        """With nothing open: what rank 0 decided is final for the other ranks."""
        names = flatten(self.config)
        origins = {n: MEASURED if self.is_open(n) else self.origin(n) for n in names}
        return Settings(self.config, origins)

    def to_json(self) -> str:
        """The text of `config.json`: each setting with its value and its origin."""
        settings = {
            name: {"value": value, "source": self.origin(name)}
            for name, value in flatten(self.config).items()
        }
        return json.dumps({"format": FORMAT, "settings": settings}, indent=1)


def read_settings(path: Path, text: str | None = None) -> Settings:
    """The settings in a `config.json`, or in its `text`; UsageError for a file that is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8") if text is None else text)
        settings = content["settings"]
        version = content["format"]
        values = {name: entry["value"] for name, entry in settings.items()}
        origins = {name: entry["source"] for name, entry in settings.items()}
    except (*(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError),) as error:
        raise UsageError(
            f"{printable(path)} is not a torchloupe config.json ({printable(error)})",
            "give a run's config.json, or --recipe file.py:function",
        ) from None
    if version != FORMAT:
        raise UsageError(
            f"{printable(path)} has format {version}; this version reads format {FORMAT}",
            "use the torchloupe version that wrote it",
        )
    return Settings(change(Config(), values), origins)
