"""What a run gives for its splits: the numbers that it wrote, and confidences by its contract."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import torchloupe as loupe
from torchloupe.errors import DataError, UsageError
from torchloupe.evaluation.calibration import fit_temperature
from torchloupe.trained.outputs import collect_outputs, open_run_data, require_val


@pytest.fixture(scope="module")
def run(noisy_run: Path) -> loupe.Run:
    return loupe.open_run(noisy_run, device="cpu")


def test_temperature_of_the_contract_is_that_of_val(run: loupe.Run) -> None:
    run_data = open_run_data(run.folder, run.config, run.contract)
    val = collect_outputs(run.model, run_data, "val", run.config)
    temperature = run.contract.temperature
    assert temperature == fit_temperature(val.logits, val.labels) != 1.0
    for split in ("val", "test"):
        found = run.metrics[split]["calibration"]
        assert found["temperature"] == temperature
    val_errors = run.metrics["val"]["calibration"]
    # The image that temperature is fitted with besides may cost a thousandth.
    assert val_errors["after"]["nll"] < val_errors["before"]["nll"] + 0.001


def test_written_predictions_are_calibrated_and_those_of_predict(run: loupe.Run) -> None:
    run_data = open_run_data(run.folder, run.config, run.contract)
    test = collect_outputs(run.model, run_data, "test", run.config)
    table = pq.read_table(run.folder / "predictions.parquet")
    p = np.array(table["probabilities"].to_pylist(), np.float32)
    assert np.array_equal(p, test.probabilities(run.contract.temperature))
    images = np.load(run.folder.parent / "data.npz")["images"]
    found = run.predict([images[int(name)] for name in table["id"].to_pylist()], top=3)
    assert [one.label for one in found] == table["prediction"].to_pylist()
    assert [one.confidence for one in found] == pytest.approx(table["confidence"].to_pylist())


def test_raw_predictions_leave_out_temperature_and_threshold(run: loupe.Run) -> None:
    image = np.load(run.folder.parent / "data.npz")["images"][0]
    sure = replace(run.contract, threshold=0.999999)
    run = loupe.Run(run.folder, run.model, sure, run.config, run.step)
    calibrated, raw = run.predict(image, top=3), run.predict(image, top=3, raw=True)
    assert (calibrated.unsure, raw.unsure) == (True, None)
    assert calibrated.label == raw.label
    t = run.contract.temperature
    expected = np.array(list(raw.probabilities.values())) ** (1 / t)
    found = list(calibrated.probabilities.values())
    assert found == pytest.approx(list(expected / expected.sum()), abs=1e-5)
    assert run.probabilities(image[None, ..., None], raw=True).max() == raw.confidence
    assert run.probabilities(image[None, ..., None]).max() == calibrated.confidence


def test_views_average_the_logits(run: loupe.Run) -> None:
    image = np.load(run.folder.parent / "data.npz")["images"][0]
    flipped = [run.predict(side, top=3, views="flip") for side in (image, image[:, ::-1].copy())]
    assert flipped[0].probabilities == pytest.approx(flipped[1].probabilities, abs=1e-6)
    assert flipped[0].probabilities != run.predict(image, top=3).probabilities
    assert run.evaluate(views="ten")["count"] == run.metrics["test"]["count"]
    with pytest.raises(UsageError, match="views are one, flip, five, ten, got 'two'"):
        run.predict(image, views="two")


def test_run_without_val_is_not_calibrated_and_says_so(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 255, (60, 8, 8), dtype=np.uint8), np.arange(60) % 2
    run = loupe.fit(
        (images, labels),
        model="cnn",
        epochs=1,
        out=tmp_path / "run",
        settings={"data.val_fraction": 0.0},
    )
    notes = [event["note"] for event in run.events if "note" in event]
    assert "there is no val split, so confidences are not calibrated (temperature 1)" in notes
    assert run.contract.temperature == 1.0
    assert json.loads((tmp_path / "run" / "contract.json").read_text())["temperature"] == 1.0


def test_run_without_val_and_test_has_no_accuracy_and_says_so(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (40, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", images=images, labels=np.arange(40) % 2)
    none = {"data.val_fraction": 0.0, "data.test_fraction": 0.0}
    source = tmp_path / "data.npz"
    run = loupe.fit(source, model="cnn", epochs=1, out=tmp_path / "run", settings=none)
    with pytest.raises(DataError, match="this run has no test and no val images to evaluate on"):
        run.evaluate()
    assert "No val or test images were evaluated, so there is no accuracy." in run._repr_html_()


def test_a_decision_needs_val(run: loupe.Run) -> None:
    run_data = open_run_data(run.folder, run.config, run.contract)
    require_val(run_data)
    empty = replace(run_data.splits, val=run_data.splits.val[:0])
    with pytest.raises(DataError, match="no val split to decide on"):
        require_val(replace(run_data, splits=empty))


def test_float_datasets_are_normalised_for_a_model_of_float_arrays(tmp_path: Path) -> None:
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8).astype(np.float32)[:300] * 3 + 20
    run = loupe.fit((images, labels[:300]), epochs=2, out=tmp_path / "run")
    tensors = TensorDataset(torch.from_numpy(images)[:, None], torch.from_numpy(labels[:300]))
    expected = run.evaluate((images, labels[:300]))
    for data in (tensors, DataLoader(tensors, 50), DataLoader(tensors, 50, shuffle=True)):
        found = run.evaluate(data)
        assert found["loss"] == pytest.approx(expected["loss"], abs=1e-5)
        assert found["accuracy"] == expected["accuracy"]
