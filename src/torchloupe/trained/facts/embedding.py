"""A map of the images: what the model's last layer gets of each, in two dimensions.

Features are those of the trained model. They are computed for a sample of the images that fits
into a few seconds.
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from torchloupe.errors import LoupeError
from torchloupe.evaluation.inference import forward, to_probabilities
from torchloupe.hardware.precision import Precision
from torchloupe.prepare.features import Features
from torchloupe.prepare.run_data import RunData
from torchloupe.trained.facts.images import ImageTable
from torchloupe.trained.facts.tsne import place_exactly, place_many

MOST_POINTS = 5_000
FEWEST_POINTS = 12
FEATURE_SECONDS = 8.0
PCA_DIMENSIONS = 30
PERPLEXITY, PERPLEXITY_OF_MANY = 30.0, 15.0  # of many: as true to the neighbours, and faster
ALIKE = 0.995  # correlation of two thumbnails, from which on they are nearly the same picture
MOST_LINKS = 300
MOST_EXACT = 1_000  # points; above, interpolated sums are faster
_SIDE = 16
Rows = NDArray[np.int64]
Floats = NDArray[np.float32]


class LastInputs:
    """Hears what the last linear layer of a model gets; its logits where there is none.

    Use as a context manager around forwards, and `take` after each of them.
    """

    def __init__(self, model: nn.Module) -> None:
        layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
        self._layer = layers[-1] if layers else None
        self._seen: list[Tensor] = []
        self._handle: Any = None

    def __enter__(self) -> "LastInputs":
        if self._layer is not None:
            self._handle = self._layer.register_forward_pre_hook(self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.remove()

    def _hear(self, _layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(inputs[0], Tensor) and inputs[0].ndim == 2:
            self._seen.append(inputs[0].detach())

    def take(self, logits: Tensor) -> Tensor:
        """The features [B, D] of the batch that gave these logits, float32 on the CPU."""
        seen, self._seen = self._seen, []
        features = logits
        if seen and len(seen[0]) >= len(logits):  # a whole batch, filled up; then its other views
            features = seen[0][: len(logits)]
        elif seen and sum(map(len, seen)) == len(logits):  # large images went one by one
            features = torch.cat(seen)
        return features.float().cpu()


def compute_features(
    model: nn.Module, run_data: RunData, rows: Rows, precision: Precision, temperature: float
) -> tuple[Floats, Floats]:
    """Features [M, D] and probabilities [M, K] of the first M of the images at `rows`.

    M is as many as FEATURE_SECONDS allow, a batch at least. The model is in eval mode.
    """
    end, multi_label = time.monotonic() + FEATURE_SECONDS, run_data.contract.multi_label
    features, answers = [], []
    with torch.no_grad(), LastInputs(model) as last:
        for batch in run_data.scan_rows(rows, precision.device, "test"):
            logits = forward(model, batch.images, precision)
            features.append(last.take(logits).numpy())
            answers.append(to_probabilities(logits, multi_label, temperature).cpu().numpy())
            if time.monotonic() > end:
                break
    if len({part.shape[1] for part in features}) > 1:  # memory ran out midway: other pieces
        features = answers
    return np.concatenate(features), np.concatenate(answers)


@dataclass(frozen=True, eq=False)
class Seeing:
    """What features are computed with, or have been computed by."""

    model: nn.Module
    precision: Precision
    temperature: float
    known: Features | None = None  # of all images, by the pretrained network


def describe_map(seeing: Seeing, images: ImageTable, rows: Rows) -> dict[str, Any] | None:
    """The map of the images at `rows`, of val and test; None where it can't be drawn."""
    data = images.run_data
    if data is None or len(rows) < FEWEST_POINTS:
        return None
    features = _features_of(seeing, images, data, rows)
    rows = rows[: len(features)]
    if len(rows) < FEWEST_POINTS or not np.isfinite(features).all():
        return None
    whose = "the pretrained network gives" if seeing.known else "the model's last layer gets"
    places = place_points(features)
    total = len(data.splits.val) + len(data.splits.test)
    words = (
        f"{len(rows):,} of {total:,} images of validation and test"
        if len(rows) < total
        else ("The images of validation and test")
    )
    return {
        "x": places[:, 0].tolist(),
        "y": places[:, 1].tolist(),
        "image": [images.add(int(row)) for row in rows],
        "links": find_near_copies(images, rows),
        "count": len(rows),
        "words": f"{words}, by the features that {whose}. Nearly equal pictures are linked.",
    }


def _features_of(seeing: Seeing, images: ImageTable, data: RunData, rows: Rows) -> Floats:
    """Features [M, D] of the first M images; none where the model fails.

    What the model says of images that are not in the predictions is noted in `images`.
    """
    if seeing.known is not None:
        return seeing.known.at(rows)[:, 0].numpy()
    try:
        features, answers = compute_features(
            seeing.model, data, rows, seeing.precision, seeing.temperature
        )
    except LoupeError:
        return np.zeros((0, 1), dtype=np.float32)
    if not data.contract.multi_label:
        for row, answer in zip(rows, answers, strict=False):
            images.guess(int(row), int(answer.argmax()), float(answer.max()))
    return features


def choose_rows(data: RunData | None) -> Rows:
    """Up to MOST_POINTS rows of test and val in an order in which any beginning is even."""
    if data is None:
        return np.zeros(0, dtype=np.int64)
    rows = np.concatenate([data.splits.test, data.splits.val]).astype(np.int64)
    order = np.argsort(data.samples.keys[rows], kind="stable")
    return rows[order][:MOST_POINTS]


def place_points(features: Floats) -> NDArray[np.float64]:
    """Features [N, D] in two dimensions [N, 2]: principal components, then t-SNE."""
    centred = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))
    centred = centred - centred.mean(dim=0)
    dimensions = min(PCA_DIMENSIONS, *centred.shape)
    values, vectors = torch.linalg.eigh(centred.T @ centred)
    kept = vectors[:, values.argsort(descending=True)[:dimensions]]
    # signs of eigenvectors are arbitrary: the largest entry of each is made positive
    kept = kept * kept.gather(0, kept.abs().argmax(dim=0, keepdim=True)).sign()
    components = centred @ kept
    reduced = components.numpy()
    if reduced.shape[1] < 2:
        flat = np.concatenate([reduced, np.zeros_like(reduced)], axis=1)
        return np.asarray(flat[:, :2], dtype=np.float64)
    spread = reduced[:, 0].std()
    if not spread:
        return np.asarray(reduced[:, :2], dtype=np.float64)
    start = torch.from_numpy(reduced[:, :2] / spread * 1e-4)
    if len(reduced) <= MOST_EXACT:
        perplexity = min(PERPLEXITY, (len(reduced) - 1) / 3)
        return place_exactly(components, start, perplexity).double().numpy()
    return place_many(components, start, PERPLEXITY_OF_MANY).double().numpy()


def find_near_copies(images: ImageTable, rows: Rows) -> list[tuple[int, int]]:
    """Pairs of places in `rows` whose pictures are nearly the same, at most MOST_LINKS."""
    thumbnails = [images.thumbnail(int(row)) for row in rows]
    known = [k for k, tile in enumerate(thumbnails) if tile is not None]
    if len(known) < 2:
        return []
    grey = np.stack(
        [tile.mean(axis=2, dtype=np.float32) for tile in thumbnails if tile is not None]
    )
    small = nn.functional.interpolate(torch.from_numpy(grey)[:, None], (_SIDE, _SIDE), mode="area")
    values = small.flatten(1)
    values = values - values.mean(dim=1, keepdim=True)
    norm = values.norm(dim=1, keepdim=True)
    unit = torch.where(norm > _SIDE, values / norm.clamp(min=1), torch.zeros_like(values))
    found: list[tuple[int, int]] = []
    for start in range(0, len(unit), 1024):
        alike = (unit[start : start + 1024] @ unit.T).triu(start + 1) >= ALIKE
        found += [(known[a + start], known[b]) for a, b in alike.nonzero().tolist()]
    return found[:MOST_LINKS]
