"""The verdict on what limits training."""

import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from torchloupe.config.schema import DataConfig
from torchloupe.data.feeds.feed import Batch
from torchloupe.prepare.data import prepare_data
from torchloupe.speed.bottleneck import (
    Rates,
    describe_rates,
    measure_rates,
    name_bottleneck,
    time_decoding,
)


def rates(model: float, together: float) -> Rates:
    return Rates(5000.0, model, together, 400.0, 3e7, 2e9, 7e10)


@pytest.mark.parametrize(
    ("together", "where", "words"),
    [
        (950, "disk", "the model is the limit: its data take 5 % of a step"),
        (700, "memory", "data and model share the time: gathering and changing the images"),
        (300, "decoded on the fly", "the data are the limit: decoding takes 70 % of a step, on 2"),
        (300, "", "the data are the limit: your Dataset takes 70 %"),
    ],
)
def test_judge_rates_names_the_limit_and_what_would_move_it(
    together: float, where: str, words: str
) -> None:
    verdict = name_bottleneck(rates(1000, together), where=where, cores=2)
    assert verdict[0].startswith(words)
    assert len(verdict) == 2


def test_describe_rates_leaves_out_decoding_where_nothing_is_decoded() -> None:
    assert "decoding, one core" in dict(describe_rates(rates(1000, 900)))
    nothing = Rates(1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0)
    assert "decoding, one core" not in dict(describe_rates(nothing))


def test_measure_rates_tells_slow_data_from_a_slow_model() -> None:
    batch = Batch(torch.zeros(8, 1, 2, 2), torch.zeros(8, dtype=torch.long), np.arange(8))

    def batches(seconds: float) -> Iterator[Batch]:
        while True:
            time.sleep(seconds)
            yield batch

    slow_data = measure_rates(
        lambda: batches(0.03), lambda _: time.sleep(0.002), (0.0, 0.0), seconds=0.2
    )
    assert slow_data.data_fraction > 0.5
    slow_model = measure_rates(
        lambda: batches(0.0), lambda _: time.sleep(0.02), (0.0, 0.0), seconds=0.2
    )
    assert slow_model.data_fraction < 0.3
    assert slow_model.copy_bytes > 1e8
    assert slow_model.flops > 1e8


def test_time_decoding_counts_files_only(tmp_path) -> None:
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(4):
            pixels = np.random.default_rng(number).integers(0, 255, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    run_data = prepare_data(str(tmp_path), DataConfig(pack="memory"), seed=0)
    images, size = time_decoding(run_data.source.reader.read, range(8), run_data.contract)
    assert images > 0
    assert size > 1000 * images  # noise does not compress
    digits = prepare_data("digits", DataConfig(), seed=0)
    assert time_decoding(digits.source.reader.read, range(4), digits.contract) == (0.0, 0.0)
