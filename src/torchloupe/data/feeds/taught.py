"""Batches with a teacher's answers: kept ones, or asked for in every step.

The teacher sees the view of an image that the student sees: the same draws of the augmentation,
at the teacher's own size.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torchloupe.data.feeds.feed import Batch, PixelFeed
from torchloupe.errors import DataError

Rows = NDArray[np.int64]
Ask = Callable[[Tensor], Tensor]  # logits [B, K] of images [B, C, H, W]

AT_ONCE = 256  # images that the teacher answers at a time


class _Taught:
    """A feed around `feed`; the share of a rank may be changed after it was made."""

    def __init__(self, feed: PixelFeed) -> None:
        self.feed = feed
        self.rank_share = feed.rank_share

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        return self.feed.steps_per_epoch


class KeptAnswers(_Taught):
    """The batches of `feed`, whose augmentations come again, with answers that are kept."""

    def __init__(self, feed: PixelFeed, rows: Rows, answers: NDArray[np.float32]) -> None:
        """`answers` [V, N, K] are those for each view of the images at `rows` [N], sorted."""
        feed.views = len(answers)
        super().__init__(feed)
        self._rows = rows
        self._answers = answers

    def batches(self, start_step: int = 0) -> Iterator[Batch]:
        """The batches from `start_step` on, without end; where to start costs nothing."""
        self.feed.rank_share = self.rank_share
        for batch in self.feed.batches(start_step):
            answers = self._answers[batch.epoch % len(self._answers)]
            found = torch.from_numpy(answers[np.searchsorted(self._rows, batch.rows)])
            yield replace(batch, taught=found.to(batch.images.device, non_blocking=True))


class AskedAnswers(_Taught):
    """The batches of `feed`; the teacher is asked about each, as `shown` shows it to it."""

    def __init__(self, feed: PixelFeed, shown: PixelFeed, ask: Ask) -> None:
        super().__init__(feed)
        self._shown = shown
        self._ask = ask

    def batches(self, start_step: int = 0) -> Iterator[Batch]:
        """The batches from `start_step` on, without end; DataError if the two feeds differ."""
        self.feed.rank_share = self._shown.rank_share = self.rank_share
        both = zip(self.feed.batches(start_step), self._shown.batches(start_step), strict=True)
        for batch, shown in both:
            if not np.array_equal(batch.rows, shown.rows):
                raise DataError(
                    "an image can be decoded for the student and not for its teacher",
                    "write the set again with `loupe shard`, which leaves such images out",
                )
            yield replace(batch, taught=self._ask(shown.images))


def answer_views(
    shown: PixelFeed, rows: Rows, views: int, ask: Ask, progress: Callable[[int, int], None]
) -> NDArray[np.float32]:
    """The teacher's logits [V, N, K] for `views` augmented views of the images at `rows` [N]."""
    found = []
    for view in range(views):
        for start in range(0, len(rows), AT_ONCE):
            some = rows[start : start + AT_ONCE]
            found.append(ask(shown.look(some, view).images).cpu().numpy())
            progress(view * len(rows) + start + len(some), views * len(rows))
    joined = np.concatenate(found)
    return joined.reshape(views, len(rows), joined.shape[1])
