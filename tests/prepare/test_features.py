"""Features of a backbone: kept for the images they were made of, and for no others."""

import numpy as np
import pytest
import torch
from torch import nn

from drawings import draw_folder
from torchloupe.config.schema import DataConfig
from torchloupe.data.sources import index
from torchloupe.errors import DataError
from torchloupe.hardware.precision import Precision
from torchloupe.prepare.data import prepare_data
from torchloupe.prepare.features import open_features
from torchloupe.system import cache

PRECISION = Precision("fp32", torch.device("cpu"))


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = nn.Module()
    model.body, model.head = body.eval(), nn.Linear(6, 2)
    return model


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder with an index, whose files are looked at only when they are used."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "LARGE", 10)
    monkeypatch.setattr(index, "SETTLED_NS", -(10**12))
    monkeypatch.setattr(index, "_AT_ONCE", 2)
    return draw_folder(tmp_path / "drawings", {"disc": 12, "cross": 12})


def find(backbone, photos):
    run_data = prepare_data(photos, DataConfig(mode="RGB", size="32"), seed=0)
    return open_features(backbone, run_data, PRECISION, views=2)


def test_features_are_computed_once(backbone, photos):
    first, again = find(backbone, photos), find(backbone, photos)
    assert first.seconds > 0 and again.seconds == 0
    assert torch.equal(first.values, again.values) and np.array_equal(first.rows, again.rows)
    with torch.no_grad():
        backbone.body[0].weight[0, 0, 0, 0] += 1
    assert find(backbone, photos).seconds > 0


def test_kept_features_of_an_image_that_changed_are_refused(backbone, photos):
    find(backbone, photos)
    victim = sorted(photos.rglob("*.png"))[7]
    with victim.open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match=f"{victim.name} was changed since the folder was listed"):
        find(backbone, photos)
    assert len(find(backbone, photos).rows) == 24
