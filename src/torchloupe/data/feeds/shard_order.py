"""The order of samples that lie in shards: near in time what is near on the disk, yet shuffled.

Two levels: the shards of an epoch are shuffled (shard_turns) and dealt out to lanes of equal
length; in each lane the samples of a few shards in a row are mixed. A batch takes equally many
samples from each lane, lane by lane, so that a rank's part of every batch comes from its own lanes.
All is a function of (seed, epoch, shard, sample), whatever the number of ranks, and any step is
found by arithmetic.
"""

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.feeds.order import Order
from torchloupe.data.feeds.shard_turns import ShardTurns, lane_starts
from torchloupe.system.counter_rng import Keys, hash_parts, uniform

LANE_CUT, MIX = 0x5A4D1, 0x5A4D2  # tell these draws apart

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
        self._shard_of = shard_of[self.rows]
        sizes = np.bincount(self._shard_of, minlength=len(shard_keys))
        self._turns = ShardTurns(sizes, shard_keys, seed, layout)
        self._kept: dict[int, Rows] = {}

    @property
    def batches_of_a_shard(self) -> int:
        """How many batches pass until every lane has come to its next shard, about."""
        mean = len(self.rows) / max(1, len(np.unique(self._shard_of)))
        return int(np.ceil(mean * self._turns.lanes / self.batch_total))

    def epoch_rows(self, epoch: int) -> Rows:
        """All rows in the order in which `epoch` visits them."""
        found = self._kept.get(epoch)
        if found is None:
            found = self.rows[self._permutation(epoch)]
            # Two are kept: what is read ahead may be of the next epoch already.
            self._kept = {**{k: v for k, v in self._kept.items() if k == epoch - 1}, epoch: found}
        return found

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        shards = self._turns.order(epoch)
        turn = np.zeros(int(self._shard_of.max()) + 1, dtype=np.int64)
        turn[shards] = np.arange(len(shards))
        cut = hash_parts(self.seed, LANE_CUT, epoch, self._keys)
        # Shard after shard; of a shard that two lanes share, it is drawn which samples each has.
        in_turn = np.lexsort((cut, turn[self._shard_of]))
        layout = self._turns.lay_out(shards)
        piece = np.repeat(np.arange(len(layout.sizes)), layout.sizes)
        drawn = uniform(self.seed, epoch, self._keys[in_turn], MIX)
        time = layout.begin[piece] + drawn * layout.span[piece]
        mixed = in_turn[np.lexsort((time, layout.lane[piece]))]
        return mixed[deal(len(self.rows), self._turns.lanes, self.batch_total)]


def deal(count: int, lanes: int, batch: int) -> Rows:
    """Places in the lanes (laid end to end) of each place in the epoch [count].

    The lanes take turns, sample by sample; inside a batch they are put in order, lane by lane.
    """
    places = np.arange(count)
    lane = places % lanes
    ordered = np.lexsort((places, lane, places // batch))
    return np.asarray(lane_starts(count, lanes)[lane[ordered]] + ordered // lanes, dtype=np.int64)
