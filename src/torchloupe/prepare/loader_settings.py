"""What a DataLoader of the user's asks for, as settings: its batch size and its workers."""

from collections.abc import Mapping
from typing import Any

from torchloupe.config.schema import Config
from torchloupe.config.text import Source, change, sources_of
from torchloupe.data.sources import Data
from torchloupe.errors import UsageError


def follow_loader(
    config: Config, sources: Mapping[str, Source], data: Data
) -> tuple[Config, Mapping[str, Source]]:
    """The settings with the batch size and workers of a DataLoader, and where each came from.

    UsageError where another batch size was typed.
    """
    batch_total = int(getattr(data.reader, "batch_total", 0))
    workers = int(getattr(data.reader, "workers", 0))
    typed = config.train.batch_total if sources.get("train.batch_total") == "typed" else 0
    if batch_total and typed not in (0, batch_total):
        raise UsageError(
            f"train.batch_total is {typed}, and the data come in batches of {batch_total}",
            f"leave train.batch_total out, or make the DataLoader with batch_size={typed}",
        )
    values: dict[str, Any] = {"train.batch_total": batch_total} if batch_total else {}
    if workers and sources.get("data.workers") != "typed":
        values["data.workers"] = workers
    filled = change(config, values)
    return filled, sources_of(config, filled, "recipe", dict(sources))
