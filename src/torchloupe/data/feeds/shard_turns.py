"""The order of the shards in every epoch, and when in it the samples of each are visited.

Samples of one shard come near each other in every epoch. By chance alone their positions in two
epochs would be correlated as those of as many draws as there are shards, not samples. So the times
that are drawn for the shards are freed of what they share with those of other epochs: first by
projection, which few shards allow for few epochs only, then by exchanging shards two by two.

All sums are of integers: the order is the same on every machine, to the last bit.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torchloupe.errors import UsageError
from torchloupe.system.counter_rng import Keys, hash_parts, uniform

ORDER = 3  # raised when a run would visit the same shards in another order
SHARD_TIME, SHARD_LANE, SHARD_PAIR = 0x5A4D0, 0x5A4D3, 0x5A4D4  # tell these draws apart
EPOCHS_TOGETHER = 16  # that are freed of each other; of the next ones, the first is too
SHARDS_FOR_EACH = 16  # so many shards at least for each epoch that is projected away
ROUNDS = 16
PASSES, EXCHANGES = 4, 12
PAIRS = 256  # that are drawn each time; the best is exchanged
ALIKE, NEAR = 32, 8  # pairs differ by 1/32 of a shard, or lie within an eighth of all, by size
UNIT = 2**15  # parts of an epoch that mean times are counted in
LARGEST_WEIGHT = 2**10  # of the largest shard

Rows = NDArray[np.int64]
Times = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Layout:
    """The shards of an epoch laid end to end and cut into lanes: P pieces in a row.

    Samples of a piece are visited from `begin` on for a time of `span`. Both are counted in
    samples of all lanes laid end to end.
    """

    shard: Rows  # [P] the number of the shard
    lane: Rows  # [P]
    sizes: Rows  # [P] samples
    begin: Times
    span: Times


class ShardTurns:
    """The shards that samples lie in, in their order for every epoch.

    `sizes` [S] are the samples of each shard, some of them 0, `keys` [S] stand for their names.
    """

    def __init__(self, sizes: Rows, keys: Keys, seed: int, layout: tuple[int, int]) -> None:
        """`layout` is (lanes, mixed): see ShardOrder."""
        self._used = np.flatnonzero(sizes)
        self._sizes = sizes
        self._keys = keys[self._used]
        self._seed = seed
        self._count = int(sizes.sum())
        self.lanes, self.mixed = min(layout[0], self._count), layout[1]
        if self.lanes < 1 or self.mixed < 1:
            raise UsageError(
                f"data.lanes is {layout[0]} and data.mixed_shards is {layout[1]}",
                "give 1 or more for both",
            )
        if self.lanes * (self.mixed + 1) >= len(self._used):  # all are in use at a time anyway
            self.mixed = len(self._used)
        own = sizes[self._used]
        self._by_size = np.lexsort((self._keys, own))
        self._weights = np.maximum(1, own * LARGEST_WEIGHT // own.max())
        self._starts = lane_starts(self._count, self.lanes)
        self._known: tuple[int, tuple[tuple[Rows, Rows], ...]] = (-1, ())

    def order(self, epoch: int) -> Rows:
        """The numbers of the shards as they are laid end to end in `epoch`."""
        place = epoch % EPOCHS_TOGETHER
        first = epoch - place
        block, known = self._known  # one read: another thread may replace it meanwhile
        if block != first:
            known = ()
        while len(known) <= place:
            others = [means for _, means in known]
            if len(known) == EPOCHS_TOGETHER - 1:
                others.append(self._draw(first + EPOCHS_TOGETHER, [])[1])
            known = (*known, self._draw(first + len(known), others))
        self._known = (first, known)
        return self._used[known[place][0]]

    def lay_out(self, order: Rows) -> Layout:
        """When the samples of each shard are visited, if they are laid end to end like this."""
        sizes = self._sizes[order]
        begins = np.cumsum(sizes) - sizes
        edges = np.union1d(begins, self._starts)
        piece_sizes = np.diff(edges, append=self._count)
        lane = np.searchsorted(self._starts, edges, side="right") - 1
        mean = self._count / len(self._used)
        first = self._starts[lane]
        last = np.append(self._starts[1:], self._count)[lane]
        span = np.clip(self.mixed * mean, piece_sizes, last - first)
        begin = np.clip(edges - (span - piece_sizes) / 2, first, last - span)
        shard = order[np.searchsorted(begins, edges, side="right") - 1]
        return Layout(shard, lane, piece_sizes, begin, span)

    def _draw(self, epoch: int, others: list[Rows]) -> tuple[Rows, Rows]:
        """An order of the used shards, and the mean time of each, in it; freed of `others`."""
        times = uniform(self._seed, epoch, self._keys, SHARD_TIME)
        best, order, means = -1, self._used, self._used
        some = others[-max(1, len(self._used) // SHARDS_FOR_EACH) :]
        for _ in range(ROUNDS if others else 1):
            now = self._deal(times, epoch)
            mean = self._mean_times(now)
            shared = [self._product(mean, other) for other in some]
            most = max(map(abs, shared[-2:]), default=0)  # those that come before and after
            if best < 0 or most < best:
                best, order, means = most, now, mean
            for part, other in zip(shared, some, strict=True):
                times = times - part / (self._product(other, other) or 1) * (other / UNIT)
        return self._exchange(order, means, others, epoch) if others else (order, means)

    def _exchange(
        self, order: Rows, means: Rows, others: list[Rows], epoch: int
    ) -> tuple[Rows, Rows]:
        """`order` with shards exchanged two by two, so that less is shared with all `others`.

        Two of one size change their times with their places, and others move little: what an
        exchange does is estimated so, and the best of each pass is judged by its real times.
        """
        weighed = self._weights * np.stack(others)
        weighed[-2:] *= 3  # those that come before and after
        shift = 14 + len(order).bit_length()  # so that no sum of squares overflows

        def cost(shared: Rows) -> Rows:
            return np.asarray(np.square(shared >> shift).sum(axis=0), dtype=np.int64)

        least, kept = int(cost(weighed @ means)), (order, means)
        for turn in range(PASSES):
            order, means = order.copy(), means.copy()
            place = np.argsort(order, kind="stable")
            shared = weighed @ means
            for number in range(EXCHANGES):
                draw = turn * EXCHANGES + number
                one, other = self._draw_pairs(epoch, draw)
                change = (means[other] - means[one]) * (weighed[:, one] - weighed[:, other])
                costs = cost(shared[:, None] + change)
                chosen = int(costs.argmin())
                if costs[chosen] >= cost(shared):
                    continue
                pair = np.array([one[chosen], other[chosen]])
                shared = shared + change[:, chosen]
                means[pair], place[pair] = means[pair[::-1]], place[pair[::-1]]
                order[place[pair]] = pair
            means = self._mean_times(order)
            if (now := int(cost(weighed @ means))) < least:
                least, kept = now, (order, means)
        return kept

    def _draw_pairs(self, epoch: int, draw: int) -> tuple[Rows, Rows]:
        """Pairs of used shards of about one size, by their numbers among these."""
        count = len(self._used)
        sizes = self._sizes[self._used[self._by_size]]
        numbers = np.arange(PAIRS, dtype=np.uint64)
        drawn = hash_parts(self._seed, SHARD_PAIR, epoch, draw, numbers)
        one = (drawn % np.uint64(count)).astype(np.int64)
        apart = 1 + ((drawn >> np.uint64(32)) % np.uint64(count)).astype(np.int64)
        other = (one + apart) % count
        is_alike = abs(sizes[other] - sizes[one]) * ALIKE <= sizes.mean()
        near = np.minimum(one + 1 + apart % (1 + count // NEAR), count - 1)
        return self._by_size[one], self._by_size[np.where(is_alike, other, near)]

    def _deal(self, times: Times, epoch: int) -> Rows:
        """The order in which shards are laid end to end, so that each comes at about its time."""
        places = np.arange(len(times))
        middle = (2 * places + 1) * self.lanes % (2 * len(times))  # when each place has its turn
        drawn = hash_parts(self._seed, SHARD_LANE, epoch, places.astype(np.uint64))
        order = np.empty(len(times), dtype=np.int64)
        order[np.lexsort((drawn, middle))] = np.argsort(times, kind="stable")
        return order

    def _mean_times(self, order: Rows) -> Rows:
        """The mean time of the samples of each used shard, from the middle of the epoch on."""
        layout = self.lay_out(self._used[order])
        lengths = np.diff(self._starts, append=self._count)[layout.lane]
        middle = (mean_places(layout) - self._starts[layout.lane]) / lengths - 0.5
        parts = np.rint(UNIT * middle).astype(np.int64) * layout.sizes
        place = np.empty(len(self._sizes), dtype=np.int64)
        place[self._used] = np.arange(len(self._used))
        found = np.zeros(len(self._used), dtype=np.int64)
        np.add.at(found, place[layout.shard], parts)
        return found // self._sizes[self._used]

    def _product(self, one: Rows, other: Rows) -> int:
        """How much two orders have in common."""
        return int((self._weights * one * other).sum())


def lane_starts(count: int, lanes: int) -> Rows:
    """Where each of `lanes` equal parts of `count` samples begins; the first ones are longer."""
    length, more = divmod(count, lanes)
    numbers = np.arange(lanes)
    return np.asarray(numbers * length + np.minimum(numbers, more), dtype=np.int64)


def mean_places(layout: Layout) -> Times:
    """The mean place [P] of the samples of each piece among all, laid end to end by their times.

    Near the ends of a lane more pieces overlap than elsewhere, so that places are not times. How
    many samples come before a time is a sum of ramps, one for each piece; here is its mean over
    the time of each piece.
    """
    ends = layout.begin + layout.span
    times = np.concatenate([layout.begin, ends])
    order = np.argsort(times, kind="stable")
    times, steps = times[order], np.diff(times[order], append=times[order[-1]])
    rate = layout.sizes / layout.span
    slope = np.cumsum(np.concatenate([rate, -rate])[order])
    before = np.concatenate([[0.0], np.cumsum(slope * steps)])[:-1]
    area = np.concatenate([[0.0], np.cumsum((before + slope * steps / 2) * steps)])[:-1]
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    first, last = np.split(place, 2)
    found: Times = (area[last] - area[first]) / layout.span
    return found
