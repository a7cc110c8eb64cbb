"""Odd images: all are read, all kinds are there, and they are the same each time."""

import io

from PIL import Image

from torchloupe.data.contract import Contract
from torchloupe.deploy.artefact.corpus import make_odd_files


def test_odd_files_are_read_by_a_contract_and_repeat() -> None:
    contract = Contract("RGB", 3, (16, 16))
    first, second = dict(make_odd_files()), dict(make_odd_files())
    assert first == second
    assert len(first) >= 38
    for data in first.values():
        assert contract.decode(data).shape == (16, 16, 3)


def test_odd_files_hold_every_turn_and_mode() -> None:
    pictures = {name: Image.open(io.BytesIO(data)) for name, data in make_odd_files()}
    turns = {pictures[f"turn {turn}.jpg"].getexif().get(0x0112, 1) for turn in range(1, 9)}
    assert turns == set(range(1, 9))
    modes = {picture.mode for picture in pictures.values()}
    assert modes >= {"RGB", "L", "CMYK", "P", "RGBA", "LA", "I;16", "1"}
    assert pictures["one pixel.png"].size == (1, 1)
