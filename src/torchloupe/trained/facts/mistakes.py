"""The most confident mistakes, each with where the evidence for it lies, and the least sure."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from torchloupe.errors import LoupeError
from torchloupe.lens.saliency import look_inside
from torchloupe.report.colours import Pixels, enlarge, lay_over, to_pixels
from torchloupe.report.sprite import Sprite, make_sprite
from torchloupe.trained.facts.images import ImageTable
from torchloupe.trained.facts.predictions import Predictions

MOST_WORST = 48
MOST_UNSURE = 24
HEAT_SECONDS = 8.0
SHOT_SIDE = 144  # pixels of the longer side


def worst_places(found: Predictions) -> list[int]:
    """Places of the wrong predictions, the most confident first."""
    wrong = np.flatnonzero(~found.right)
    order = np.argsort(-found.sureness[wrong], kind="stable")
    return [int(place) for place in wrong[order][:MOST_WORST]]


def unsure_places(found: Predictions) -> list[int]:
    """Places of the predictions with the least confidence."""
    order = np.argsort(found.sureness, kind="stable")
    return [int(place) for place in order[:MOST_UNSURE]]


def describe_worst(
    places: Sequence[int], images: ImageTable, model: nn.Module | None, most_bytes: int
) -> tuple[list[dict[str, Any]], Sprite | None, str]:
    """A row for each mistake with the places of its two pictures; their sprite; the layer.

    Heat maps are made for as many as HEAT_SECONDS allow. Without pixels, or with a model that has
    no maps, there are none.
    """
    rows: list[dict[str, Any]] = [
        {"image": images.add_place(place), "shots": []} for place in places
    ]
    shots: list[Pixels] = []
    layer = ""
    end = time.monotonic() + HEAT_SECONDS
    for row in rows if model is not None and images.run_data is not None else ():
        pair = _look(model, images, images.keys[row["image"]])
        if pair is None:
            break
        layer = pair[2]
        row["shots"] = [len(shots), len(shots) + 1]
        shots += pair[:2]
        if time.monotonic() > end:
            break
    sprite = make_sprite(np.stack(shots), most_bytes) if shots else None
    return rows, sprite, layer


def _look(
    model: nn.Module | None, images: ImageTable, row: int
) -> tuple[Pixels, Pixels, str] | None:
    """The image, the heat of the predicted class over it, and the layer that it is made of."""
    data = images.run_data
    assert data is not None and model is not None
    device = next(model.parameters()).device
    try:
        if data.pixels is not None:
            decoded = data.pixels.gather(np.array([row])).numpy()[0]
        else:
            decoded = data.contract.decode(data.source.reader.read(row))
        batch = data.contract.normalise(torch.from_numpy(decoded[None].copy()).to(device))
        seen = look_inside(model, batch, classes=1, multi_label=data.contract.multi_label)
    except LoupeError:
        return None
    heat = next(iter(seen.heat.values())).double().numpy()
    large = enlarge(to_pixels(decoded), SHOT_SIDE, SHOT_SIDE)
    return large, lay_over(large, heat), seen.layer
