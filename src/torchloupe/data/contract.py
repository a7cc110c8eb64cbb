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
from torchloupe.data.image.decode import FULL_WHITE, decode_image, read_size
from torchloupe.data.image.formats import ImageError
from torchloupe.data.image.resize import KERNELS
from torchloupe.data.levels import BYTE, UNIT, Levels
from torchloupe.data.survey import LARGEST_SIDE
from torchloupe.errors import CheckpointError, printable

FITS = ("crop", "pad", "stretch")
EXACT = "exact"  # images have the size already: how a Dataset brings them to it is not known
MODES = {"L": 1, "RGB": 3}
FORMAT = 1
PIECE_NUMBERS = 2**18  # normalised at a time on the CPU, so that they stay in its cache


@dataclass(frozen=True)
class Contract:
    """How images are decoded, fitted and normalised, and what the classes are called.

    `mode` is L (1 channel), RGB (3) or "array" (any number; no image file can be decoded to it).
    Pixels are uint8 0..255, or float32 within `value_low`..`value_high`; `mean` and `std` [C]
    are those of the pixels scaled to 0..1. `levels` say what 0..255 of files become as floats;
    where they are not known, images that are no floats are refused.

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
    levels: Levels | None = None  # of floats: what 0..255 become; None: not known

    def decode(self, image: bytes | NDArray[Any]) -> NDArray[Any]:
        """Pixels [H, W, C] of an encoded image, or of an array [H, W], [H, W, C] or [C, H, W].

        uint8, or float32 where this contract is of floats; ImageError with the reason.
        """
        if isinstance(image, bytes):
            self.refuse_files()
            if self.fit == EXACT:
                _refuse_other_size(read_size(image), self.size)
            pixels: NDArray[Any] = decode_image(
                image,
                self.channels,
                self.size,
                fit=FITS[-1] if self.fit == EXACT else self.fit,
                kernel=self.kernel,
                antialias=self.antialias,
                white_level=self.white_level,
            )
        else:
            given = check_array(image, self.channels, self.is_float)
            given = _read_whole(given, self) if self.is_float else given
            if self.fit == EXACT:
                _refuse_other_size(given.shape[:2], self.size)
            pixels = fit_array(
                given,
                self.size,
                self.channels,
                is_picture=self.mode in MODES,
                fit=self.fit,
                kernel=self.kernel,
                antialias=self.antialias,
            )
        if self.levels is not None and pixels.dtype == np.uint8:
            return self.levels.apply(pixels)
        return pixels

    def refuse_files(self) -> None:
        """ImageError where no image file can become what the model takes."""
        if self.mode not in MODES:
            raise ImageError(f"the model takes arrays of {self.channels} channels, no files")
        self.refuse_levels()

    def refuse_levels(self) -> None:
        """ImageError where the model takes floats and what 0..255 become is not known."""
        if self.is_float and self.levels is None:
            raise ImageError(
                "the run was trained on float tensors or arrays, and how these were made of images "
                "is not known",
                "give it tensors made in the same way (run.predict(dataset) works), or train on "
                "PIL or uint8 images, without ToTensor and Normalize: torchloupe scales them",
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
        if self.levels is None:  # and of those without this one
            del kept["levels"]
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


_STRANGE = (AttributeError, OverflowError, RecursionError)  # of JSON that is no contract at all
_NOT_DECODING = ("mean", "std", "class_names", "multi_label", "temperature", "threshold")


def takes_files(contract: Contract) -> bool:
    """Whether image files can become what the model takes."""
    return contract.mode in MODES and (not contract.is_float or contract.levels is not None)


def _read_whole(pixels: NDArray[Any], contract: Contract) -> NDArray[Any]:
    """An array for a contract of floats: whole numbers 0..255 as uint8 where these are levels.

    ImageError for whole numbers that the model was surely not trained on.
    """
    if pixels.dtype == np.uint8:
        contract.refuse_levels()
        return pixels
    if pixels.dtype.kind == "f":
        return pixels
    low, high = int(pixels.min()), int(pixels.max())
    if contract.levels is not None and low >= 0 and high <= 255:
        return pixels.astype(np.uint8)
    least, most = contract.value_low, contract.value_high
    if low < 2 * least - most or high > 2 * most - least:
        raise ImageError(
            f"whole numbers from {low} to {high}, where the model was trained on numbers from "
            f"{least:g} to {most:g}",
            "scale them as the images of the training were",
        )
    return pixels.astype(np.float32)


def _refuse_other_size(found: tuple[int, ...], size: tuple[int, int]) -> None:
    """ImageError for another height and width than the model takes."""
    if found != size:
        raise ImageError(
            f"an image of {found[0]} x {found[1]} pixels, and the run was trained on float tensors "
            f"of {size[0]} x {size[1]}, to which its Dataset brought images in a way not known",
            "give it what the Dataset gives (run.predict(dataset) works), or train with "
            "data.fit set to crop, pad or stretch, which then resizes",
        )


def _read(content: dict[str, Any]) -> Contract:
    """A Contract of values of the right type and size; ValueError names what is wrong.

    Version 0.1 wrote no `white_level`, `temperature` and `threshold`, and later ones no `levels`.
    """
    if content.pop("format") != FORMAT:
        raise ValueError("another format version")
    content = {"white_level": FULL_WHITE, "temperature": 1.0, "threshold": None, **content}
    is_old = "levels" not in content
    content["levels"] = _read_levels(content.get("levels"))
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
        "fit": made.fit in (*FITS, EXACT),
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
        "levels": made.levels is None or made.levels.fits(made.channels),
    }
    wrong = [name for name, fine in problems.items() if not fine]
    if wrong:
        raise ValueError("wrong " + ", ".join(wrong))
    return replace(made, levels=_old_levels(made)) if is_old else made


def _read_levels(content: dict[str, Any] | None) -> Levels | None:
    """The Levels in their part of a contract.json."""
    if content is None:
        return None
    scale, mean, std = (content[name] for name in ("scale", "mean", "std"))
    made = Levels(scale, tuple(mean), tuple(std))
    if not all(map(_is_number, (made.scale, *made.mean, *made.std))):
        raise ValueError("wrong levels")
    if not all(number > 0 for number in (made.scale, *made.std)):
        raise ValueError("wrong levels")
    return made


def _old_levels(made: Contract) -> Levels | None:
    """The levels of a contract that says nothing of them: those of arrays in a usual range.

    What a Dataset gave was taken as it is, and nothing is known of how it was made.
    """
    if not made.is_float or made.as_given() == made:
        return None
    return {(0.0, 1.0): UNIT, (0.0, 255.0): BYTE}.get((made.value_low, made.value_high))


def _is_number(value: object) -> bool:
    """Whether it is a finite int or float, and no bool."""
    return isinstance(value, (int, float)) and type(value) is not bool and math.isfinite(value)
