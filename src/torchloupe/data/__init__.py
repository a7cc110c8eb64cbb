"""From a source to batches on a device; each part works alone."""

from torchloupe.data.augmentation.augment import Augment
from torchloupe.data.contract import Contract
from torchloupe.data.feeds.feed import Batch
from torchloupe.data.feeds.rank_share import RankShare
from torchloupe.data.image.formats import ImageError
from torchloupe.data.samples import Samples
from torchloupe.data.sources import Data, open_data
from torchloupe.data.split import Splits

__all__ = [
    "Augment",
    "Batch",
    "Contract",
    "Data",
    "ImageError",
    "RankShare",
    "Samples",
    "Splits",
    "open_data",
]
