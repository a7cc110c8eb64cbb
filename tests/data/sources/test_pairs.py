"""What is an item of a data set: a tuple of two, or a dict with the usual keys."""

from collections import namedtuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from torchloupe.data.contract_choice import choose_contract
from torchloupe.data.feeds.stream import Stream
from torchloupe.data.sources import open_data
from torchloupe.data.sources.pairs import is_batch, take_pair, to_pixels
from torchloupe.errors import DataError, UsageError

Item = namedtuple("Item", ["picture", "kind"])


@pytest.mark.parametrize(
    "item",
    [
        (1, 2),
        [1, 2],
        Item(1, 2),
        {"image": 1, "label": 2},
        {"img": 1, "label": 2, "path": "a"},
        {"pixel_values": 1, "labels": 2},
        {"x": 1, "y": 2},
        {"Image": 1, "Target": 2},
        {"image": 1, "fine_label": 2},
        {"features": 1, "targets": 2},
        {"data": 1, "image": 1, "label": 2},
        {"image": 1, "labels": {"class": 2, "box": 3}},
        {"image": 1, "target": {"species": 2}},
        (1, {"label": 2, "id": 3}),
    ],
)
def test_take_pair_finds_image_and_label(item):
    assert take_pair(item) == (1, 2)


@pytest.mark.parametrize(
    "item",
    [
        7,
        (1, 2, 3),
        {"image": 1},
        {"label": 2},
        {"image": 1, "pixel_values": 1, "label": 2},
        {"image": 1, "label": 2, "target": 3},
        {"img": 1, "fine_label": 2, "coarse_label": 3},
        {"data": 1, "features": 1, "label": 2},
    ],
)
def test_take_pair_guesses_nothing(item):
    assert take_pair(item) is None


@pytest.mark.parametrize(
    ("images", "labels", "is_whole"),
    [
        (torch.zeros(2, 1, 4, 4), torch.zeros(2), True),
        ([torch.zeros(1, 4, 4)] * 2, [0, 1], True),
        ([Image.new("L", (4, 4))] * 2, [0, 1], True),
        (torch.zeros(1, 4, 4), 0, False),
        (Image.new("L", (4, 4)), torch.zeros(2), False),
        ([[0, 1], [2, 3]], [0, 1], False),
    ],
)
def test_is_batch_knows_samples_from_batches(images, labels, is_whole):
    assert is_batch(images, labels) is is_whole


class Dicts(Dataset):
    """12 samples as dicts, as Hugging Face's users have them."""

    classes = ("a", "b", "c")

    def __len__(self):
        return 12

    def __getitem__(self, row):
        return {"pixel_values": torch.full((1, 4, 4), row / 12), "labels": row % 3, "id": str(row)}


def test_datasets_and_loaders_of_dicts_are_read():
    data = open_data(Dicts())
    assert data.samples.labels.tolist() == [0, 1, 2] * 4
    assert data.reader.read(6).max() == 0.5
    loader = DataLoader(Dicts(), batch_size=5)
    data = open_data((loader, loader))
    assert (data.kind, data.reader.batch_total) == ("stream", 5)
    batches = list(Stream(data, "val", choose_contract(data), 99, 0, torch.device("cpu")))
    labels = [batch.labels.tolist() for batch in batches]
    assert labels == [
        [0, 1, 2, 0, 1],
        [2, 0, 1, 2, 0],
        [1, 2],
    ]


def test_streams_of_whole_batches_are_known_without_a_dataloader():
    class Batches:
        classes = ("a", "b")

        def __iter__(self):
            for start in (0, 4, 8):
                yield {"image": torch.full((4, 1, 6, 6), start / 12), "label": [0, 1, 0, 1]}

        def __len__(self):
            return 3

    data = open_data((Batches(), Batches()))
    assert data.reader.batch_total == 4
    stream = Stream(data, "train", choose_contract(data), 99, 0, torch.device("cpu"))
    assert stream.steps_per_epoch == 3
    assert [len(batch) for batch in stream] == [4, 4, 4]


def test_tensors_in_bf16_are_read():
    image = torch.rand(1, 3, 4).bfloat16()
    assert np.array_equal(to_pixels(image)[..., 0], image.float()[0].numpy())


def test_several_columns_of_labels_are_told_how_to_be_told_apart():
    hub = pytest.importorskip("datasets")
    images = [Image.new("RGB", (4, 4), (k, k, k)) for k in range(12)]
    table = {
        "img": images,
        "coarse_label": [k // 2 % 2 for k in range(12)],
        "fine_label": [k % 3 for k in range(12)],
    }
    dataset = hub.Dataset.from_dict(table).cast_column("img", hub.Image())
    with pytest.raises(DataError, match="row 0 is a dict with 'img'") as caught:
        open_data(dataset)
    assert "dataset.rename_column('fine_label', 'label')" in caught.value.hint
    with pytest.raises(UsageError, match="label_column=coarse_label is for tables") as caught:
        open_data(dataset, label_column="coarse_label")
    assert "dataset.rename_column('coarse_label', 'label')" in caught.value.hint
    renamed = open_data(dataset.rename_column("fine_label", "label"))
    assert renamed.samples.labels.tolist() == [k % 3 for k in range(12)]
