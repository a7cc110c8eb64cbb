"""Images moved, turned and erased: one gather or one resampling for a whole batch.

Each image of a batch gets its own change, with the same bits in any batch.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

# How padding is spelt in the settings, and by torch.
PADDINGS = {"edge": "border", "reflect": "reflection", "zero": "zeros"}


def shift(
    images: Tensor,
    down: NDArray[np.int32],
    right: NDArray[np.int32],
    flips: NDArray[np.bool_],
    padding: str = "edge",
) -> Tensor:
    """Images [B, C, H, W] moved by whole pixels [B], and mirrored if asked.

    The same as padding each image and cropping it. One gather for the whole batch; pixels are
    moved and never computed. channels_last.
    """
    count, channels, height, width = images.shape
    kind = torch.int32 if images.numel() < 2**31 else torch.int64
    moves = np.stack([down, right, flips.astype(np.int32)])
    down_B, right_B, flip_B = torch.from_numpy(moves).to(images.device, non_blocking=True)
    rows = torch.arange(height, device=images.device, dtype=kind) - down_B[:, None]
    columns = torch.arange(width, device=images.device, dtype=kind) - right_B[:, None]
    if padding == "reflect":
        rows, columns = _reflect(rows, height), _reflect(columns, width)
    if padding == "zero":
        row_outside = (rows < 0) | (rows >= height)
        column_outside = (columns < 0) | (columns >= width)
    rows, columns = rows.clamp_(0, height - 1), columns.clamp_(0, width - 1)
    columns = torch.where(flip_B[:, None] > 0, width - 1 - columns, columns)
    rows += torch.arange(count, device=images.device, dtype=kind)[:, None] * height
    places = (rows * width)[:, :, None] + columns[:, None, :]
    pixels = images.permute(0, 2, 3, 1).reshape(-1, channels)
    if channels == 1:  # four times faster without the second dimension
        pixels = pixels[:, 0]
    moved = pixels.index_select(0, places.reshape(-1)).view(count, height, width, channels)
    if padding == "zero":
        column_outside = column_outside.repeat_interleave(channels, dim=1)
        is_outside = row_outside[:, :, None] | column_outside[:, None, :]
        moved.view(count, height, -1).masked_fill_(is_outside, 0.0)
    return moved.permute(0, 3, 1, 2)


def warp(images: Tensor, affine: NDArray[np.float64], padding: str = "edge") -> Tensor:
    """Images [B, C, H, W] seen through the maps [B, 2, 3] from -1..1 to -1..1; bilinear.

    As torch's affine_grid and grid_sample, but the grid is made of single multiplications and
    additions: affine_grid multiplies matrices, whose bits depend on the size of the batch.
    """
    count, _, height, width = images.shape
    maps = torch.from_numpy(affine.astype(np.float32)).to(images.device, non_blocking=True)
    columns = (2 * torch.arange(width, device=images.device) + 1) / width - 1
    rows = (2 * torch.arange(height, device=images.device) + 1) / height - 1
    grid = torch.empty(count, height, width, 2, device=images.device)
    for axis in (0, 1):
        along = (maps[:, axis, 0, None] * columns).add_(maps[:, axis, 2, None])
        across = maps[:, axis, 1, None] * rows
        torch.add(along[:, None, :], across[:, :, None], out=grid[..., axis])
    warped = F.grid_sample(
        images,
        grid.to(images.dtype),
        mode="bilinear",
        padding_mode=PADDINGS[padding],
        align_corners=False,
    )
    return warped.contiguous(memory_format=torch.channels_last)


def erase(images: Tensor, top: NDArray[np.int32], left: NDArray[np.int32], side: int) -> Tensor:
    """`images` [B, C, H, W] with a square of each set to 0, cut off at the border; in place."""
    count, channels, height, width = images.shape
    corners = torch.from_numpy(np.stack([top, left]).astype(np.int64)).to(images.device)
    span = torch.arange(side, device=images.device)
    rows = (corners[0][:, None] + span).clamp_(0, height - 1)
    columns = (corners[1][:, None] + span).clamp_(0, width - 1)
    rows += torch.arange(count, device=images.device)[:, None] * height
    places = (rows * width)[:, :, None] + columns[:, None, :]
    images = images.contiguous(memory_format=torch.channels_last)
    pixels = images.permute(0, 2, 3, 1).view(-1, channels)
    pixels.index_fill_(0, places.reshape(-1), 0.0)
    return images


def _reflect(places: Tensor, side: int) -> Tensor:
    """Positions up to one side beyond an edge, reflected without repeating the edge."""
    last = side - 1
    return last - (last - places.abs()).abs()
