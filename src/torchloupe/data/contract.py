"""The contract: how an image becomes what the model sees, chosen once and kept with the run.

Decoding, colour, size, resampling, normalisation and class names are one frozen value, so that
what trains is what validates, predicts and serves.
"""

import json
import math
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torchloupe.data.image.arrays import check_array, fit_array
from torchloupe.data.image.decode import FULL_WHITE, decode_image
from torchloupe.data.image.formats import ImageError
from torchloupe.data.image.resize import KERNELS
from torchloupe.data.survey import LARGEST_SIDE
from torchloupe.errors import CheckpointError, printable

FITS = ("crop", "pad", "stretch")
MODES = {"L": 1, "RGB": 3}
FORMAT = 1
PIECE_NUMBERS = 2**18  # normalised at a time on the CPU, so that they stay in its cache


@dataclass(frozen=True)
class Contract:
    """How images are decoded, fitted and normalised, and what the classes are called.

    `mode` is L (1 channel), RGB (3) or "array" (any number; no image file can be decoded to it).
    Pixels are uint8 0..255, or float32 within `value_low`..`value_high`; `mean` and `std` [C]
    are those of the pixels scaled to 0..1.

    Two numbers turn logits into what is reported: they are divided by `temperature` before the
    softmax (or the sigmoids), and a prediction whose confidence is below `threshold` is unsure.
    """

    mode: str
    channels: int
    size: tuple[int, int]  # height, width
    fit: str = "crop"
    kernel: str = "bilinear"
    antialias: bool = True
    dtype: str = "uint8"
    value_low: float = 0.0
    value_high: float = 255.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    class_names: tuple[str, ...] = ()
    multi_label: bool = False
    decoder: str = ""
    white_level: int = FULL_WHITE  # of 16-bit image files: the value that becomes 255
    temperature: float = 1.0  # of the logits, fitted on val at the end of the run
    threshold: float | None = None  # smallest confidence, 0..1, of a sure prediction; None: none

    def decode(self, image: bytes | NDArray[Any]) -> NDArray[Any]:
        """Pixels [H, W, C] of an encoded image, or of an array [H, W], [H, W, C] or [C, H, W].

        uint8, or float32 where this contract is of floats; ImageError with the reason.
        """
        if isinstance(image, bytes):
            if self.mode not in MODES:
                raise ImageError(f"the model takes arrays of {self.channels} channels, no files")
            pixels: NDArray[Any] = decode_image(
                image,
                self.channels,
                self.size,
                fit=self.fit,
                kernel=self.kernel,
                antialias=self.antialias,
                white_level=self.white_level,
            )
        else:
            pixels = fit_array(
                check_array(image, self.channels, self.is_float),
                self.size,
                self.channels,
                is_picture=self.mode in MODES,
                fit=self.fit,
                kernel=self.kernel,
                antialias=self.antialias,
            )
        return (
            self._stretch_values(pixels) if self.is_float and pixels.dtype == np.uint8 else pixels
        )

    def normalise(self, images: Tensor) -> Tensor:
        """Images [B, H, W, C] as decoded, on any device, as float32 [B, C, H, W] for the model.

        One multiplication and one addition a pixel, each rounded once: an image gets the same
        bits in any batch. The result is a view whose memory is channels_last.
        """
        count, height, width, channels = images.shape
        scale, offset = self._factors(images.device, width)
        flat = images.reshape(count, height, width * channels)
        made = torch.empty(flat.shape, dtype=torch.float32, device=flat.device)
        few = PIECE_NUMBERS // len(scale) // height if flat.device.type == "cpu" else count
        for start in range(0, count, max(1, few)):
            piece = slice(start, start + max(1, few))
            made[piece].copy_(flat[piece]).mul_(scale).add_(offset)
        return made.view(images.shape).permute(0, 3, 1, 2)

    def limits(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """What black and white [C] become when normalised, on `device`."""
        known = self._known_limits
        if device not in known:
            mean = np.array(self.mean or [0.0] * self.channels)
            std = np.array(self.std or [1.0] * self.channels)
            low, high = ((end - mean) / std for end in (0.0, 1.0))
            both = torch.from_numpy(np.stack([low, high]).astype(np.float32)).to(device)
            known[device] = both[0], both[1]
        return known[device]

    def factors(self) -> tuple[Tensor, Tensor]:
        """Scale and offset [C] of a pixel's value, with which `normalise` multiplies and adds."""
        scale, offset = self._factors(torch.device("cpu"), 1)
        return scale.clone(), offset.clone()

    @property
    def is_float(self) -> bool:
        """Whether pixels are float32 rather than uint8."""
        return self.dtype == "float32"

    def with_statistics(self, mean: tuple[float, ...], std: tuple[float, ...]) -> "Contract":
        """This contract with the mean and standard deviation [C] of pixels scaled to 0..1."""
        return replace(self, mean=tuple(map(float, mean)), std=tuple(map(float, std)))

    def as_given(self) -> "Contract":
        """This contract with a normalisation that changes nothing."""
        span = self.value_high - self.value_low
        mean, std = -self.value_low / span, 1 / span
        return self.with_statistics((mean,) * self.channels, (std,) * self.channels)

    def decode_key(self) -> str:
        """The fields that decide pixels, as text: equal keys, equal pixels."""
        kept = {k: v for k, v in asdict(self).items() if k not in _NOT_DECODING}
        if self.white_level == FULL_WHITE:  # packs of versions without this field stay in use
            del kept["white_level"]
        return json.dumps(kept, sort_keys=True)

    def to_json(self) -> str:
        """The text of contract.json."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1)

    @staticmethod
    def from_json(text: str) -> "Contract":
        """The contract in the text of a contract.json; CheckpointError for any other text."""
        try:
            return _read(json.loads(text))
        except (ValueError, TypeError, KeyError, *_STRANGE) as error:
            raise CheckpointError(
                f"this is not a contract.json of torchloupe ({printable(error)})",
                "use a run folder as it was written, and the torchloupe version that wrote it",
            ) from None

    @cached_property
    def _known_factors(self) -> dict[tuple[torch.device, int], tuple[Tensor, Tensor]]:
        return {}

    @cached_property
    def _known_limits(self) -> dict[torch.device, tuple[Tensor, Tensor]]:
        return {}

    def _factors(self, device: torch.device, width: int) -> tuple[Tensor, Tensor]:
        """Scale and offset for a row of pixels [width * C], cached per device."""
        known = self._known_factors
        if (device, width) not in known:
            mean = np.array(self.mean or [0.0] * self.channels)
            std = np.array(self.std or [1.0] * self.channels)
            span = self.value_high - self.value_low
            scale, offset = 1 / (span * std), -(self.value_low / span + mean) / std
            offset[np.abs(offset) < 1e-12] = 0.0
            a, b = (np.tile(part.astype(np.float32), width) for part in (scale, offset))
            known[device, width] = torch.from_numpy(a).to(device), torch.from_numpy(b).to(device)
        return known[device, width]

    def _stretch_values(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """uint8 0..255 as float32 within the range of the data this contract was made for."""
        step = (self.value_high - self.value_low) / 255
        values = (self.value_low + np.arange(256) * step).astype(np.float32)
        return np.take(values, pixels)


_STRANGE = (AttributeError, OverflowError, RecursionError)  # of JSON that is no contract at all
_NOT_DECODING = ("mean", "std", "class_names", "multi_label", "temperature", "threshold")


def _read(content: dict[str, Any]) -> Contract:
    """A Contract of values of the right type and size; ValueError names what is wrong.

    Version 0.1 wrote no `white_level`, `temperature` and `threshold`.
    """
    if content.pop("format") != FORMAT:
        raise ValueError("another format version")
    content = {"white_level": FULL_WHITE, "temperature": 1.0, "threshold": None, **content}
    names = {field.name for field in fields(Contract)}
    if set(content) != names:
        raise ValueError(f"fields {sorted(set(content) ^ names)} unknown or missing")
    for name in ("size", "mean", "std", "class_names"):
        content[name] = tuple(content[name])
    made = Contract(**content)
    floats = (made.value_low, made.value_high, *made.mean, *made.std)
    problems = {
        "mode": made.mode in (*MODES, "array"),
        "channels": type(made.channels) is int
        and 1 <= made.channels <= 4096
        and made.channels == MODES.get(made.mode, made.channels),
        "size": len(made.size) == 2
        and all(type(side) is int and 1 <= side <= LARGEST_SIDE for side in made.size),
        "fit": made.fit in FITS,
        "kernel": made.kernel in KERNELS,
        "antialias": type(made.antialias) is bool,
        "dtype": made.dtype in ("uint8", "float32"),
        "mean and std": all(map(_is_number, floats))
        and {len(made.mean), len(made.std)} <= {0, made.channels}
        and all(std > 0 for std in made.std)
        and made.value_low < made.value_high,
        "class_names": all(type(name) is str for name in made.class_names),
        "multi_label": type(made.multi_label) is bool,
        "decoder": type(made.decoder) is str,
        "white_level": type(made.white_level) is int and 255 <= made.white_level <= FULL_WHITE,
        "temperature": _is_number(made.temperature) and made.temperature > 0,
        "threshold": made.threshold is None
        or (_is_number(made.threshold) and 0 <= made.threshold <= 1),
    }
    wrong = [name for name, fine in problems.items() if not fine]
    if wrong:
        raise ValueError("wrong " + ", ".join(wrong))
    return made


def _is_number(value: object) -> bool:
    """Whether it is a finite int or float, and no bool."""
    return isinstance(value, (int, float)) and type(value) is not bool and math.isfinite(value)
