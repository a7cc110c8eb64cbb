"""What a user's DataLoader asks for, as settings: its batch size and its workers."""

from typing import Any

from torchloupe.config.settings import Settings
from torchloupe.data.sources import Data
from torchloupe.errors import UsageError


def follow_loader(settings: Settings, data: Data) -> Settings:
    """The settings with the batch size and workers of the DataLoader that `data` came from.

    Raises UsageError if another batch size was typed.
    """
    batch_total = int(getattr(data.reader, "batch_total", 0))
    workers = int(getattr(data.reader, "workers", 0))
    is_typed = settings.origin("train.batch_total") == "typed"
    typed = settings.config.train.batch_total if is_typed else 0
    if batch_total and typed not in (0, batch_total):
        raise UsageError(
            f"train.batch_total is {typed}, and the data come in batches of {batch_total}",
            f"leave train.batch_total out, or make the DataLoader with batch_size={typed}",
        )
    values: dict[str, Any] = {"train.batch_total": batch_total} if batch_total else {}
    if workers and settings.origin("data.workers") != "typed":
        values["data.workers"] = workers
    return settings.changed(values, "recipe")
