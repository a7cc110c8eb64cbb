"""A run as `loupe serve` and `loupe predict --fast` compute it on a CPU: the same function in fewer
operations.

Convolutions are fused with their padding, BatchNorm and activation, or at least with the BatchNorm,
and images go through the network a few at a time, so that they stay in the CPU's caches.
Probabilities differ from those of `loupe predict` by rounding, at most CLOSE; this is tried, on
logits too, before a run is so served.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from torchloupe.data.contract import Contract
from torchloupe.evaluation.agreement import find_gap
from torchloupe.evaluation.inference import (
    BATCH_MULTIPLE,
    LARGE_IMAGE,
    eval_mode,
    find_equal_sizes,
    forward,
    to_probabilities,
)
from torchloupe.hardware.layout import crashes_in_channels_last, release
from torchloupe.hardware.precision import Precision
from torchloupe.lens.copies import deep_copy
from torchloupe.model.folding import fold_norms
from torchloupe.model.fusing import FusedConvolution, fuse_convolutions
from torchloupe.report.look import Look
from torchloupe.trained.outputs import precision_of
from torchloupe.trained.prediction import Prediction, predict_images
from torchloupe.trained.run import Run

CLOSE = 1e-5  # largest difference of a probability from that of `loupe predict`
LOGITS_CLOSE = 1e-3  # of logits, as a share of what images change in them
KNOWN = ("torch.", "torchloupe.", "torchvision.", "timm.")  # take one path for all images
Fold = Callable[[nn.Module, Tensor], nn.Module]


class FoldedRun:
    """What `fold_run` makes of a run: its classes, its probabilities, and where it looks.

    Several threads may ask for probabilities at once.
    """

    def __init__(self, run: Run, network: nn.Module, sizes: tuple[int, ...]) -> None:
        self.run = run
        self.contract: Contract = run.contract
        self._network = network
        self._precision = Precision("fp32", run.device)
        self._sizes = sizes

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names, in the order of the outputs."""
        return self.run.class_names

    def probabilities(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Class probabilities [B, K] of decoded images [B, H, W, C]; alone or with others an image
        gets the same bits."""
        shares = to_probabilities(
            torch.from_numpy(self.logits(pixels)),
            self.contract.multi_label,
            self.contract.temperature,
        )
        rows: NDArray[np.float32] = shares.numpy()
        return rows

    def logits(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Logits [B, K] of decoded images [B, H, W, C], not divided by the temperature."""
        found = []
        with torch.inference_mode(), eval_mode(self._network):  # a copy, never trained again
            for start in range(0, len(pixels), BATCH_MULTIPLE):
                piece = torch.from_numpy(pixels[start : start + BATCH_MULTIPLE])
                images = self.contract.normalise(piece)
                found.append(forward(self._network, images, self._precision, sizes=self._sizes))
        rows: NDArray[np.float32] = torch.cat(found).numpy()
        return rows

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.run.folder

    def predict(self, images: Any, *, top: int = 5, raw: bool = False) -> list[Prediction]:
        """The predictions of several images, as `Run.predict` gives them within CLOSE."""
        return predict_images(images, self.contract, self.logits, top, raw=raw)

    def look(self, image: Any) -> Look:
        """Where the run looks, by its own network."""
        return self.run.look(image)


def fold_run(run: Run) -> FoldedRun | None:
    """The run with its convolutions fused; None where that is not possible or not the same.

    On a CPU and in float32 only: elsewhere it gains little, or rounding is more than CLOSE.
    """
    if not can_fold(run) or not _has_one_path(run) or crashes_in_channels_last(run.model):
        return None
    return _fold_by(_fuse, run) or _fold_by(fold_norms, run)


def can_fold(run: Run) -> bool:
    """Whether the device, the number format and the images allow it; the network is not tried."""
    values = math.prod((*run.contract.size, run.contract.channels))
    is_small = values < LARGE_IMAGE and run.device.type == "cpu"
    return is_small and precision_of(run.config, run.device).name == "fp32"


def _fuse(network: nn.Module, images: Tensor) -> nn.Module:
    """The network fused, also one that was trained on contiguous images: here it may do without."""
    twin = deep_copy(network, network)
    release(twin)
    return fuse_convolutions(twin, images)


def _fold_by(fold: Fold, run: Run) -> FoldedRun | None:
    """What one way makes of the run; None where it makes nothing, or not the same."""
    pixels = make_trial_pixels(run.contract)
    images = run.contract.normalise(torch.from_numpy(pixels))
    precision = Precision("fp32", run.device)
    try:
        network = fold(run.model, images).to(memory_format=torch.channels_last)
        if _count_layers(network) == _count_layers(run.model):
            return None
        with eval_mode(network):
            sizes = find_equal_sizes(network, images, precision)
        folded = FoldedRun(run, network, sizes)
        is_same = _are_close(folded, run, pixels)
    except Exception:  # code that needs contiguous images, or can't be copied: it stays as it is
        return None
    return folded if is_same else None


def make_trial_pixels(contract: Contract) -> NDArray[Any]:
    """BATCH_MULTIPLE different images [B, H, W, C]: noise, coarser and coarser, and even ones."""
    height, width = contract.size
    random = np.random.default_rng(0)
    made = np.empty((BATCH_MULTIPLE, height, width, contract.channels), dtype=np.uint8)
    for number, image in enumerate(made):
        cell = 2 ** (number % 7)
        shape = (-(-height // cell), -(-width // cell), contract.channels)
        coarse = random.integers(0, 256, shape, dtype=np.uint8)
        image[:] = coarse.repeat(cell, 0).repeat(cell, 1)[:height, :width]
    return made / np.float32(255) if contract.is_float else made


def _has_one_path(run: Run) -> bool:
    """Whether all images go through the same layers, so that some of them tell of all.

    Of own code that is known if torch.fx can trace it: it can't where values decide.
    """
    if all(f"{type(module).__module__}.".startswith(KNOWN) for module in run.model.modules()):
        return True
    try:
        fx.symbolic_trace(run.model)
    except Exception:  # whatever that code raises for values that are none
        return False
    return True


def _count_layers(network: nn.Module) -> tuple[int, int]:
    """How many BatchNorms and how many fused convolutions there are."""
    kinds = (_BatchNorm, FusedConvolution)
    norms, fused = (sum(isinstance(m, kind) for m in network.modules()) for kind in kinds)
    return norms, fused


def _are_close(folded: FoldedRun, run: Run, pixels: NDArray[Any]) -> bool:
    """Whether both say the same of these images, and would not say it of any others."""
    found, wanted = folded.probabilities(pixels), run.probabilities(pixels)
    is_same_class = np.array_equal(found.argmax(axis=1), wanted.argmax(axis=1))
    if not is_same_class or not float(np.abs(found - wanted).max()) <= CLOSE:
        return False
    gap = find_gap(folded.logits(pixels), run.logits(pixels))
    return gap.is_within(LOGITS_CLOSE) and gap.tells(LOGITS_CLOSE)
