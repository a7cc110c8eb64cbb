"""A finished run from Python: predictions in every form, and its history as columns."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset
from torchvision import transforms

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


def fit_floats(folder: Path, tensors: torch.Tensor) -> Run:
    data = TensorDataset(tensors, torch.arange(len(tensors)) % 3)
    return loupe.fit(data, model="net", epochs=1, out=folder, settings={"train.report": False})


def test_images_are_refused_where_how_float_tensors_were_made_is_unknown(tmp_path: Path) -> None:
    tensors = torch.randn(48, 1, 8, 8)
    run = fit_floats(tmp_path / "run", tensors)
    for label in "01":
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(2):
            path = tmp_path / "photos" / label / f"{number}.png"
            Image.new("L", (8, 8), 90 * number).save(path)
    picture = Image.new("L", (8, 8))
    asked = [
        lambda: run.predict(path),
        lambda: run.predict(path.read_bytes()),
        lambda: run.predict(picture),
        lambda: run.predict([picture, picture]),
        lambda: run.predict(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)),
        lambda: run.look(path),
        lambda: run.look(np.asarray(picture)),
        lambda: run.evaluate(tmp_path / "photos"),
        lambda: run.evaluate((np.zeros((4, 8, 8), np.uint8), np.arange(4) % 3)),
        lambda: run.evaluate([(picture, 0), (picture, 1)]),
    ]
    for ask in asked:
        with pytest.raises(DataError, match="how these were made of images is not known") as caught:
            ask()
        assert "give it tensors made in the same way" in str(caught.value.hint)
    assert len(run.predict(tensors)) == 48
    assert run.predict(TensorDataset(tensors, torch.zeros(48)))[3] == run.predict(tensors)[3]


def test_images_become_the_tensors_that_a_run_was_trained_on_where_these_prove_it(
    tmp_path: Path, images: np.ndarray
) -> None:
    chain = transforms.Compose([transforms.ToTensor(), transforms.Normalize(0.1307, 0.3081)])
    pictures = [Image.fromarray(image[..., 0] * 15 + 3) for image in images]
    tensors = torch.stack([chain(picture) for picture in pictures])
    run = fit_floats(tmp_path / "run", tensors)
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / f"{number}.png")
    files = [tmp_path / f"{number}.png" for number in range(len(pictures))]
    wanted = [one.probabilities for one in run.predict(tensors)]
    assert [one.probabilities for one in run.predict(files)] == wanted
    assert [one.probabilities for one in run.predict(pictures)] == wanted
    Image.new("L", (20, 20)).save(files[0])
    assert run.predict(files[0]).error.startswith("an image of 20 x 20 pixels, and the run was")


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
