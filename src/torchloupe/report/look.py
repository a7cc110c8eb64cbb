"""A look into a model: its prediction for one image, heat maps, and feature maps of its layers.

It holds numbers and pixels; picture.py and page.py draw them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torchloupe.lens.saliency import Insight
from torchloupe.report.colours import Pixels, to_unit

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Shown:
    """The feature maps of one layer, in the order shown: the largest standard deviation first."""

    name: str
    type: str
    maps: Values  # [N, h, w], each from 0 to 1
    numbers: tuple[int, ...]  # the channel of each map
    channels: int  # of the layer in total


@dataclass(frozen=True)
class Look:
    """What a model predicts for one image, and the evidence."""

    image_name: str
    model_name: str
    ranking: tuple[tuple[str, float], ...]  # (class, probability), most likely first
    pixels: Pixels  # [H, W, 3], as the model gets them
    heat: tuple[tuple[str, Values], ...]  # (class, [H, W] from 0 to 1), most likely first
    heat_layer: str
    layers: tuple[Shown, ...]


def make_look(
    insight: Insight,
    pixels: Pixels,
    ranking: Sequence[tuple[str, float]],
    class_names: Sequence[str],
    names: tuple[str, str],
    *,
    most_maps: int = 64,
) -> Look:
    """The look made from an insight, with at most `most_maps` maps of each layer.

    `names` are the names of the image and of the model.
    """
    return Look(
        image_name=names[0],
        model_name=names[1],
        ranking=tuple(ranking),
        pixels=pixels,
        heat=tuple(
            (class_names[k], heat.numpy().astype(np.float64)) for k, heat in insight.heat.items()
        ),
        heat_layer=insight.layer,
        layers=tuple(
            _choose_maps(layer.name, layer.type, layer.maps.numpy(), most_maps)
            for layer in insight.layers
        ),
    )


def _choose_maps(name: str, kind: str, maps: NDArray[np.float32], most: int) -> Shown:
    spread = np.nan_to_num(maps.reshape(len(maps), -1).std(axis=1))
    order = np.argsort(-spread, kind="stable")[:most]
    chosen = np.stack([to_unit(maps[k]) for k in order])
    return Shown(name, kind, chosen, tuple(int(k) for k in order), len(maps))
