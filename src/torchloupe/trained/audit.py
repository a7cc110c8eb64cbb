"""Suspected label errors and near-duplicates among the images of a run.

Images are compared by the features of the pretrained backbone, which the run left in the cache
folder: a finetuned backbone has been fitted to the labels, wrong ones included. Of features from
several depths the deepest separate classes best (docs/LOG.md).
"""

import copy
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from torchloupe.checks.neighbours import find_near_duplicates, find_suspected_labels
from torchloupe.config.schema import Config
from torchloupe.data.contract import Contract
from torchloupe.data.split import SPLIT_NAMES, TEST, TRAIN, VAL
from torchloupe.errors import LoupeError
from torchloupe.hardware.layout import require_contiguous
from torchloupe.hardware.precision import Precision, nearest_format
from torchloupe.model.transfer import Transfer
from torchloupe.prepare.data import prepare_data
from torchloupe.prepare.features import Features, count_views, open_features
from torchloupe.prepare.objects import load_backbone
from torchloupe.prepare.run_data import RunData

MOST_IMAGES = 30_000  # the cost is quadratic: each is compared with every other


@dataclass(frozen=True)
class Audit:
    """The findings, most likely first, as plain values; `note` says why there was no search."""

    suspected_labels: tuple[dict[str, Any], ...] = ()  # id, label, neighbours, nearest, margin
    near_duplicates: tuple[dict[str, Any], ...] = ()  # id, split, other, other_split, cosine
    note: str = ""
    features: Features | None = None  # [N, 1, D] what it was found by


class Opened(Protocol):
    """What an audit needs of a Run."""

    model: nn.Module
    contract: Contract
    config: Config

    @property
    def device(self) -> torch.device: ...


def audit_run(run: Opened) -> Audit:
    """Images of the run's data whose neighbours are of another class, and near-duplicates in
    different splits.

    Empty for a run without a pretrained backbone. The data must be where they were; code that the
    data need must have been trusted before.
    """
    if not isinstance(run.model, Transfer):
        return Audit()
    config = run.config
    run_data = prepare_data(
        config.data.source, config.data, seed=config.train.seed, contract=run.contract
    )
    return audit_data(run.model, run_data, config, run.device)


def pretrained_features(
    model: Transfer, run_data: RunData, config: Config, device: torch.device
) -> Features:
    """Features of all images by the backbone that `model` was finetuned from, from the cache or
    computed. LoupeError if its weights are out of reach.
    """
    backbone = copy.deepcopy(model)
    if not config.hardware.channels_last:
        require_contiguous(backbone)
    load_backbone(config, backbone)
    name = nearest_format(config.hardware.precision, device)
    views = count_views(config, len(run_data.splits.train))
    found = open_features(backbone, run_data, Precision(name, device), views=views)
    deepest = getattr(backbone.body, "deepest", found.values.shape[2])
    return replace(found, values=found.values[:, :1, -deepest:])


def audit_data(model: Transfer, run_data: RunData, config: Config, device: torch.device) -> Audit:
    """The audit of these data with the backbone that `model` was finetuned from."""
    if len(run_data.samples) > MOST_IMAGES:
        return Audit(
            note=f"label errors and near-duplicates are searched in up to {MOST_IMAGES:,} images, "
            f"and there are {len(run_data.samples):,}"
        )
    try:
        features = pretrained_features(model, run_data, config, device)
    except LoupeError as error:  # a file of weights that was moved, a hub out of reach
        return Audit(note=f"no search for label errors and near-duplicates: {error.message}")
    return replace(describe(run_data, features.rows, features.values[:, 0]), features=features)


def describe(run_data: RunData, rows: Any, values: Any) -> Audit:
    """The findings among the images at `rows` [N], from their features `values` [N, D]."""
    samples = run_data.samples.take(rows)
    names, ids = samples.class_names, [str(name) for name in samples.ids]
    parts = np.full(len(run_data.samples), TRAIN, dtype=np.int8)
    parts[run_data.splits.val], parts[run_data.splits.test] = VAL, TEST
    parts = parts[rows]
    suspected_labels = (
        [] if samples.is_multi_label else find_suspected_labels(values, samples.labels)
    )
    return Audit(
        tuple(
            {
                "id": ids[stray.row],
                "label": names[samples.labels[stray.row]],
                "neighbours": names[stray.among],
                "nearest": ids[stray.nearest],
                "margin": round(stray.margin, 4),
            }
            for stray in suspected_labels
        ),
        tuple(
            {
                "id": ids[twin.row],
                "split": SPLIT_NAMES[parts[twin.row]],
                "other": ids[twin.other],
                "other_split": SPLIT_NAMES[parts[twin.other]],
                "cosine": round(twin.cosine, 4),
            }
            for twin in find_near_duplicates(values, parts)
        ),
    )
