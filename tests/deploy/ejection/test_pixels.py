"""The written decoder is tried on images of the run before the file is handed out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import torchloupe as loupe
from torchloupe.data.contract import Contract
from torchloupe.deploy.ejection.facts import Facts
from torchloupe.deploy.ejection.pixels import check_pixels

CODE = """
import io
import numpy as np
from PIL import Image
def decode(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert({mode!r}).convert("RGB"))
"""


@pytest.fixture
def facts(tmp_path: Path) -> Facts:
    """Four images of two classes, one of which has a colour."""
    unknown: Any = None
    for name, value in (("a/0", 9), ("a/1", 80), ("b/0", 200), ("b/1", (20, 90, 30))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (6, 6), value if isinstance(value, tuple) else (value,) * 3).save(
            tmp_path / f"{name}.png"
        )
    return Facts(
        folder=tmp_path,
        settings=unknown,
        contract=Contract("RGB", 3, (6, 6)),
        data=loupe.open_data(tmp_path),
        content=np.zeros(4, dtype=np.uint64),
        left_out=(),
        parts=np.zeros(4, dtype=np.int8),
        environment={},
        events=[],
        is_changed=False,
    )


def test_equal_pixels_need_no_word(facts: Facts) -> None:
    assert check_pixels(facts, CODE.format(mode="RGB")) == []
    assert check_pixels(facts, "number = 1") == []  # nothing is decoded


@pytest.mark.parametrize(("mode", "count"), [("L", 1), ("no mode", 4)])
def test_other_pixels_are_counted_and_named(facts: Facts, mode: str, count: int) -> None:
    (said,) = check_pixels(facts, CODE.format(mode=mode))
    assert said.startswith(f"{count} of the 4 images that were tried have other pixels here")
    assert ("b/1.png" if count == 1 else "a/0.png") in said
