"""The order of samples that lie in shards: near in time what is near on the disk, yet shuffled.

Two levels: the shards of an epoch are shuffled and dealt out to lanes of equal length; in each lane
the samples of a few shards in a row are mixed. A batch takes equally many samples from each lane,
lane by lane, so that a rank's part of every batch comes from its own lanes. All is a function of
(seed, epoch, shard, sample), whatever the number of ranks, and any step is found by arithmetic.
"""

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.feeds.order import Order
from torchloupe.errors import UsageError
from torchloupe.system.counter_rng import Keys, hash_parts, uniform

SHARD_TURN, LANE_CUT, MIX = 0x5A4D0, 0x5A4D1, 0x5A4D2  # tell these draws apart

Rows = NDArray[np.int64]


class ShardOrder(Order):
    """Batches of `rows` for every step, as `Order` gives them, in an order that fits shards.

    `shard_of` [N] is the number of the shard of every sample, `shard_keys` [S] a key of each
    shard. In each of `lanes` lanes, the samples of a shard are spread over as long a time as
    `mixed` shards take, with the shard in its middle, so that about so many are mixed.
    """

    def __init__(
        self,
        rows: Rows,
        keys: Keys,
        batch_total: int,
        seed: int,
        shard_of: Rows,
        shard_keys: Keys,
        layout: tuple[int, int],
    ) -> None:
        """`layout` is (lanes, mixed)."""
        super().__init__(rows, keys, batch_total, seed)
        self.lanes, self.mixed = layout
        if self.lanes < 1 or self.mixed < 1:
            raise UsageError(
                f"data.lanes is {self.lanes} and data.mixed_shards is {self.mixed}",
                "give 1 or more for both",
            )
        self._shard_of = shard_of[self.rows]
        self._shard_keys = shard_keys
        self._kept: dict[int, Rows] = {}

    def epoch_rows(self, epoch: int) -> Rows:
        """All rows in the order in which `epoch` visits them."""
        found = self._kept.get(epoch)
        if found is None:
            found = self.rows[self._permutation(epoch)]
            # Two are kept: what is read ahead may be of the next epoch already.
            self._kept = {**{k: v for k, v in self._kept.items() if k == epoch - 1}, epoch: found}
        return found

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        count, lanes = len(self.rows), min(self.lanes, len(self.rows))
        turn = np.argsort(hash_parts(self.seed, SHARD_TURN, epoch, self._shard_keys), kind="stable")
        place = np.empty(len(turn), dtype=np.int64)
        place[turn] = np.arange(len(turn))
        turn_of = place[self._shard_of]
        cut = hash_parts(self.seed, LANE_CUT, epoch, self._keys)
        # Shard after shard; of a shard that two lanes share, it is drawn which samples each has.
        in_turn = np.lexsort((cut, turn_of))
        starts = lane_starts(count, lanes)
        lane_of = np.searchsorted(starts, np.arange(count), side="right") - 1
        time = self._times(in_turn, turn_of, lane_of, starts, epoch)
        mixed = in_turn[np.lexsort((time, lane_of))]
        return mixed[deal(count, lanes, self.batch_total)]

    def _times(
        self,
        in_turn: Rows,
        turn_of: Rows,
        lane_of: NDArray[np.int64],
        starts: Rows,
        epoch: int,
    ) -> NDArray[np.float64]:
        """When each sample of the lanes is visited: drawn from the time of its shard."""
        shard = turn_of[in_turn]
        is_first = np.ones(len(shard), dtype=np.bool_)
        is_first[1:] = (shard[1:] != shard[:-1]) | (lane_of[1:] != lane_of[:-1])
        piece = np.cumsum(is_first) - 1
        begins = np.flatnonzero(is_first)
        sizes = np.diff(begins, append=len(shard))
        mean = len(shard) / max(1, len(np.unique(shard)))
        drawn = uniform(self.seed, epoch, self._keys[in_turn], MIX)
        first = starts[lane_of[begins]]
        last = np.append(starts[1:], len(shard))[lane_of[begins]]
        span = np.clip(self.mixed * mean, sizes, last - first)
        begin = np.clip(begins - (span - sizes) / 2, first, last - span)
        return np.asarray(begin[piece] + drawn * span[piece])


def lane_starts(count: int, lanes: int) -> Rows:
    """Where each of `lanes` equal parts of `count` samples begins; the first ones are longer."""
    length, more = divmod(count, lanes)
    numbers = np.arange(lanes)
    return np.asarray(numbers * length + np.minimum(numbers, more), dtype=np.int64)


def deal(count: int, lanes: int, batch: int) -> Rows:
    """Places in the lanes (laid end to end) of each place in the epoch [count].

    The lanes take turns, sample by sample; inside a batch they are put in order, lane by lane.
    """
    places = np.arange(count)
    lane = places % lanes
    ordered = np.lexsort((places, lane, places // batch))
    return np.asarray(lane_starts(count, lanes)[lane[ordered]] + ordered // lanes, dtype=np.int64)
