"""Cross-validation: a run for each fold, each image tested once, and going on after a stop."""

import json
import os
import signal
from contextlib import nullcontext

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import torchloupe as loupe
from torchloupe.cli import main
from torchloupe.errors import DataError, Terminated, UsageError
from torchloupe.studies.cross_validation import cross_validate, resume_folds, train_folds
from torchloupe.trained.run import open_run

QUICK = {"model.name": "net", "train.epochs": 0.2, "data.folds": 3}


class StopAt:
    """Sends this process SIGTERM at the first log line."""

    def start(self, facts):
        pass

    def record(self, event):
        if "train_loss" in event:
            os.kill(os.getpid(), signal.SIGTERM)

    def close(self):
        pass


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train_folds("digits", QUICK, out=tmp_path_factory.mktemp("whole") / "folds")


def test_folds_test_every_image_once(whole):
    table = pq.read_table(whole.folder / "predictions.parquet").to_pydict()
    assert sorted(map(int, table["id"])) == list(range(1797))
    assert set(table["fold"]) == {1, 2, 3}
    right = sum(a == b for a, b in zip(table["label"], table["prediction"], strict=True))
    assert whole.metrics["pooled"]["count"] == 1797
    assert whole.metrics["pooled"]["accuracy"] == right / 1797
    low, high = whole.metrics["pooled"]["accuracy_ci95"]
    assert low < right / 1797 < high


def test_folds_are_runs_like_any_other_and_summed_up(whole):
    values = [open_run(run).metrics["test"]["accuracy"] for run in whole.runs]
    assert [run["accuracy"] for run in whole.metrics["runs"]] == values
    assert whole.metrics["accuracy_mean"] == pytest.approx(sum(values) / 3)
    assert json.loads((whole.folder / "folds.json").read_text()) == whole.metrics
    assert open_run(whole.runs[1]).evaluate()["accuracy"] == pytest.approx(values[1])


def test_stopped_folds_go_on_to_the_same_end(whole, tmp_path):
    with pytest.raises(Terminated) as caught:
        train_folds(
            "digits", QUICK, out=tmp_path / "folds", listening=lambda: nullcontext([StopAt()])
        )
    assert caught.value.hint == f"loupe resume {tmp_path / 'folds'} continues with all folds"
    assert not (tmp_path / "folds" / "fold-1" / "metrics.json").exists()
    done = resume_folds(tmp_path / "folds")
    for ours, theirs in zip(done.metrics["runs"], whole.metrics["runs"], strict=True):
        assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}


STOPPING = """
import os, signal
from torchloupe.model.zoo import Net

def make(in_channels, classes):
    os.kill(os.getpid(), signal.SIGTERM)
    return Net(in_channels=in_channels, classes=classes)
"""


def test_folds_stopped_before_the_first_one_name_their_folder(tmp_path, capsys):
    (tmp_path / "stopping.py").write_text(STOPPING)
    out = tmp_path / "folds"
    words = ["train", "digits", "--folds", "2", "--model", f"{tmp_path}/stopping.py:make"]
    assert main.run([*words, "--out", str(out), "--quiet"]) == 143
    assert f"hint: loupe resume {out} continues" in capsys.readouterr().err


def test_folder_of_folds_is_told_from_a_run(whole):
    with pytest.raises(UsageError) as caught:
        open_run(whole.folder)
    assert caught.value.message == (
        f"{whole.folder} is a cross-validation, which has a run for each fold"
    )
    assert caught.value.hint == f"give one of them, such as {whole.folder / 'fold-1'}"


def test_model_given_as_an_object_begins_each_fold_as_it_was(tmp_path):
    model = loupe.models.Net(in_channels=1, classes=10)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    done = cross_validate("digits", folds=2, model=model, epochs=0.1, out=tmp_path / "folds")
    assert len(done.runs) == 2
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("wrong", [{"data.folds": 1}, {"data.folds": 3, "data.fold": 4}])
def test_folds_that_make_no_sense_are_refused(wrong, tmp_path):
    with pytest.raises(UsageError, match=r"data\.folds and data\.fold"):
        train_folds("digits", {**QUICK, **wrong}, out=tmp_path / "folds")
    assert not (tmp_path / "folds").exists()


def test_more_folds_than_images_leave_no_folder(tmp_path):
    images = np.zeros((6, 8, 8), np.uint8)
    with pytest.raises(DataError, match="20 folds of 6 images leave folds empty"):
        train_folds((images, np.arange(6) % 2), {**QUICK, "data.folds": 20}, out=tmp_path / "f")
    assert not (tmp_path / "f").exists()


def test_folds_asked_of_fit_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"data\.folds=3 asks for as many runs, and this is one"):
        loupe.fit("digits", settings={"data.folds": 3}, out=tmp_path / "run")


def test_stream_can_not_be_dealt_into_folds(tmp_path):
    batches = [(torch.zeros(4, 1, 8, 8), torch.arange(4) % 2)]
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    with pytest.raises(UsageError, match="a stream has no list of images"):
        train_folds(loader, QUICK, out=tmp_path / "folds")
