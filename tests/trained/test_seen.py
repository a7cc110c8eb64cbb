"""Evaluating a run on its own training images is told, whatever names they have now."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import torchloupe as loupe


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> loupe.Run:
    folder, random = tmp_path_factory.mktemp("seen"), np.random.default_rng(0)
    for number in range(40):
        path = folder / f"photos/{'cat' if number % 2 else 'dog'}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (8, 8), np.uint8)).save(path)
    return loupe.fit(folder / "photos", model="cnn", epochs=1, out=folder / "run", device="cpu")


def test_own_training_images_are_counted_and_left_out(run: loupe.Run) -> None:
    photos = run.folder.parent / "photos"
    found = run.evaluate(photos)
    trained = len(run.samples)
    assert (found["count"], found["seen_count"]) == (40, trained)
    assert any(f"{trained} of these 40 images are training images" in n for n in found["notes"])
    assert 0 <= found["unseen_accuracy"] <= 1
    (run.folder / "samples.parquet").rename(run.folder / "hidden")  # as after --strategy head
    try:
        tested = run.metrics["test"]["count"]
        assert run.evaluate(photos)["seen_count"] == 40 - tested
    finally:
        (run.folder / "hidden").rename(run.folder / "samples.parquet")


def test_renamed_copies_are_found_and_other_images_are_not(run: loupe.Run, tmp_path: Path) -> None:
    name = str(run.samples.ids[0])
    copy = tmp_path / "copies" / name.partition("/")[0] / "other name.png"
    copy.parent.mkdir(parents=True)
    copy.write_bytes((run.folder.parent / "photos" / name).read_bytes())
    found = run.evaluate(tmp_path / "copies")
    assert found["seen_count"] == 1 and found["unseen_accuracy"] is None
    assert "says nothing about new images" in found["notes"][-1]
    Image.fromarray(np.full((8, 8), 7, np.uint8)).save(copy)
    assert "seen_count" not in run.evaluate(tmp_path / "copies")
    assert "seen_count" not in run.evaluate()


def test_items_without_content_are_compared_by_names_only(run: loupe.Run) -> None:
    class Items:
        """Row numbers are its ids, which say nothing of which images these are."""

        classes = ("cat", "dog")

        def __len__(self) -> int:
            return 4

        def __getitem__(self, row: int) -> Any:
            if row >= 4:
                raise IndexError(row)
            return np.full((8, 8), row, np.uint8), row % 2

    assert "seen_count" not in run.evaluate(Items())


def test_an_export_in_its_run_knows_too(run: loupe.Run) -> None:
    exported = loupe.open_export(run.export(to="onnx"))
    found = exported.evaluate(run.folder.parent / "photos")
    assert found["seen_count"] == len(run.samples)
