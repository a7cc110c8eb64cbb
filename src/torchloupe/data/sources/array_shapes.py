"""The layout of arrays of images, [N, H, W, C] or another, told by their shapes.

Channels are 1, 3 or 4; any other number has to be said, since the axes of it are not certain.
"""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from torchloupe.errors import DataError

_FEW = 32  # channels, at most, for which a hint takes the odd axis out of three


def as_nhwc(images: NDArray[Any], layout: str) -> NDArray[Any]:
    """Images as [N, H, W, C], a view; DataError for shapes that don't say what is what."""
    shape = list(images.shape)
    if images.ndim == 3 and layout in ("auto", "NHW"):
        return images[..., None]
    if images.ndim == 4 and layout == "NHWC":
        return images
    if images.ndim == 4 and layout == "NCHW":
        return images.transpose(0, 2, 3, 1)
    if images.ndim == 4 and layout == "auto":
        first, last = shape[1] in (1, 3, 4), shape[3] in (1, 3, 4)
        if first != last:
            return images.transpose(0, 2, 3, 1) if first else images
        why = "both axis 1 and axis 3 could be" if first else "neither axis 1 nor axis 3 looks like"
        raise DataError(
            f"images have shape {shape}: {why} the channels (1, 3 or 4)",
            "say which: data.layout=NHWC or data.layout=NCHW" if first else _hint_channels(shape),
        )
    if images.ndim == 2 and shape[1] > 1:
        side = int(shape[1] ** 0.5)
        example = f"reshape(-1, {side}, {side})" if side * side == shape[1] else "reshape(-1, H, W)"
        raise DataError(f"images have shape {shape}: each is one flat row", f"use images.{example}")
    wanted = {"NHW": "[N, H, W]", "auto": "[N, H, W], [N, H, W, C] or [N, C, H, W]"}
    raise DataError(
        f"images have shape {shape}; wanted {wanted.get(layout, f'four axes ({layout})')}",
        _hint_axes(shape) or "give one image per row, or another data.layout",
    )


def _hint_channels(shape: Sequence[int]) -> str:
    """What to do about images of four axes, none of whose outer ones are 1, 3 or 4 channels."""
    _, one, two, three = shape
    if two in (1, 3, 4):
        return (
            "if they are [H, W, C, N], as in MATLAB, use images.transpose(3, 0, 1, 2); else say "
            "data.layout=NHWC or data.layout=NCHW"
        )
    if one == two == three:
        return (
            f"volumes have no layout of their own: data.layout=NCHW takes the {one} slices of each "
            f"as channels; images.reshape(-1, {two}, {three}) makes each slice an image, with "
            f"labels.repeat({one})"
        )
    if one == two and three <= _FEW:
        return f"data.layout=NHWC takes axis 3 as {three} channels"
    if two == three and one <= _FEW:
        return f"data.layout=NCHW takes axis 1 as {one} channels"
    return "say which: data.layout=NHWC or data.layout=NCHW"


def _hint_axes(shape: Sequence[int]) -> str:
    """What to do about volumes of five axes; "" for any other number."""
    if len(shape) != 5:
        return ""
    place = "[..., 0]" if shape[4] <= shape[1] else "[:, 0]"
    return (
        f"volumes of several channels are not read: use images{place}, whose slices are channels "
        "with data.layout=NCHW"
    )
