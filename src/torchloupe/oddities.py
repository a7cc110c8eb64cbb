"""Images of a run that a person should look at: perhaps mislabelled, or twice in the data.

It is told by the features of the pretrained backbone, which the run left in the cache folder:
those of a finetuned one have seen the labels, right or wrong. Of several depths the last one
tells things apart best (docs/LOG.md).
"""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from torchloupe.data.split import SPLIT_NAMES, TEST, TRAIN, VAL
from torchloupe.errors import LoupeError
from torchloupe.features import open_features
from torchloupe.hardware.precision import Precision, nearest_format
from torchloupe.headstart import count_views
from torchloupe.lens.neighbours import find_strays, find_twins
from torchloupe.materials import Materials, prepare
from torchloupe.model.transfer import Transfer
from torchloupe.pieces import load_backbone
from torchloupe.trained import Run

MOST_IMAGES = 30_000  # each is compared with every other


@dataclass(frozen=True)
class Oddities:
    """What was found, likeliest first, as plain values; `note` says why nothing was looked for."""

    strays: tuple[dict[str, Any], ...] = ()  # id, label, neighbours, nearest, margin
    twins: tuple[dict[str, Any], ...] = ()  # id, split, other, other_split, likeness
    note: str = ""


def find_oddities(run: Run) -> Oddities:
    """Images of the run's data that lie among another class, and near-copies across splits.

    Empty for a run that was not begun from a pretrained backbone. The data have to be where they
    were, and of one's own code they must have been trusted before.
    """
    if not isinstance(run.model, Transfer):
        return Oddities()
    config = run.config
    materials = prepare(
        config.data, config.data.source, seed=config.train.seed, contract=run.contract
    )
    if len(materials.samples) > MOST_IMAGES:
        return Oddities(note=f"neighbours are not looked at in more than {MOST_IMAGES:,} images")
    backbone = copy.deepcopy(run.model)
    try:
        load_backbone(config, backbone)
    except LoupeError as error:  # a file of weights that was moved, a hub out of reach
        return Oddities(note=f"neighbours were not looked at: {error.message}")
    name = nearest_format(config.hardware.precision, run.device)
    views = count_views(config, len(materials.splits.train))
    features = open_features(backbone, materials, Precision(name, run.device), views=views)
    deepest = getattr(backbone.body, "deepest", features.values.shape[2])
    return describe(materials, features.rows, features.values[:, 0, -deepest:])


def describe(materials: Materials, rows: Any, values: Any) -> Oddities:
    """The oddities among the images at `rows` [N], by their features `values` [N, D]."""
    samples = materials.samples.take(rows)
    names, ids = samples.class_names, [str(name) for name in samples.ids]
    parts = np.full(len(materials.samples), TRAIN, dtype=np.int8)
    parts[materials.splits.val], parts[materials.splits.test] = VAL, TEST
    parts = parts[rows]
    strays = [] if samples.is_multi_label else find_strays(values, samples.labels)
    return Oddities(
        tuple(
            {
                "id": ids[stray.row],
                "label": names[samples.labels[stray.row]],
                "neighbours": names[stray.among],
                "nearest": ids[stray.nearest],
                "margin": round(stray.margin, 4),
            }
            for stray in strays
        ),
        tuple(
            {
                "id": ids[twin.row],
                "split": SPLIT_NAMES[parts[twin.row]],
                "other": ids[twin.other],
                "other_split": SPLIT_NAMES[parts[twin.other]],
                "likeness": round(twin.likeness, 4),
            }
            for twin in find_twins(values, parts)
        ),
    )
