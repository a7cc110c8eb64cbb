"""The contract: chosen from the data, obeyed, kept as JSON, and the same bits in any batch."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from pictures import blocks, encode, noise
from PIL import Image, ImageOps
from torchvision import transforms

from torchloupe.data.contract import Contract
from torchloupe.data.contract_choice import choose_contract
from torchloupe.data.image.formats import ImageError
from torchloupe.data.levels import Levels
from torchloupe.data.samples import Samples, make_ids
from torchloupe.data.sources import open_data
from torchloupe.data.sources.source import ArrayReader, Data
from torchloupe.errors import CheckpointError, DataError, UsageError


def photos(folder, sizes, channels=3, form="PNG"):
    """A folder of two classes with an image of each size (height, width)."""
    for number, (height, width) in enumerate(sizes):
        path = folder / "ab"[number % 2] / f"{number}.{form.lower()}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(noise(height, width, channels, number), form))
    return open_data(folder)


def arrays(images):
    labels = np.arange(len(images)) % 2
    return Data(
        "x",
        "arrays",
        Samples(make_ids(range(len(images))), labels, ("a", "b")),
        None,
        ArrayReader(images),
    )


@pytest.mark.parametrize(
    ("sizes", "size", "fit"),
    [
        ([(28, 28)] * 4, (28, 28), "stretch"),
        ([(20, 64)] * 4, (20, 64), "stretch"),
        ([(20, 65)] * 4, (20, 20), "stretch"),
        ([(200, 300)] * 4, (64, 64), "stretch"),
        ([(200, 300), (300, 200), (250, 250)], (64, 64), "crop"),
        ([(20, 30), (24, 30), (30, 28)], (24, 24), "crop"),
        ([(20, 80), (90, 20), (30, 30)], (20, 20), "pad"),
    ],
)
def test_contract_chooses_size_and_fit(tmp_path, sizes, size, fit):
    contract = choose_contract(photos(tmp_path, sizes))
    assert (contract.size, contract.fit) == (size, fit)


def test_contract_obeys_what_is_asked(tmp_path):
    data = photos(tmp_path, [(20, 30)] * 4)
    contract = choose_contract(data, mode="L", size="48x64", fit="pad", kernel="lanczos")
    assert (contract.mode, contract.channels, contract.size) == ("L", 1, (48, 64))
    assert (contract.fit, contract.kernel) == ("pad", "lanczos")
    assert choose_contract(data, size="32").size == (32, 32)
    assert choose_contract(data, size=(5, 6)).size == (5, 6)
    assert choose_contract(photos(tmp_path / "b", [(300, 400)] * 2), largest=224).size == (224, 224)


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_contract_is_grey_only_where_all_images_are(tmp_path, form):
    grey = photos(tmp_path / "grey", [(20, 20)] * 6, 1, form)
    assert choose_contract(grey).mode == "L"
    as_rgb = tmp_path / "rgb" / "a"
    as_rgb.mkdir(parents=True)
    (tmp_path / "rgb" / "b").mkdir()
    for folder in ("a", "b"):
        picture = Image.fromarray(noise(channels=1)).convert("RGB")
        (tmp_path / "rgb" / folder / "1.png").write_bytes(encode(picture, "PNG"))
    assert choose_contract(open_data(tmp_path / "rgb")).mode == "L"
    (tmp_path / "grey" / "b" / "colour.png").write_bytes(encode(noise(20, 20), "PNG"))
    assert choose_contract(open_data(tmp_path / "grey")).mode == "RGB"


def test_contract_looks_past_unreadable_images_and_refuses_nothing_but_those(tmp_path):
    data = photos(tmp_path, [(20, 20)] * 6)
    (tmp_path / "a" / "0.png").write_bytes(b"<html>")
    assert choose_contract(data).size == (20, 20)
    for path in tmp_path.glob("*/*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"none of 6 images checked can be read; .*0 bytes"):
        choose_contract(data)


@pytest.mark.parametrize(
    ("low", "high", "span"),
    [
        (0.0, 1.0, (0.0, 1.0)),
        (0.1, 0.9, (0.0, 1.0)),
        (-1.0, 1.0, (-1.0, 1.0)),
        (0.0, 255.0, (0.0, 255.0)),
        (0.0, 16.0, (0.0, 16.0)),
        (-2.5, 3.0, (-2.5, 3.0)),
        (7.0, 7.0, (7.0, 8.0)),
    ],
)
def test_contract_of_floats_finds_their_range(low, high, span):
    images = np.full((4, 5, 6, 1), low, np.float32)
    images[1, 2, 3] = high
    images[2, 0, 0] = np.nan
    contract = choose_contract(arrays(images))
    assert contract.dtype == "float32"
    assert (contract.value_low, contract.value_high) == pytest.approx(span)


def test_contract_of_floats_sees_an_image_file_as_they_were_made_of_images():
    many = np.stack([noise(12, 16, 3, seed) for seed in range(4)])
    for scaled in (many / 127.5 - 1, many / 255, many / 1.0):
        images = scaled.astype(np.float32)
        contract = choose_contract(arrays(images))
        found = contract.decode(encode(many[2], "PNG"))
        assert found.dtype == np.float32
        assert np.abs(found - images[2]).max() < 1e-6
        assert (contract.decode(many[2]) == found).all()
        assert (contract.decode(many[2].astype(np.int64)) == found).all()
        assert (contract.decode(images[2]) == images[2]).all()
        assert contract.decode(noise(24, 32)).shape == (12, 16, 3)


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_contract_of_floats_of_unknown_making_takes_no_images(kind):
    images = getattr(np.random.default_rng(0), kind)(size=(4, 12, 16, 3)).astype(np.float32)
    contract = choose_contract(arrays(images))
    for image in (encode(noise(), "PNG"), noise(), noise() > 100, noise().astype(np.int64)):
        with pytest.raises(ImageError, match=r"how these were made of images|whole numbers from"):
            contract.decode(image)
    assert (contract.decode(images[2]) == images[2]).all()


def test_contract_of_wide_whole_numbers_takes_such_numbers_as_they_are():
    images = np.random.default_rng(0).integers(0, 60_000, (4, 12, 16, 1)).astype(np.float32)
    contract = choose_contract(arrays(images))
    dark = np.full((12, 16), 200, np.uint16)
    assert (contract.decode(dark) == 200).all() and contract.decode(dark).dtype == np.float32
    with pytest.raises(ImageError, match="how these were made of images is not known"):
        contract.decode(dark.astype(np.uint8))


OLD = Contract("L", 1, (4, 4), dtype="float32", value_low=0.0, value_high=1.0)


@pytest.mark.parametrize(
    ("old", "white"),
    [
        (OLD.with_statistics((0.3,), (0.2,)), 1.0),  # of arrays, all of which are within 0..1
        (replace(OLD, value_high=255.0).with_statistics((0.3,), (0.2,)), 255.0),
        (OLD.as_given(), None),  # what a Dataset gave
        (replace(OLD, value_low=-2.1).with_statistics((0.3,), (0.2,)), None),
    ],
)
def test_contract_that_says_nothing_of_levels_is_read_and_guesses_none(old, white):
    content = json.loads(old.to_json())
    del content["levels"]
    found = Contract.from_json(json.dumps(content))
    assert found.decode(np.full((4, 4), 0.25, np.float32)).max() == 0.25
    if white is None:
        with pytest.raises(ImageError, match="how these were made of images is not known"):
            found.decode(np.full((4, 4), 255, np.uint8))
    else:
        assert (found.decode(np.full((4, 4), 255, np.uint8)) == white).all()


def own_data(transform, sides=(8, 8)):
    picture = Image.fromarray(noise(*sides, 3, 0))
    return open_data([(transform(picture), k % 2) for k in range(8)]), picture


@pytest.mark.parametrize("normal", [(0.5, 0.5), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
def test_contract_of_a_own_dataset_makes_its_tensors_of_images(normal):
    chain = transforms.Compose([transforms.ToTensor(), transforms.Normalize(*normal)])
    data, picture = own_data(chain)
    found = choose_contract(data).decode(np.asarray(picture))
    assert (found == chain(picture).permute(1, 2, 0).numpy()).all()


def test_contract_of_a_own_dataset_does_not_guess_how_it_resizes():
    chain = transforms.Compose([transforms.CenterCrop(8), transforms.ToTensor()])
    data, picture = own_data(chain, (12, 16))
    contract = choose_contract(data)
    for image in (encode(picture, "PNG"), np.asarray(picture), np.asarray(picture) / 255):
        with pytest.raises(ImageError, match=r"an image of 12 x 16 pixels, .* of 8 x 8, to which"):
            contract.decode(image)
    assert choose_contract(data, fit="crop").decode(encode(picture, "PNG")).shape == (8, 8, 3)


def test_contract_of_a_own_dataset_heeds_its_transforms():
    class Own(list):
        transform = transforms.Compose([ImageOps.invert, transforms.ToTensor()])

    picture = Image.fromarray(noise(8, 8, 3, 0))
    own = Own((Own.transform(picture), k % 2) for k in range(8))
    assert choose_contract(open_data(own)).levels is None
    own = Own((transforms.ToTensor()(picture), k % 2) for k in range(8))
    own.transform = transforms.Compose([transforms.RandomHorizontalFlip(), transforms.ToTensor()])
    assert choose_contract(open_data(own)).levels is not None


def test_contract_of_arrays_with_other_channels_takes_no_files():
    contract = choose_contract(arrays(np.zeros((4, 8, 8, 5), np.uint8)))
    assert (contract.mode, contract.channels) == ("array", 5)
    assert contract.decode(np.ones((8, 8, 5), np.uint8)).shape == (8, 8, 5)
    assert contract.decode(np.ones((16, 16, 5), np.uint8)).shape == (8, 8, 5)
    with pytest.raises(ImageError, match="the model takes arrays of 5 channels, no files"):
        contract.decode(encode(noise(), "PNG"))
    with pytest.raises(ImageError, match="3 channels where the model takes 5"):
        contract.decode(noise())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "RGBA"}, "data.mode is 'RGBA'"),
        ({"fit": "squash"}, "data.fit is 'squash'"),
        ({"kernel": "cubic"}, "data.kernel is 'cubic'"),
        ({"size": "huge"}, "data.size is 'huge'"),
        ({"size": "0"}, "data.size is '0'"),
        ({"size": "1x2x3"}, "data.size is '1x2x3'"),
        ({"size": "99999"}, "data.size is '99999'"),
    ],
)
def test_contract_refuses_what_can_not_be(options, message):
    with pytest.raises(UsageError, match=message):
        choose_contract(arrays(np.zeros((4, 8, 8, 3), np.uint8)), **options)


def test_contract_refuses_a_mode_that_floats_or_many_channels_can_not_have():
    wanted = r"data\.mode is L, and the images are float arrays of 3 channels"
    with pytest.raises(UsageError, match=wanted):
        choose_contract(arrays(np.zeros((4, 8, 8, 3), np.float32)), mode="L")
    with pytest.raises(UsageError, match=r"data\.mode is RGB, and the images have 5 channels"):
        choose_contract(arrays(np.zeros((4, 8, 8, 5), np.uint8)), mode="RGB")


RGB = Contract("RGB", 3, (12, 16), class_names=("a", "b"))
GREY = Contract("L", 1, (12, 16))


def test_decode_of_arrays_and_of_files_is_the_same():
    for contract in (RGB, GREY, Contract("RGB", 3, (5, 9), "pad"), Contract("L", 1, (9, 5))):
        from_file = contract.decode(encode(noise(), "PNG"))
        assert (contract.decode(noise()) == from_file).all()
        assert (contract.decode(noise().transpose(2, 0, 1)) == from_file).all()
        assert (contract.decode(noise().astype(np.int64)) == from_file).all()


def test_decode_of_arrays_turns_grey_to_colour_and_alpha_to_white():
    grey = noise(channels=1)
    assert (RGB.decode(grey) == grey[:, :, None]).all()
    assert (GREY.decode(grey[:, :, None]) == grey[:, :, None]).all()
    clear = np.zeros((12, 16, 4), np.uint8)
    assert (RGB.decode(clear) == 255).all()
    assert (GREY.decode(np.ones((12, 16), bool)) == 255).all()


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((2, 3, 4, 5), np.uint8), "an array of shape [2, 3, 4, 5] is not one image"),
        (np.zeros((7, 7, 7), np.uint8), "an array of shape [7, 7, 7] is not one image"),
        (np.zeros((0, 7, 3), np.uint8), "an image of shape [0, 7, 3] has no pixels"),
        (np.full((4, 4), 0.5), "pixels of type float64; the model takes whole numbers 0 to 255"),
        (np.full((4, 4), 300), "pixels of type int64; the model takes whole numbers 0 to 255"),
    ],
)
def test_decode_refuses_arrays_that_are_no_image(image, reason):
    with pytest.raises(ImageError) as caught:
        RGB.decode(image)
    assert str(caught.value) == reason


def test_normalise_is_the_formula_to_the_last_bits():
    contract = RGB.with_statistics((0.4, 0.5, 0.6), (0.2, 0.3, 0.1))
    images = torch.from_numpy(noise(12 * 5, 16).reshape(5, 12, 16, 3).copy())
    found = contract.normalise(images)
    assert found.shape == (5, 3, 12, 16) and found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.3, 0.1])
    wanted = ((images / 255 - mean) / std).permute(0, 3, 1, 2)
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("channels", "dtype"), [(1, "uint8"), (3, "uint8"), (3, "float32"), (5, "float32")]
)
def test_normalise_gives_an_image_the_same_bits_in_any_batch(channels, dtype):
    mode = {1: "L", 3: "RGB"}.get(channels, "array")
    contract = Contract(mode, channels, (7, 5), dtype=dtype, value_low=-3.0, value_high=250.0)
    contract = contract.with_statistics((0.41,) * channels, (0.27,) * channels)
    images = torch.randint(0, 256, (37, 7, 5, channels)).to(getattr(torch, dtype))
    before = images.clone()
    whole = contract.normalise(images)
    for start, end in ((0, 1), (3, 20), (36, 37)):
        assert torch.equal(contract.normalise(images[start:end]), whole[start:end])
    strided = images.repeat_interleave(2, 0)[::2]
    assert torch.equal(contract.normalise(strided), whole)
    assert torch.equal(images, before)


def test_normalise_works_in_training_after_inference_mode():
    contract = RGB.with_statistics((0.5,) * 3, (0.5,) * 3)
    images = torch.from_numpy(noise()[None].copy())
    with torch.inference_mode():
        seen = contract.normalise(images)
    weight = torch.ones(3, 3, 1, 1, requires_grad=True)
    torch.nn.functional.conv2d(contract.normalise(images), weight).sum().backward()
    assert weight.grad is not None
    assert torch.equal(seen, contract.normalise(images))


def test_as_given_changes_nothing():
    images = torch.randn(4, 7, 5, 3)
    contract = Contract("RGB", 3, (7, 5), dtype="float32", value_low=-2.3, value_high=3.1)
    assert torch.equal(contract.as_given().normalise(images), images.permute(0, 3, 1, 2))


def test_decode_key_holds_what_decides_pixels_and_nothing_else():
    same = RGB.with_statistics((0.1,) * 3, (0.2,) * 3)
    same = replace(same, temperature=2.0, threshold=0.5)
    assert same.decode_key() == RGB.decode_key()
    others = [
        Contract("RGB", 3, (12, 17)),
        Contract("L", 1, (12, 16)),
        Contract("RGB", 3, (12, 16), "pad"),
    ]
    others.append(Contract("RGB", 3, (12, 16), decoder="another"))
    assert len({contract.decode_key() for contract in [RGB, *others]}) == 5


def test_contract_survives_json():
    names = ("katze", "犬", 'a "quoted"\nname', "\x1b[31m", "odd \udcff byte")
    contract = Contract(
        "RGB", 3, (12, 16), "pad", "lanczos", False, class_names=names, multi_label=True
    )
    contract = contract.with_statistics((0.1, 0.2, 1 / 3), (0.3, 0.2, 0.1))
    levels = Levels(255.0, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    contract = replace(contract, temperature=1.3, threshold=0.7, levels=levels)
    assert Contract.from_json(contract.to_json()) == contract


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", 99),
        ("mode", "CMYK"),
        ("channels", 4),
        ("channels", 10**9),
        ("size", [0, 5]),
        ("size", [10**6, 5]),
        ("size", "ab"),
        ("kernel", "torch.hub.load"),
        ("dtype", "object"),
        ("std", [0.1, 0.0, 0.1]),
        ("mean", [0.1]),
        ("mean", [float("nan")] * 3),
        ("value_high", -1),
        ("class_names", [1, 2]),
        ("class_names", None),
        ("unknown", 1),
        ("white_level", 254),
        ("white_level", 65_536),
        ("white_level", 4095.0),
        ("temperature", 0.0),
        ("temperature", True),
        ("temperature", float("inf")),
        ("temperature", 10**400),
        ("threshold", 1.01),
        ("threshold", "0.95precision"),
        ("levels", {"scale": 0.0, "mean": [], "std": []}),
        ("levels", {"scale": 255.0, "mean": [0.1, 0.2], "std": [0.1, 0.2]}),
        ("levels", {"scale": 255.0, "mean": [0.1], "std": [0.0]}),
        ("levels", [255]),
    ],
)
def test_contract_refuses_json_that_is_not_one(field, value):
    content = json.loads(RGB.with_statistics((0.1,) * 3, (0.2,) * 3).to_json())
    content[field] = value
    with pytest.raises(CheckpointError, match=r"this is not a contract\.json of torchloupe"):
        Contract.from_json(json.dumps(content))


def test_contract_of_version_0_1_is_read_and_names_the_same_pack():
    content = json.loads(RGB.to_json())
    for later in ("white_level", "temperature", "threshold", "levels"):
        del content[later]
    assert Contract.from_json(json.dumps(content)) == RGB
    assert "white_level" not in RGB.decode_key()
    assert "4095" in Contract("RGB", 3, (12, 16), white_level=4095).decode_key()


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, '{"format": 1}'])
def test_contract_refuses_text_that_is_not_its_json(text):
    with pytest.raises(CheckpointError):
        Contract.from_json(text)


def test_contract_of_a_own_dataset_keeps_what_it_gives():
    pictures = [(Image.fromarray(blocks(90, 60, k)), k % 2) for k in range(8)]
    contract = choose_contract(open_data(pictures))
    assert (contract.size, contract.mode, contract.dtype) == ((90, 60), "RGB", "uint8")
    seen = np.stack([np.asarray(image) for image, _ in pictures]) / 255
    assert contract.mean == pytest.approx(seen.mean((0, 1, 2)))
    assert contract.std == pytest.approx(seen.std((0, 1, 2)))


def test_contract_of_a_own_dataset_takes_float_tensors_as_given():
    items = [(torch.randn(3, 40, 90), k % 2) for k in range(8)]
    data = open_data(items)
    contract = choose_contract(data)
    assert (contract.size, contract.dtype) == ((40, 90), "float32")
    images = torch.stack([image for image, _ in items]).permute(0, 2, 3, 1)
    assert torch.equal(contract.normalise(images), images.permute(0, 3, 1, 2))
    with pytest.raises(UsageError, match="the dataset gives float tensors of 40x90 pixels and 3"):
        choose_contract(data, size="32")
