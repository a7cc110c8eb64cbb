"""Float images and the 8-bit images that they were made of: the value of each level 0..255.

It is taken as known only where the values of the images prove it. An image file then becomes the
same floats; of any other float data it is unknown what a file would be, and files are refused.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SLACK = 0.01  # of a level: float32 leaves a thousandth of it, values of other kinds half a level
BRIGHT = 128  # whole numbers that stay below this may be counts, or images of fewer bits


@dataclass(frozen=True)
class Levels:
    """A level k of an 8-bit image is the float (k / scale - mean) / std.

    Without `mean` and `std`, each with one number or with one a channel, it is k / scale.
    """

    scale: float
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def fits(self, channels: int) -> bool:
        """Whether it says something of images of so many channels."""
        return len(self.mean) == len(self.std) and len(self.mean) in (0, 1, channels)

    def table(self, channels: int) -> Floats:
        """The float of each level [256, C], with the bits of torchvision's ToTensor, Normalize."""
        steps: Floats = np.arange(256, dtype=np.float32)[:, None] / np.float32(self.scale)
        if self.mean:
            mean: Floats = np.array(self.mean, np.float32)
            std: Floats = np.array(self.std, np.float32)
            steps = np.divide(steps - mean, std)
        return np.ascontiguousarray(np.broadcast_to(steps, (256, channels)))

    def apply(self, pixels: NDArray[np.uint8]) -> Floats:
        """8-bit pixels [H, W, C] as the floats that the data of the run hold."""
        table = self.table(pixels.shape[2])
        planes = [table[:, c][pixels[:, :, c]] for c in range(pixels.shape[2])]
        return np.stack(planes, axis=2)


UNIT = Levels(255.0)
BYTE = Levels(1.0)
USUAL = (
    UNIT,
    BYTE,
    Levels(255.0, (0.5,), (0.5,)),
    Levels(255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),  # of ImageNet
    Levels(255.0, (0.1307,), (0.3081,)),  # of MNIST
)


def find_levels(
    images: Sequence[NDArray[np.floating]], candidates: Sequence[Levels] = USUAL
) -> Levels | None:
    """The one of `candidates` by which all values of these images [H, W, C] are whole levels.

    None where no one is. Levels with a common divisor prove nothing: 0 and 255 alone may be a
    mask, made of an image in another way.
    """
    for levels in candidates:
        if images and levels.fits(images[0].shape[2]) and _is_proved(images, levels):
            return levels
    return None


def _is_proved(images: Sequence[NDArray[np.floating]], levels: Levels) -> bool:
    seen = np.zeros(256, dtype=bool)
    for found in _levels_of(images, levels):
        whole = np.rint(found)
        is_level = (np.abs(found - whole) <= SLACK) & (whole >= 0) & (whole <= 255)
        if not is_level.all():
            return False
        seen[whole.astype(np.int64)] = True
    used = np.flatnonzero(seen)
    if not len(used) or int(np.gcd.reduce(used)) != 1:
        return False
    return levels != BYTE or bool(used[-1] >= BRIGHT)


def _levels_of(
    images: Sequence[NDArray[np.floating]], levels: Levels
) -> Iterator[NDArray[np.float64]]:
    """The levels, not rounded, of the finite values of each image."""
    for image in images:
        values = image.astype(np.float64)
        if levels.mean:
            values = values * np.array(levels.std) + np.array(levels.mean)
        values = values * levels.scale
        yield values[np.isfinite(values)]
