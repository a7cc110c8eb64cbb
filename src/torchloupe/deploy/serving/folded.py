"""A run as a server computes it on a CPU: the same function of an image in fewer operations.

BatchNorms are folded into the convolutions before them, weights are in channels_last, and images
go through the network a few at a time, so that they stay in the CPU's caches. Probabilities differ
from those of `loupe predict` by rounding, at most CLOSE; this is tried before a run is so served.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from torchloupe.data.contract import Contract
from torchloupe.evaluation.inference import (
    BATCH_MULTIPLE,
    LARGE_IMAGE,
    eval_mode,
    find_equal_sizes,
    forward,
    to_probabilities,
)
from torchloupe.hardware.layout import crashes_in_channels_last
from torchloupe.hardware.precision import Precision
from torchloupe.model.folding import fold_norms
from torchloupe.report.look import Look
from torchloupe.trained.outputs import precision_of
from torchloupe.trained.run import Run

CLOSE = 1e-5  # largest difference of a probability from that of `loupe predict`


class FoldedRun:
    """What `fold_run` makes of a run: its classes, its probabilities, and where it looks."""

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
        found = []
        with eval_mode(self._network):
            for start in range(0, len(pixels), BATCH_MULTIPLE):
                piece = torch.from_numpy(pixels[start : start + BATCH_MULTIPLE])
                images = self.contract.normalise(piece)
                found.append(forward(self._network, images, self._precision, sizes=self._sizes))
        shares = to_probabilities(
            torch.cat(found), self.contract.multi_label, self.contract.temperature
        )
        rows: NDArray[np.float32] = shares.numpy()
        return rows

    def look(self, image: Any) -> Look:
        """Where the run looks, by its own network."""
        return self.run.look(image)


def fold_run(run: Run) -> FoldedRun | None:
    """The run with its BatchNorms folded; None where that is not possible or not the same.

    On a CPU and in float32 only: elsewhere folding gains little, or rounding more than CLOSE.
    """
    contract = run.contract
    is_large = math.prod((*contract.size, contract.channels)) >= LARGE_IMAGE
    if run.device.type != "cpu" or precision_of(run.config, run.device).name != "fp32":
        return None
    if is_large or not _has_one_path(run) or crashes_in_channels_last(run.model):
        return None
    pixels = make_trial_pixels(contract)
    images = contract.normalise(torch.from_numpy(pixels))
    try:
        network = fold_norms(run.model, images).to(memory_format=torch.channels_last)
        if _count_norms(network) == _count_norms(run.model):
            return None
        with eval_mode(network):
            sizes = find_equal_sizes(network, images, Precision("fp32", run.device))
        folded = FoldedRun(run, network, sizes)
        is_same = _are_close(folded.probabilities(pixels), run.probabilities(pixels))
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
    if type(run.model).__module__.startswith(("torchloupe.", "torchvision.", "timm.")):
        return True
    try:
        fx.symbolic_trace(run.model)
    except Exception:  # whatever that code raises for values that are none
        return False
    return True


def _count_norms(network: nn.Module) -> int:
    return sum(isinstance(module, _BatchNorm) for module in network.modules())


def _are_close(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> bool:
    is_same_class = np.array_equal(found.argmax(axis=1), wanted.argmax(axis=1))
    return is_same_class and float(np.abs(found - wanted).max()) <= CLOSE
