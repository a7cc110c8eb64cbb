"""What a finished run hands to trackers: its metrics and pictures of them."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import torchloupe as loupe
from torchloupe.prepare.data import prepare_data
from torchloupe.trained.results import collect_results, find_mistakes
from torchloupe.trained.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that hardly learned anything, so that it makes mistakes."""
    folder = tmp_path_factory.mktemp("results") / "run"
    return loupe.fit("digits", model="net", epochs=0.2, out=folder)


def test_results_have_the_metrics_and_pictures_of_confusion_and_mistakes(run: Run) -> None:
    run_data = prepare_data("digits", run.config.data, seed=0, contract=run.contract)
    event = collect_results(run.folder, run_data)
    assert event["results"] == json.loads((run.folder / "metrics.json").read_text())
    assert sorted(event["images"]) == ["confusion", "mistakes"]
    assert all(image.dtype == np.uint8 for image in event["images"].values())


def test_mistakes_are_the_most_confident_wrong_predictions(run: Run) -> None:
    run_data = prepare_data("digits", run.config.data, seed=0, contract=run.contract)
    found = list(find_mistakes(run.folder / "predictions.parquet", run_data, most=3))
    rows = pq.read_table(run.folder / "predictions.parquet").to_pylist()
    wrong = sorted(
        (r for r in rows if r["label"] != r["prediction"]), key=lambda r: -r["confidence"]
    )
    assert [(m.label, m.prediction, m.confidence) for m in found] == [
        (row["label"], row["prediction"], row["confidence"]) for row in wrong[:3]
    ]
    assert found[0].pixels.shape == (8, 8, 3)


def test_images_that_are_gone_are_left_out_of_the_mistakes(tmp_path: Path) -> None:
    for name in ("ant", "bee"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(10):
            Image.new("L", (8, 8), 20 * k).save(tmp_path / "photos" / name / f"{k}.png")
    settings = {"data.pack": "memory", "train.epochs": 0.1, "model.name": "net"}
    run = loupe.fit(tmp_path / "photos", out=tmp_path / "run", settings=settings)
    run_data = prepare_data(tmp_path / "photos", run.config.data, seed=0, contract=run.contract)
    before = list(find_mistakes(run.folder / "predictions.parquet", run_data))
    assert before
    for file in (tmp_path / "photos").rglob("*.png"):
        file.unlink()
    assert list(find_mistakes(run.folder / "predictions.parquet", run_data)) == []
