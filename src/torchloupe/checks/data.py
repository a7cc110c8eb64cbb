"""Silent mistakes in the data: images, labels, splits. The place where data checks are called.

A check of data is a function of a DataEvidence that gives verdicts; `check_data` calls them all.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torchloupe.data.contract import Contract
from torchloupe.data.feeds.feed import Batch
from torchloupe.data.pack.pixels import Pixels
from torchloupe.data.samples import Samples
from torchloupe.data.split import Splits
from torchloupe.errors import printable
from torchloupe.run.events import Verdict
from torchloupe.units import plural

SHOWN = 3  # classes in a line


@dataclass(frozen=True, eq=False)
class DataEvidence:
    """What the checks of data may look at."""

    samples: Samples  # empty for a stream
    splits: Splits
    contract: Contract
    pixels: Pixels | None  # None: images are read from their source each time, which may be slow
    read: Callable[..., Iterable[Batch]]  # rows of samples as the model gets them, not augmented


def check_data(data: DataEvidence, *, thorough: bool = False) -> list[Verdict]:
    """Every verdict on the data; nothing is changed and no generator is drawn from.

    A run calls the cheap checks; `thorough`, as `loupe check` does, allows a minute.
    """
    del thorough
    return find_untested_classes(data)


def find_untested_classes(data: DataEvidence) -> list[Verdict]:
    """A note where classes have no image in a test split that has others."""
    names = data.contract.class_names
    if not len(data.splits.test) or not len(data.samples):
        return []
    counts = data.samples.class_counts(data.splits.test)
    missing = [name for name, count in zip(names, counts, strict=True) if not count]
    if not missing:
        return []
    shown = ", ".join(printable(name, 60) for name in missing[:SHOWN])
    more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
    return [
        Verdict(
            "class-never-tested",
            "warning",
            seen=f"{plural(len(missing), 'class', 'classes')} of {len(names)} without an image "
            f"in the test split: {shown}{more}",
            remedy="add images of these classes, or test with more: --set data.test_fraction=0.3",
            where="test",
            why="the test accuracy says nothing about them",
            numbers={"classes": len(missing)},
        )
    ]
