"""A user's own datasets: labels found without reading where possible, classes aligned by name."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from torchloupe.data.contract_choice import choose_contract
from torchloupe.data.sources import open_data
from torchloupe.data.sources.dataset_labels import class_number, known_labels, names_of
from torchloupe.data.sources.pairs import to_pixels
from torchloupe.errors import DataError, LoupeError, UsageError


class Own(Dataset):
    """Six small images; counts how many are read."""

    def __init__(self, given=(0, 1, 2, 0, 1, 2), /, **attributes):
        self.given = given
        self.reads = 0
        for name, value in attributes.items():
            setattr(self, name, value)

    def __len__(self):
        return len(self.given)

    def __getitem__(self, row):
        self.reads += 1
        return torch.full((3, 4, 5), float(row)), self.given[row]


def fail(source, **options):
    with pytest.raises(LoupeError) as caught:
        open_data(source, **options)
    return caught.value


@pytest.mark.parametrize("attribute", ["targets", "labels"])
@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_datasets_tell_labels_without_being_read(attribute, kind):
    own = Own(**{attribute: kind([0, 1, 2, 0, 1, 2])})
    data = open_data(own)
    assert (data.name, data.kind, data.given) == ("Own", "dataset", None)
    assert data.samples.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert data.samples.class_names == ("0", "1", "2")
    assert data.samples.ids.tolist() == ["0", "1", "2", "3", "4", "5"]
    assert own.reads == 3 + 8  # first, middle and last; four rows twice, to check
    assert data.notes == ()
    assert data.reader.dataset is own


def test_datasets_are_read_once_when_they_tell_nothing():
    own = Own()
    data = open_data(own)
    assert own.reads == 6 + 8
    assert data.samples.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert data.notes == (
        "dataset: all 6 samples were read once to learn their labels; "
        "a `targets` attribute avoids that",
    )


@pytest.mark.parametrize(
    "attributes",
    [
        {"targets": [2, 2, 2, 2, 2, 2]},
        {"targets": ["a", "b", "c", "a", "b", "c"]},
        {"labels": [0, 1]},
        {"labels": "abcdef"},
        {"targets": None},
        {"targets": [[0], [1, 2]]},
        {"targets": [0, 1, 2, 0, 1, 2], "target_transform": int},
    ],
)
def test_datasets_are_read_when_what_they_tell_is_something_else(attributes):
    own = Own(**attributes)
    assert open_data(own).samples.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert own.reads >= 6


@pytest.mark.parametrize(
    "labels",
    [
        [torch.tensor(1), torch.tensor(0)],
        [np.int8(1), np.int64(0)],
        [np.array([1]), np.array([0])],
        [True, False],
        [1.0, 0.0],
    ],
)
def test_datasets_may_give_labels_of_many_types(labels):
    data = open_data(Own(labels))
    assert data.samples.labels.tolist() == [1, 0]
    assert data.samples.labels.dtype == np.int64


def test_datasets_may_give_several_labels():
    data = open_data(Own([torch.tensor([1.0, 0, 1]), torch.tensor([0.0, 0, 0])]))
    assert data.samples.is_multi_label
    assert data.samples.labels.tolist() == [[1, 0, 1], [0, 0, 0]]
    assert data.samples.class_names == ("0", "1", "2")


def test_known_labels_look_into_subsets_and_unions():
    pixels = torch.zeros(6, 1, 4, 4)
    whole = TensorDataset(pixels, torch.arange(6))
    assert known_labels(whole).tolist() == [0, 1, 2, 3, 4, 5]
    assert known_labels(Subset(whole, [5, 1])).tolist() == [5, 1]
    assert known_labels(ConcatDataset([whole, Subset(whole, [2])])).tolist() == [
        0,
        1,
        2,
        3,
        4,
        5,
        2,
    ]
    assert known_labels(ConcatDataset([whole, Own()])) is None
    assert known_labels([(None, 3), (None, 4)]).tolist() == [3, 4]
    assert known_labels(TensorDataset(pixels)) is None


def test_names_of_looks_into_subsets_and_unions():
    own = Own(classes=["a", "b", "c"])
    assert names_of(Subset(own, [1])) == ("a", "b", "c")
    assert names_of(ConcatDataset([own, own])) == ("a", "b", "c")
    assert names_of(ConcatDataset([own, Own(classes=["b", "a", "c"])])) == ()
    assert names_of(Own(classes=lambda: 3)) == ()
    assert names_of(Own(classes=["a", "a"])) == ()
    assert names_of(Own()) == ()


UNUSED = (
    "the labels of the items are not the dataset's own numbers, so its class names ('a', 'b', 'c') "
    "are not used: classes are numbers; data.class_names=... names them"
)


@pytest.mark.parametrize(
    "attributes",
    [
        {"targets": [2, 1, 0, 2, 1, 0], "target_transform": lambda k: 2 - k},
        {"targets": torch.tensor([2, 1, 0] * 2), "target_transform": lambda k: 2 - k},
        {"targets": [2, 1, 0, 2, 1, 0]},
        {"labels": [0, 1, 2, 0, 1, 1]},
        {"target_transform": lambda k: k},  # of numbers that are not known
    ],
)
def test_datasets_whose_items_have_other_labels_are_not_named(attributes):
    own = Own(classes=["a", "b", "c"], **attributes)
    for dataset in (own, Subset(own, range(6)), ConcatDataset([own, own])):
        data = open_data(dataset)
        assert data.samples.class_names == ("0", "1", "2")
        assert UNUSED in data.notes
    data = open_data(own, class_names=("c", "b", "a"))
    assert data.samples.class_names == ("c", "b", "a")
    assert UNUSED not in data.notes
    data = open_data((own, Own(classes=["a", "b", "c"])))
    assert data.samples.class_names == ("0", "1", "2")


@pytest.mark.parametrize(
    "transform", [None, int, lambda k: torch.nn.functional.one_hot(torch.tensor(k), 3)]
)
def test_datasets_are_named_where_a_transform_keeps_their_numbers(transform):
    own = Own(classes=["a", "b", "c"], targets=[0, 1, 2] * 2, target_transform=transform)
    data = open_data(own)
    assert data.samples.class_names == ("a", "b", "c")
    assert UNUSED not in data.notes


def test_datasets_with_texts_for_numbers_are_named_by_them():
    own = Own(["b", "a", "c"], classes=["c", "b", "a"], targets=[1, 2, 0])
    own.target_transform = own.classes.__getitem__
    assert open_data(own).samples.class_names == ("c", "b", "a")


def test_datasets_with_several_inputs_are_refused_in_two_lines():
    class Several(Own):
        def __getitem__(self, row):
            image, label = super().__getitem__(row)
            return (image, torch.zeros(3)), label

    with pytest.raises(DataError, match="an image is a tuple of 2, and a model takes") as caught:
        choose_contract(open_data(Several()))
    assert str(caught.value.hint).startswith("let __getitem__ return image, label")


def test_datasets_give_class_names():
    assert open_data(Own(classes=["x", "y", "z"])).samples.class_names == ("x", "y", "z")
    assert open_data(Own(), class_names=("x", "y", "z", "w")).samples.class_names == tuple("xyzw")


def test_datasets_of_splits_are_one_table():
    train, val = Own(targets=[0, 1, 2, 0, 1, 2]), Own([0, 1], targets=[0, 1])
    data = open_data((train, val))
    assert data.given.tolist() == [0] * 6 + [1] * 2
    assert data.samples.ids[[0, 6]].tolist() == ["train/0", "val/0"]
    assert data.reader.dataset[7][0].max() == 1
    assert data.notes == ("val has no image of '2'",)
    same = open_data({"test": val, "train": train, "val": None})
    assert same.given.tolist() == [0] * 6 + [2] * 2


def test_datasets_align_classes_by_name_between_splits():
    train = Own(targets=[0, 1, 2, 0, 1, 2], classes=["ant", "bee", "cow"])
    val = Own([0, 1, 0], targets=[0, 1, 0], classes=["cow", "ant"])
    data = open_data((train, val))
    assert data.samples.class_names == ("ant", "bee", "cow")
    assert data.samples.labels.tolist() == [0, 1, 2, 0, 1, 2, 2, 0, 2]
    assert [data.reader.dataset[row][1] for row in (6, 7, 8)] == [2, 0, 2]
    assert pickle.loads(pickle.dumps(data.reader.dataset))[6][1] == 2  # workers get it this way


def test_datasets_refuse_a_class_that_train_lacks():
    train = Own(targets=[0, 1, 2, 0, 1, 2], classes=["ant", "bee", "cow"])
    error = fail((train, Own([0, 1], classes=["ant", "zebra"])))
    assert error.message == "val has classes that train lacks: 'zebra'"
    error = fail((Own([0, 1]), Own([0, 2])))
    assert error.message == "val has a class that train lacks: '2'"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ((0, -1), "dataset: row 1 has label -1, below 0"),
        ((0, 0.5), "dataset: labels can't be used: found 0.5, not a whole number"),
        ((1, "dog"), "dataset: labels can't be used: found '1'"),
        ((None, 1), "dataset: labels can't be used: found 'None'"),
        (([0, 1], [0, 1, 0.5]), "dataset: labels can't be used: "),
        (([0, 3], [0, 1]), "dataset: labels can't be used: found labels of shape [2] an image"),
    ],
)
def test_datasets_refuse_labels(labels, message):
    error = fail(Own(labels))
    assert isinstance(error, DataError)
    assert error.message.startswith(message)


def test_datasets_refuse_more_labels_than_names():
    error = fail(Own(classes=["a", "b"]))
    assert error.message == "labels go up to 2, and there are 2 class names: 'a', 'b'"
    error = fail(Own(classes=["a", "b", "c"]), class_names=("c", "b", "a"))
    assert isinstance(error, UsageError)


class Items(Own):
    """Gives whatever it was made of."""

    def __getitem__(self, row):
        item = self.given[row]
        if isinstance(item, Exception):
            raise item
        return item


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ((1, 2, 3), "dataset: row 1 is a tuple of 3; wanted a pair (image, label)"),
        ({"image": 1, "mask": 2},
         "dataset: row 1 is a dict with 'image', 'mask'; wanted a pair (image, label)"),
        ({"image": 1, "pixel_values": 1, "label": 2},
         "dataset: row 1 is a dict with 'image', 'pixel_values', 'label'; wanted a pair "
         "(image, label)"),
        (7, "dataset: row 1 is a int; wanted a pair (image, label)"),
        (KeyError("x\ny"), "dataset: row 1 can't be read: KeyError: 'x\\ny'"),
    ],
)  # fmt: skip
def test_datasets_name_the_row_of_a_bad_item(item, message):
    error = fail(Items([(torch.zeros(3, 4, 4), 0), item, (torch.zeros(3, 4, 4), 1)]))
    assert isinstance(error, DataError)
    assert error.message == message


def test_datasets_may_be_plain_lists():
    data = open_data([(np.zeros((4, 4), np.uint8), 0), (np.ones((4, 4), np.uint8), 1)] * 3)
    assert data.samples.labels.tolist() == [0, 1] * 3
    assert data.reader.read(1).shape == (4, 4, 1)


def test_datasets_stamps_are_never_the_same():
    assert open_data(Own()).stamp != open_data(Own()).stamp


@pytest.mark.parametrize(
    ("image", "shape", "dtype", "value"),
    [
        (Image.new("L", (5, 4), 7), (4, 5, 1), np.uint8, 7),
        (Image.new("RGB", (5, 4), (7, 7, 7)), (4, 5, 3), np.uint8, 7),
        (Image.new("RGBA", (5, 4), (7, 7, 7, 7)), (4, 5, 4), np.uint8, 7),
        (Image.new("1", (5, 4), 1), (4, 5, 1), np.uint8, 255),
        (Image.new("P", (5, 4), 0), (4, 5, 3), np.uint8, 0),
        (Image.new("CMYK", (5, 4), (0, 0, 0, 0)), (4, 5, 3), np.uint8, 255),
        (torch.full((4, 5), 0.5), (4, 5, 1), np.float32, 0.5),
        (torch.full((3, 4, 5), 7, dtype=torch.uint8), (4, 5, 3), np.uint8, 7),
        (torch.full((3, 4, 3), 0.5, requires_grad=True), (4, 3, 3), np.float32, 0.5),
        (torch.full((5, 4, 3), 0.5), (5, 4, 3), np.float32, 0.5),
        (torch.full((9, 4, 5), 0.5), (4, 5, 9), np.float32, 0.5),
        (np.full((4, 5, 3), 7, np.int64), (4, 5, 3), np.uint8, 7),
        (np.full((4, 5, 3), 700, np.int64), (4, 5, 3), np.float32, 700),
        (np.full((3, 4, 5), 7, np.uint8), (4, 5, 3), np.uint8, 7),
        (np.full((3, 4, 3), 7, np.uint8), (3, 4, 3), np.uint8, 7),
        (np.full((4, 5), True), (4, 5, 1), np.uint8, 255),
        (np.full((4, 5), 0.25), (4, 5, 1), np.float32, 0.25),
    ],
)
def test_to_pixels_gives_height_width_channels(image, shape, dtype, value):
    pixels = to_pixels(image)
    assert pixels.shape == shape
    assert pixels.dtype == dtype
    assert (pixels == value).all()


@pytest.mark.parametrize(
    "image", [None, "x", torch.zeros(3), np.zeros((0, 4)), np.zeros((1, 2, 3, 4))]
)
def test_to_pixels_refuses_what_is_no_picture(image):
    with pytest.raises(DataError, match="is not an image"):
        to_pixels(image)


def test_datasets_with_one_hot_labels_have_class_numbers():
    labels = [torch.eye(3)[k] for k in (0, 2, 1, 2)]
    data = open_data(Own(labels))
    assert not data.samples.is_multi_label
    assert data.samples.labels.tolist() == [0, 2, 1, 2]
    data = open_data(Own([torch.eye(4)[0], torch.eye(4)[1]]))
    assert data.samples.class_names == ("0", "1", "2", "3")
    pair = (Own(labels, classes=["a", "b", "c"]), Own(labels[:2], classes=["c", "b", "a"]))
    data = open_data(pair)
    assert data.samples.labels.tolist() == [0, 2, 1, 2, 2, 0]
    assert [data.reader.dataset[row][1] for row in (4, 5)] == [2, 0]


def test_datasets_refuse_probabilities():
    error = fail(Own([torch.tensor([0.9, 0.1]), torch.tensor([0.25, 0.75])]))
    assert isinstance(error, DataError)
    assert error.message == (
        "dataset: the labels of an image are probabilities that sum to 1, and its class is unknown"
    )
    assert error.hint == (
        "return the class number; use loss.smoothing, augment.mixup or augment.cutmix for soft "
        "labels"
    )


def test_datasets_that_count_from_one_are_noted_and_can_be_shifted():
    data = open_data(Own([1, 2, 3, 1]))
    assert data.samples.class_names == ("0", "1", "2", "3")
    assert data.notes[1] == (
        "labels run from 1 to 3: class '0' has no image; data.class_names=1,2,3 leaves it out"
    )
    data = open_data(Own([1, 2, 3, 1]), class_names=("1", "2", "3"))
    assert data.samples.class_names == ("1", "2", "3")
    assert data.samples.labels.tolist() == [0, 1, 2, 0]
    assert [data.reader.dataset[row][1] for row in range(4)] == [0, 1, 2, 0]
    error = fail(Own([1, 2, 3, 1], classes=["a", "b", "c"]))
    assert error.message == "labels go up to 3, and there are 3 class names: 'a', 'b', 'c'"
    assert error.hint == "count labels from 0 and not from 1: let the dataset give label - 1"


def test_datasets_that_are_joined_have_their_classes_aligned_by_name():
    first = Own([0, 1], targets=[0, 1], classes=["ant", "cow"])
    second = Own([0, 1, 2], targets=[0, 1, 2], classes=["ant", "bee", "cow"])
    for joined in (
        ConcatDataset([first, second]),
        Subset(ConcatDataset([first, second]), range(5)),
    ):
        data = open_data(joined)
        assert data.samples.class_names == ("ant", "bee", "cow")
        assert data.samples.labels.tolist() == [0, 2, 0, 1, 2]
        assert [data.reader.dataset[row][1] for row in range(5)] == [0, 2, 0, 1, 2]
    third = Own([0, 0], targets=[0, 0], classes=["dog"])
    data = open_data(ConcatDataset([third, first]))
    assert data.samples.class_names == ("ant", "cow", "dog")
    assert data.samples.labels.tolist() == [2, 2, 0, 1]


def test_datasets_that_are_joined_must_all_name_their_classes():
    named = Own([0, 1], targets=[0, 1], classes=["ant", "cow"])
    error = fail(ConcatDataset([named, Own([0, 1])]))
    assert error.message == (
        "a ConcatDataset joins a dataset that names its classes ('ant', 'cow') and one that "
        "doesn't: whether their numbers mean the same classes is unknown"
    )
    assert error.hint == (
        "give each of them a `classes` attribute, and no target_transform that changes numbers"
    )


class Hub:
    """Behaves like a `datasets.Dataset`: features, column_names, rows as dicts."""

    def __init__(self, labels, names=("cat", "dog")):
        self.rows = list(labels)
        self.features = {"image": object(), "label": type("ClassLabel", (), {"names": list(names)})}
        self.column_names = list(self.features)
        self.reads = 0

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, key):
        if key == "label":
            return self.rows
        self.reads += 1
        return {"image": Image.new("L", (4, 4), self.rows[key]), "label": self.rows[key]}


def test_datasets_of_hugging_face_give_names_and_labels_without_images():
    hub = Hub([0, 1, 1, 0, 1, 0])
    data = open_data(hub)
    assert (data.kind, data.notes, hub.reads) == ("dataset", (), 3 + 8)
    assert data.samples.class_names == ("cat", "dog")
    assert data.samples.labels.tolist() == [0, 1, 1, 0, 1, 0]
    assert data.reader.read(1).max() == 1
    data = open_data({"train": hub, "validation": Hub([1, 0]), "test": Hub([0, 1])})
    assert data.given.tolist() == [0] * 6 + [1, 1, 2, 2]


def test_datasets_of_medmnist_give_their_class_names():
    names = {"1": "tumor", "0": "normal"}
    labels = np.array([[0], [1], [1]])
    data = open_data(Own(list(labels), labels=labels, info={"label": names}))
    assert data.samples.class_names == ("normal", "tumor")
    assert data.samples.labels.tolist() == [0, 1, 1]


class Triples(Own):
    """An image, its label and its name."""

    def __getitem__(self, row):
        return (*super().__getitem__(row), f"{row}.png")


@pytest.mark.parametrize("attributes", [{}, {"targets": [0, 1, 2, 0, 1, 2]}])
def test_datasets_may_give_more_than_image_and_label(attributes):
    own = Triples(**attributes)
    data = open_data(own)
    assert data.samples.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert data.notes[0] == (
        "items hold 3 values: the first is taken as the image, the second as its label, and the "
        "rest is not used"
    )
    assert own.reads == (3 if attributes else 6) + 8


def test_datasets_whose_second_value_is_no_label_are_refused():
    error = fail(Triples((5, 3, 4, 0, 1, 2)))
    assert error.message.startswith("dataset: items hold more than an image and a label, and each")

    class Pairs(Own):
        def __getitem__(self, row):
            image, label = super().__getitem__(row)
            return image, image, label

    assert "wanted a pair (image, label)" in fail(Pairs()).message


def test_datasets_may_give_labels_of_shape_one(tmp_path):
    own = Own([torch.tensor([k % 3]) for k in range(24)])
    assert open_data(own).samples.labels.tolist() == [k % 3 for k in range(24)]
    assert class_number(torch.tensor([2])) == 2
    assert class_number(np.array([0, 1])) == 1


@pytest.mark.parametrize(
    "attributes",
    [
        {"classes": ["dog", "cat", "ant"], "class_to_idx": {"cat": 0, "dog": 1, "ant": 2}},
        {"class_to_idx": {"ant": 2, "dog": 1, "cat": 0}},
        {"classes": {0: "cat", 1: "dog", 2: "ant"}},
        {"id2label": {"0": "cat", "1": "dog", "2": "ant"}},
    ],
)
def test_datasets_say_which_number_a_class_has(attributes):
    assert open_data(Own(**attributes)).samples.class_names == ("cat", "dog", "ant")


def test_datasets_whose_labels_are_ids_are_refused():
    error = fail(Own((123456789, 7, 7, 7, 7, 7)))
    assert "labels go up to 123,456,789, and there are 2 different ones" in error.message


@pytest.mark.parametrize(("label", "is_mark"), [(-1, True), (-100, True), (-2, False)])
def test_labels_below_0_that_mark_what_a_loss_ignores_are_told(label, is_mark):
    hint = fail(Own([0, 1, label])).hint
    assert (f"take these rows out of the data: labels != {label}" in hint) == is_mark
    assert "count class numbers from 0" in hint
