"""What a user's DataLoader asks for, as settings; and settings that a Dataset has no use for."""

from typing import Any

from torchloupe.config.settings import Settings
from torchloupe.data.sources import Data
from torchloupe.errors import UsageError, printable
from torchloupe.prepare.run_data import RunData


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


def refuse_unused(settings: Settings, run_data: RunData) -> None:
    """UsageError for typed settings that a Dataset or stream of the user's leaves without effect.

    `run_data` are those of a new run.
    """
    if run_data.source.kind not in ("dataset", "stream"):
        return
    data = settings.config.data
    unused = {"data.copies": "images are compared by their content, and it is read anew each time"}
    if run_data.contract.is_float:
        reason = "it gives numbers for the model, which are taken as they are"
        unused |= {"data.fit": reason, "data.kernel": reason}
    for name, reason in unused.items():
        value = getattr(data, name.partition(".")[2])
        if settings.origin(name) == "typed" and value not in ("auto", "keep"):
            raise UsageError(
                f"{name}={printable(value)} has no effect on a Dataset or stream of your own: "
                f"{reason}",
                "leave it out, and do it in the Dataset",
            )
