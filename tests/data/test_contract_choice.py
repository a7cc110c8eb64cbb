"""The range of 16-bit images: found over the set, said once, and kept in the contract."""

import numpy as np
import pytest
from pictures import encode, noise

from torchloupe.config.schema import DataConfig
from torchloupe.data import contract_choice
from torchloupe.data.contract import Contract
from torchloupe.data.contract_choice import choose_contract, describe_range, find_white_level
from torchloupe.data.image.decode import FULL_WHITE
from torchloupe.data.image.formats import ImageError
from torchloupe.data.sources import open_data
from torchloupe.data.survey import measure_plain_fraction
from torchloupe.errors import DataError
from torchloupe.prepare.data import prepare_data


def scans(folder, tops, form="PNG"):
    """A folder of two classes with a 16-bit image for each largest value; 0 for one of 8 bits."""
    for number, top in enumerate(tops):
        path = folder / "ab"[number % 2] / f"{number}.{form.lower()}"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = noise(8, 8, 1, number)
        if top:
            pixels = np.random.default_rng(number).integers(0, top + 1, (8, 8), np.uint16)
            pixels[0, 0] = top
        path.write_bytes(encode(pixels, form))
    return open_data(folder)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize(
    ("tops", "white"),
    [
        ([1023] * 4, 1023),
        ([900, 300, 512], 1023),
        ([4095, 1000, 0], 4095),
        ([3000, 3500], 4095),
        ([16_000, 2], 16_383),
        ([65_535, 1000], FULL_WHITE),
        ([32_768, 7], FULL_WHITE),
        ([32_767, 7], 32_767),
        ([200, 90], 255),
        ([0, 0, 0], FULL_WHITE),
    ],
)
def test_find_white_level_is_the_bits_that_are_used(tmp_path, form, tops, white):
    data = scans(tmp_path, tops, form)
    assert find_white_level(data) == choose_contract(data).white_level == white


def test_find_white_level_searches_the_set_and_not_only_the_first(tmp_path, monkeypatch):
    data = scans(tmp_path, [1000] * 11 + [4000])
    order = np.argsort(data.samples.keys, kind="stable")
    largest = int(np.flatnonzero(order == data.samples.ids.tolist().index("b/11.png"))[0])
    monkeypatch.setattr(contract_choice, "RANGE_LOOKED_AT", max(1, largest))
    assert find_white_level(data) == 4095


def test_find_white_level_passes_over_what_can_not_be_read(tmp_path):
    data = scans(tmp_path, [4095] * 4)
    (tmp_path / "a" / "0.png").write_bytes(b"no image")
    assert find_white_level(data) == 4095


def test_find_white_level_of_arrays_is_full():
    images = np.zeros((6, 8, 8), np.uint8)
    assert find_white_level(open_data((images, np.arange(6) % 2))) == FULL_WHITE


def test_images_of_12_bits_are_trained_on_in_their_full_range_and_it_is_said_once(tmp_path):
    scans(tmp_path, [4095] * 24)
    data = prepare_data(tmp_path, DataConfig(pack="memory"), seed=0)
    said = "16-bit images use values up to 4,095 of 65,535: 4,095 is taken for white"
    assert [note for note in data.notes if "16-bit" in note] == [said]
    assert data.pixels.array.max() == 255 and 0.4 < data.contract.mean[0] < 0.6
    again = prepare_data(tmp_path, DataConfig(pack="memory"), seed=0, contract=data.contract)
    assert (again.pixels.array == data.pixels.array).all()
    assert not [note for note in again.notes if "16-bit" in note]
    assert Contract.from_json(data.contract.to_json()) == data.contract


def test_an_image_beyond_the_range_of_the_set_is_refused_with_its_reason(tmp_path):
    contract = choose_contract(scans(tmp_path, [1023] * 4))
    with pytest.raises(ImageError) as caught:
        contract.decode(encode(np.full((8, 8), 60_000, np.uint16), "PNG"))
    assert str(caught.value) == (
        "its 16-bit values go up to 60,000, and white is 1,023 in this data set"
    )
    assert contract.decode(encode(noise(8, 8, 1), "PNG")).shape == (8, 8, 1)


def test_a_dark_look_of_12_bits_is_no_plain_ground(tmp_path):
    assert measure_plain_fraction(scans(tmp_path, [1023] * 6)) == 0


def test_describe_range_is_silent_for_the_full_range(tmp_path):
    assert describe_range(choose_contract(scans(tmp_path, [0, 0]))) == []


def test_a_folder_of_jpeg_xl_says_what_to_do(tmp_path):
    for name in ("a/1.jxl", "b/2.jxl"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"\xff\x0a" + bytes(40))
    with pytest.raises(DataError) as caught:
        choose_contract(open_data(tmp_path))
    assert "JPEG XL is not read here; convert it to PNG or JPEG (djxl IMAGE.jxl IMAGE.png)" in (
        caught.value.message
    )
