"""The ledger: right values at their places, the same after a resume, harmless when it fails."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stopping import StopAt
from torchloupe.data.feeds.feed import Batch
from torchloupe.data.samples import Samples, make_ids
from torchloupe.errors import CheckpointError, Terminated
from torchloupe.run.ledger import VALUES, Ledger, measure, read_ledger
from torchloupe.train.start import resume, train
from torchloupe.trained.samples import read_samples

SETTINGS = {
    "model.name": "net",
    "train.epochs": 2,
    "train.batch_total": 256,
    "train.micro_batches": 2,
    "train.log_every_steps": 1,
    "train.save_every_epochs": 0.4,
    "augment.policy": "none",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    train("digits", SETTINGS, out=out)
    return out


def table_of(count: int = 6) -> Samples:
    return Samples(make_ids(range(count)), np.arange(count) % 3, ("a", "b", "c"))


def batch_of(rows: list[int], epoch: int, samples: Samples) -> Batch:
    found = np.array(rows)
    labels = torch.from_numpy(samples.labels[found])
    return Batch(torch.zeros(len(rows), 1, 2, 2), labels, found, epoch)


def test_values_are_those_of_torch() -> None:
    logits, labels = torch.randn(5, 4), torch.tensor([0, 3, 1, 1, 2])
    values = measure(logits, labels).float()
    assert torch.allclose(
        values[:, 0], F.cross_entropy(logits, labels, reduction="none"), atol=5e-3
    )
    assert values[:, 2].tolist() == (logits.argmax(dim=1) == labels).float().tolist()
    assert ((values[:, 1] > 0) == (values[:, 2] == 1)).all()


def test_several_labels_are_right_only_together() -> None:
    logits = torch.tensor([[2.0, -1.0], [2.0, 0.5]])
    values = measure(logits, torch.tensor([[1.0, 0.0], [1.0, 0.0]])).float()
    assert values[:, 2].tolist() == [1.0, 0.0]
    assert values[:, 1].tolist() == pytest.approx([1.0, -0.5])
    assert torch.isfinite(measure(torch.full((1, 2), 1e30), torch.tensor([1]))).all()


def test_each_value_stands_at_its_sample_and_epoch(tmp_path: Path) -> None:
    samples, rows = table_of(), np.array([1, 3, 4])
    ledger = Ledger(tmp_path, samples, rows)
    ledger.begin()
    ledger.add([(batch_of([4, 1], 0, samples), torch.eye(3)[[1, 1]] * 5)])
    ledger.flush()
    ledger.add([(batch_of([3], 1, samples), torch.eye(3)[[1]] * 7)])
    ledger.flush()
    ledger.finish()
    values, index = read_ledger(tmp_path)
    assert values.shape == (2, 3, 3)
    assert index["id"].to_pylist() == ["1", "3", "4"]
    assert np.isnan(values[0, 1]).all()
    assert values[0, [0, 2], 1].tolist() == [5.0, 5.0]
    assert values[1, 1, 1:].tolist() == [-7.0, 0.0]


def test_mixed_images_and_padding_are_left_out(tmp_path: Path) -> None:
    samples = table_of()
    ledger = Ledger(tmp_path, samples, np.arange(6))
    mixed = Batch(torch.zeros(2, 1, 2, 2), torch.full((2, 3), 1 / 3), np.array([0, 1]))
    padding = Batch(torch.zeros(1, 1, 2, 2), torch.tensor([0]), np.array([0]), is_padding=True)
    ledger.add([(mixed, torch.zeros(2, 3)), (padding, torch.zeros(1, 3))])
    ledger.flush()
    assert not (tmp_path / VALUES).exists()
    with pytest.raises(CheckpointError, match=r"has no samples\.npy"):
        read_ledger(tmp_path)


def test_a_run_has_a_value_for_each_training_sample_and_epoch(run: Path) -> None:
    table = read_samples(run)
    assert table.epochs == 2
    assert np.isfinite(table.values).all()
    first, second = table.loss.astype(np.float64).mean(axis=1)
    assert second < first


@pytest.mark.parametrize("stop", [3, 6])
def test_resumed_ledger_is_bit_equal(run: Path, tmp_path: Path, stop: int) -> None:
    with pytest.raises(Terminated):
        train("digits", SETTINGS, out=tmp_path / "run", listeners=[StopAt(stop)])
    resume(tmp_path / "run")
    assert (tmp_path / "run" / VALUES).read_bytes() == (run / VALUES).read_bytes()


def test_a_damaged_or_planted_file_begins_anew(tmp_path: Path) -> None:
    samples = table_of()
    (tmp_path / "other").write_bytes(b"mine")
    for plant in (lambda p: p.write_bytes(b"junk"), lambda p: p.symlink_to(tmp_path / "other")):
        plant(tmp_path / VALUES)
        ledger = Ledger(tmp_path, samples, np.arange(6))
        ledger.go_on(0)
        ledger.add([(batch_of([0], 0, samples), torch.zeros(1, 3))])
        ledger.flush()
        ledger.finish()
        assert read_ledger(tmp_path)[0].shape == (1, 6, 3)
        (tmp_path / VALUES).unlink()
    assert (tmp_path / "other").read_bytes() == b"mine"


def test_a_disk_that_refuses_ends_the_ledger_and_not_the_run(tmp_path: Path) -> None:
    told: list[str] = []
    samples = table_of()
    ledger = Ledger(tmp_path / "gone", samples, np.arange(6), warn=told.append)
    for _ in range(2):
        ledger.add([(batch_of([0], 0, samples), torch.zeros(1, 3))])
        ledger.flush()
    assert len(told) == 1
    assert told[0].startswith("samples.npy is not written any more")
