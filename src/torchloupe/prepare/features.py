"""Features of a pretrained backbone: computed once for every image, and cached.

Their key is a hash of everything they depend on (the backbone's weights, the contract, the content
of the images, the number format), so that stale ones are never used.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from torchloupe.config.schema import Config
from torchloupe.config.settings import Settings
from torchloupe.data.feeds.feed import Batch
from torchloupe.errors import LoupeError, printable
from torchloupe.evaluation.rows import RowBuffer
from torchloupe.hardware.device import wait_for
from torchloupe.hardware.layout import lay_out_images, memory_format_of
from torchloupe.hardware.precision import Precision
from torchloupe.model.fusing import fuse_or_fold
from torchloupe.model.transfer import Transfer
from torchloupe.model.weights import digest_weights
from torchloupe.prepare.run_data import RunData
from torchloupe.speed.choice import has_fast_bf16
from torchloupe.speed.trial import WORTH_IT
from torchloupe.system.cache import Kept, find_cache, read_kept, write_kept

FORMAT = 3  # raised when the same weights begin to give other features
BATCH_ON_CPU, BATCH_ON_GPU = 8, 256  # small batches stay in a CPU's caches
LEAST_COSINE = 0.99  # cosine of the features of an image in another number format with fp32's

MIRRORED_AT_MOST = 10_000  # images; with more, mirrored views cost more than they give

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Features:
    """Features [N, V, D] of the images at `rows` [N] in V views: as it is, then mirrored."""

    values: Tensor  # float32, on the CPU
    rows: NDArray[np.int64]
    seconds: float  # that computing them took; 0 if they were in the cache
    notes: tuple[str, ...] = ()

    def at(self, rows: NDArray[np.int64]) -> Tensor:
        """The features [M, V, D] of the images at `rows`, all of which must be here."""
        return self.values[torch.from_numpy(np.searchsorted(self.rows, rows))]


def open_features(
    model: Transfer,
    run_data: RunData,
    precision: Precision,
    *,
    views: int,
    cache_folder: Path | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Features:
    """The features of all sound images of `run_data`, from the cache or computed and kept.

    `model` is with its pretrained weights on the device of `precision`.
    """
    splits = run_data.splits
    rows = np.sort(np.concatenate([splits.train, splits.val, splits.test]))
    cache = find_cache(cache_folder)
    name = _name_features(model, run_data, precision, rows, views)
    path = cache / "features" / name if cache else None
    kept = read_kept(path) if path else None
    found = kept.arrays.get("features") if kept else None
    if found is not None and found.shape == (len(rows), views, model.head.in_features):
        assert run_data.pixels is not None
        run_data.pixels.require_unchanged_files(rows)
        return Features(torch.from_numpy(found), rows, 0.0)
    start = time.perf_counter()
    values = compute_features(model, run_data, precision, rows, views, progress)
    seconds = time.perf_counter() - start
    notes: Sequence[str] = ()
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_kept(path, Kept({}, {"features": values.numpy()}))
        except (OSError, LoupeError) as error:
            notes = (f"features are not kept for the next run: {printable(error)}",)
    return Features(values, rows, seconds, tuple(notes))


def compute_features(
    model: Transfer,
    run_data: RunData,
    precision: Precision,
    rows: NDArray[np.int64],
    views: int,
    progress: Progress,
) -> Tensor:
    """Features [N, V, D] in float32 on the CPU, by a copy of the backbone without BatchNorms."""
    device = precision.device
    body, layout = None, memory_format_of(model)
    found = RowBuffer(len(rows))
    batch = BATCH_ON_CPU if device.type == "cpu" else BATCH_ON_GPU
    assert run_data.pixels is not None
    for start in range(0, len(rows), batch):
        pixels = run_data.pixels.gather_on(device, rows[start : start + batch])
        images = lay_out_images(run_data.contract.normalise(pixels), layout)
        if body is None:
            body = fuse_or_fold(model.body, images, precision.name)
        with torch.no_grad(), precision.autocast():
            seen = [body(images if view == 0 else images.flip(3)) for view in range(views)]
        found.add(torch.stack(seen, dim=1).float().cpu().numpy())
        progress(min(start + batch, len(rows)), len(rows))
    wait_for(device)
    return torch.from_numpy(found.array())


def choose_feature_format(
    settings: Settings, model: Transfer, batch: Batch
) -> tuple[dict[str, Any], list[str]]:
    """The number format for features, measured if it is open; the setting, and a note.

    bf16 is chosen where the device has instructions for it, it is 10 % faster, and the features of
    every image have a cosine of at least LEAST_COSINE with those in fp32.
    """
    device = batch.images.device
    is_fp32 = settings.config.hardware.precision == "fp32"
    if not settings.is_open("hardware.precision") or not is_fp32 or not has_fast_bf16(device):
        return {}, []
    layout = memory_format_of(model)
    images = lay_out_images(batch.images.contiguous(memory_format=layout), layout)
    bodies = {name: fuse_or_fold(model.body, images, name) for name in ("fp32", "bf16")}
    took: dict[str, list[float]] = {name: [] for name in bodies}
    found: dict[str, Tensor] = {}
    for name in 3 * (*took,):  # in turns: what else the machine does meets both alike
        start = time.perf_counter()
        with torch.no_grad(), Precision(name, device).autocast():
            found[name] = bodies[name](images).float()
        wait_for(device)
        took[name].append(time.perf_counter() - start)
    rates = {name: len(images) / min(seconds) for name, seconds in took.items()}
    cosine = float(F.cosine_similarity(found["fp32"], found["bf16"]).min())
    said = ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items())
    note = f"measured: images/s through the backbone: {said}; least cosine {cosine:.4f}"
    if cosine < LEAST_COSINE or rates["bf16"] < WORTH_IT * rates["fp32"]:
        return {}, [note]
    return {"hardware.precision": "bf16"}, [note]


def _name_features(
    model: Transfer,
    run_data: RunData,
    precision: Precision,
    rows: NDArray[np.int64],
    views: int,
) -> str:
    assert run_data.pixels is not None
    contract = run_data.contract
    facts = [FORMAT, contract.decode_key(), contract.mean, contract.std, views, precision.name]
    facts += [model.head.in_features]
    text = json.dumps([*facts, precision.device.type, type(model.body).__name__])
    hashed = hashlib.sha256(text.encode())
    hashed.update(digest_weights(model.body).encode())
    hashed.update(run_data.pixels.content[rows].astype("<u8").tobytes())
    return hashed.hexdigest()[:40]


def count_views(config: Config, train_count: int) -> int:
    """Views of each image: 2 with its mirror image, where that keeps the label."""
    return 2 if config.augment.flip and train_count <= MIRRORED_AT_MOST else 1
