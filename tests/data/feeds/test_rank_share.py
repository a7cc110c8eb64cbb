"""The batches of all ranks together are the batches of one process, whatever the data are."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from torchloupe.config.schema import DataConfig
from torchloupe.data.augmentation.augment import Augment
from torchloupe.data.feeds.feed import Batch
from torchloupe.data.feeds.rank_share import RankShare
from torchloupe.prepare.data import prepare_data
from torchloupe.prepare.run_data import RunData

CPU = torch.device("cpu")
COUNT = 41
AUGMENT = Augment(translate=0.2, flip=True, mixup=0.4)


def images() -> torch.Tensor:
    return torch.rand(COUNT, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def labels() -> torch.Tensor:
    return torch.arange(COUNT) % 3


def make_materials(kind: str) -> RunData:
    """Data of each kind there is; nothing is set aside for validation but in a stream."""
    config = DataConfig(val_fraction=0.2, test_fraction=0.0)
    if kind == "arrays":
        return prepare_data(config, ((images() * 255).byte().numpy(), labels().numpy()), seed=0)
    dataset = TensorDataset(images(), labels())
    if kind == "dataset":
        return prepare_data(dataset, config, seed=0)
    loader = DataLoader(dataset, batch_size=7)
    return prepare_data(replace(config, class_names=("a", "b", "c")), (loader, loader), seed=0)


def batches(run_data: RunData, part: RankShare, steps: int, total: int) -> list[Batch]:
    augment = Augment() if run_data.source.kind == "stream" else AUGMENT
    feed: Any = replace(run_data, rank_share=part).feed(total, 0, augment, CPU)
    return list(islice(feed.batches(2), steps))


def own(batch: Batch) -> Batch | None:
    return None if batch.is_padding else batch


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("kind", ["arrays", "dataset", "stream"])
def test_parts_of_a_step_are_the_step(kind: str, size: int) -> None:
    run_data = make_materials(kind)
    whole = batches(run_data, RankShare(), 9, total=8)
    parts = [batches(run_data, RankShare(number, size), 9, total=8) for number in range(size)]
    for step, batch in enumerate(whole):
        mine = [found for rank in parts if (found := own(rank[step])) is not None]
        assert torch.equal(torch.cat([part.images for part in mine]), batch.images)
        assert torch.equal(torch.cat([part.labels for part in mine]), batch.labels)
        assert np.concatenate([part.rows for part in mine]).tolist() == batch.rows.tolist()
        assert {rank[step].step_total for rank in parts} == {len(batch)}
        assert len(parts[0][step]) == max(len(part) for part in mine)


@pytest.mark.parametrize("kind", ["arrays", "dataset", "stream"])
@pytest.mark.parametrize("size", [2, 3, 50])
def test_parts_of_a_scan_give_every_sample_once(kind: str, size: int) -> None:
    run_data = make_materials(kind)
    whole = np.concatenate([batch.rows for batch in run_data.scan("val", CPU)])
    seen = [
        batch.rows
        for number in range(size)
        for batch in replace(run_data, rank_share=RankShare(number, size)).scan("val", CPU)
    ]
    assert sorted(np.concatenate(seen)) == sorted(whole)


def shares(batch: Batch, count: int) -> Iterator[float]:
    for part, share, _ in batch.micro(count):
        assert len(part) >= 1
        yield share


@pytest.mark.parametrize("count", [1, 2, 3])
def test_shares_of_all_ranks_add_up_to_one(count: int) -> None:
    run_data = make_materials("arrays")
    parts = [batches(run_data, RankShare(number, 3), 9, total=8) for number in range(3)]
    for step in range(9):
        found = [list(shares(rank[step], count)) for rank in parts]
        assert [len(rank) for rank in found] == [count] * 3  # all do the same
        assert sum(map(sum, found)) == pytest.approx(1, abs=1e-12)


def test_rank_without_a_sample_gets_one_that_counts_nothing() -> None:
    run_data = make_materials("arrays")
    feed: Any = replace(run_data, rank_share=RankShare(1, 2)).feed(
        run_data.train_count - 1, 0, AUGMENT, CPU
    )
    last = list(islice(feed.batches(), 2))[1]
    assert (last.is_padding, len(last), last.step_total) == (True, 1, 1)
    assert [share for _, share, _ in last.micro(1)] == [0.0]


def test_spans_cover_everything_and_the_first_is_largest() -> None:
    for total in range(12):
        for size in range(1, 6):
            spans = [RankShare(number, size).span(total) for number in range(size)]
            places = [place for span in spans for place in range(total)[span]]
            lengths = [span.stop - span.start for span in spans]
            assert places == list(range(total))
            assert max(lengths) - min(lengths) <= 1
            assert lengths[0] == max(lengths)
