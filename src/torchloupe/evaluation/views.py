"""Test-time views: the model sees several views of an image, and its logits are averaged.

Views are made of the images as the model takes them, on their device, so that they are the same
for files, packs, arrays and Datasets.
"""

from collections.abc import Iterator, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from torchloupe.errors import UsageError, did_you_mean, printable
from torchloupe.evaluation.inference import forward
from torchloupe.hardware.memory import MicroBatchLimit
from torchloupe.hardware.precision import Precision

VIEWS = {"one": 1, "flip": 2, "five": 5, "ten": 10}  # forwards of each image
CROP_SIDE = 7 / 8  # of a corner, as in the usual crop of 224 from 256 pixels


def check_views(views: str) -> None:
    """UsageError for anything but "one", "flip", "five" and "ten"."""
    if views not in VIEWS:
        raise UsageError(
            f"views are {', '.join(VIEWS)}, got {printable(views)!r}", did_you_mean(views, VIEWS)
        )


def make_views(images: Tensor, views: str) -> Iterator[Tensor]:
    """Each view of `images` [B, C, H, W], in their shape.

    one: the image. flip: also mirrored left to right. five: the image and its four corners,
    CROP_SIDE of the sides, enlarged to the image's size. ten: those five, and all mirrored.
    """
    check_views(views)
    height, width = images.shape[-2:]
    tall, wide = max(1, round(height * CROP_SIDE)), max(1, round(width * CROP_SIDE))
    made = [images]
    if views in ("five", "ten"):
        corners = [
            images[..., top : top + tall, left : left + wide]
            for top in (0, height - tall)
            for left in (0, width - wide)
        ]
        made += [
            F.interpolate(corner, (height, width), mode="bilinear", align_corners=False)
            for corner in corners
        ]
    for view in made:
        yield view
        if views in ("flip", "ten"):
            yield view.flip(-1)


def forward_views(
    model: nn.Module,
    images: Tensor,
    views: str = "one",
    precision: Precision | None = None,
    micro_limit: MicroBatchLimit | None = None,
    sizes: Sequence[int] = (),
) -> Tensor:
    """The mean of the logits [B, K] over all views of `images`; `sizes` as in `forward`."""
    micro_limit = micro_limit or MicroBatchLimit()
    seen = make_views(images, views)
    logits = [forward(model, view, precision, micro_limit, sizes) for view in seen]
    total = logits[0]
    for more in logits[1:]:
        total = total + more
    return total if len(logits) == 1 else total / len(logits)
