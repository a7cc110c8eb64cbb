"""A finished run from Python: predictions in every form, and its history as columns."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

import torchloupe as loupe
from torchloupe.data.sources import open_data
from torchloupe.errors import DataError
from torchloupe.trained.prediction import Prediction
from torchloupe.trained.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A short run on digits."""
    folder = tmp_path_factory.mktemp("run") / "net"
    settings = {"train.evaluate_every_epochs": 0.5}
    return loupe.fit("digits", model="net", epochs=1, out=folder, settings=settings)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Forty digits, uint8 [N, H, W, C]."""
    reader = open_data("digits").reader
    return np.stack([reader.read(row) for row in range(40)])


def test_one_image_gives_one_prediction_and_a_list_gives_a_list(run: Run, tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    one = run.predict(tmp_path / "a.png")
    assert isinstance(one, Prediction)
    assert one.path == str(tmp_path / "a.png")
    assert run.predict([tmp_path / "a.png"]) == [one]
    assert run.predict(tmp_path) == [one]
    assert run.predict(tmp_path / "a.png", tmp_path / "a.png") == [one, one]
    assert run.predict(str(tmp_path / "a.png"), top=1).probabilities == {one.label: one.confidence}


def test_all_forms_of_the_same_images_give_the_same_predictions(
    run: Run, images: np.ndarray
) -> None:
    wanted = [run.predict(image) for image in images]
    tensor = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    dataset = TensorDataset(tensor, torch.arange(len(tensor)))
    for source in (
        images,
        images[..., 0],
        tensor,
        list(images),
        [Image.fromarray(image[..., 0]) for image in images],
        dataset,
        DataLoader(dataset, batch_size=16),
        (image for image in images),
    ):
        found = run.predict(source)
        assert [(one.label, one.confidence) for one in found] == [
            (one.label, one.confidence) for one in wanted
        ]
        assert [one.path for one in found] == [f"image {k}" for k in range(len(images))]
    assert run.predict(dataset[0]) == wanted[0]
    assert run.predict(next(iter(DataLoader(dataset, batch_size=3))))[2].label == wanted[2].label


def test_predict_refuses_arrays_of_another_kind_in_two_lines(run: Run) -> None:
    with pytest.raises(DataError) as caught:
        run.predict(torch.rand(4, 1, 8, 8))
    assert caught.value.message == (
        "image 0 can't be used: pixels of type float32; the model takes whole numbers 0 to 255"
    )
    assert caught.value.hint == (
        "the model was trained on 8 x 8 pixels of 1 channel, whole numbers from 0 to 255"
    )


def test_predict_of_nothing_is_refused(run: Run, tmp_path: Path) -> None:
    for nothing in ([], tmp_path, torch.zeros(0, 1, 8, 8), iter(())):
        with pytest.raises(DataError) as caught:
            run.predict(nothing)
        assert caught.value.message == "there are no images to predict"


def test_a_file_that_cannot_be_read_is_a_prediction_with_its_reason(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("no image")
    found = run.predict([tmp_path / "text.png", np.zeros((8, 8), np.uint8)])
    assert found[0].error
    assert found[0].label == ""
    assert found[1].error == ""
    assert run.predict(b"no image").error == found[0].error


def test_history_has_the_numbers_of_the_events_as_columns(run: Run) -> None:
    history = run.history
    assert list(history)[:7] == [
        *("step", "epoch", "seconds", "train_loss", "lr", "val_loss", "val_accuracy"),
    ]
    assert {"grad_norm", "images_per_second", "best"} <= set(history)
    assert len({len(column) for column in history.values()}) == 1
    assert list(history["step"]) == sorted({e["step"] for e in run.events if "seconds" in e})
    for name in ("train_loss", "lr", "val_accuracy"):
        measured = history[name][~np.isnan(history[name])]
        assert list(measured) == [event[name] for event in run.events if name in event]
    assert history["best"].sum() == sum(bool(event.get("best")) for event in run.events)
