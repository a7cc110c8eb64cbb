"""All pixels of a set, decoded once: mapped from a pack on disk, held in memory, or neither.

Images that can't be decoded are listed with the reason and never returned.
"""

import math
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torchloupe.data.contract import Contract
from torchloupe.data.pack.decoding import (
    HUNG_SECONDS,
    BadImage,
    Chunk,
    Decoding,
    Progress,
    no_sign_of_life,
    rows_per_chunk,
    thread_count,
)
from torchloupe.data.pack.format import Pack
from torchloupe.data.pack.library import open_pack
from torchloupe.data.pack.location import choose_place
from torchloupe.data.pack.set_aside import UnreadableError
from torchloupe.data.sources.source import Data
from torchloupe.errors import DataError, ResourceError, printable
from torchloupe.system.cache import find_cache
from torchloupe.system.counter_rng import Keys, make_key

__all__ = ["BadImage", "Pixels", "open_pixels", "sound_rows", "statistics"]

DEVICE_SHARE = 0.2  # of the free memory of a GPU that pixels may take
STATISTICS_BYTES = 2**29  # of pixels that mean and standard deviation are taken from, about


@dataclass(eq=False)
class Pixels:
    """Decoded images of N samples, returned as batches [B, H, W, C] of uint8 or float32."""

    contract: Contract = field(repr=False)
    array: NDArray[Any] | None = field(repr=False)  # [N, H, W, C]; None: decoded on the fly
    content: Keys = field(repr=False)  # [N] a hash of each encoded image, or of its array
    bad: tuple[BadImage, ...]
    where: str  # "memory", "disk" or "decoded on the fly"
    notes: tuple[str, ...] = ()
    pack: Pack | None = field(default=None, repr=False)  # the pack on disk that `array` is of
    decode: Callable[[int], NDArray[Any]] | None = field(default=None, repr=False)
    check_files: Callable[[NDArray[np.int64] | None], None] | None = field(default=None, repr=False)
    _bad_rows: NDArray[np.int64] = field(init=False, repr=False)
    _on_device: dict[torch.device, Tensor | None] = field(default_factory=dict, repr=False)
    _pool: ThreadPoolExecutor | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._bad_rows = np.array([image.row for image in self.bad], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.content)

    def gather(self, rows: NDArray[np.int64]) -> Tensor:
        """The images at `rows` [B, H, W, C] on the CPU, copied; DataError for a bad image."""
        self._refuse_bad(rows)
        self._require_sound(rows)
        if self.array is not None:
            return torch.from_numpy(np.ascontiguousarray(self.array[rows]))
        if self.decode is None:
            raise DataError("these pixels were closed", "open them again")
        if self._pool is None:
            self._pool = ThreadPoolExecutor(thread_count(), thread_name_prefix="decode")
        coming = [(row, self._pool.submit(self.decode, row)) for row in map(int, rows)]
        return torch.from_numpy(np.stack([_await(row, image) for row, image in coming]))

    def gather_on(self, device: torch.device, rows: NDArray[np.int64]) -> Tensor:
        """The images at `rows` [B, H, W, C] on `device`, without waiting for it.

        On a GPU with room for all pixels they are kept there from the first call on.
        """
        if device.type != "cuda":
            return self.gather(rows).to(device)
        if device not in self._on_device:
            self._on_device[device] = self._move_to(device)
        kept = self._on_device[device]
        if kept is None:
            return self.gather(rows).pin_memory().to(device, non_blocking=True)
        self._refuse_bad(rows)
        return kept[torch.from_numpy(rows).pin_memory().to(device, non_blocking=True)]

    def require_unchanged_files(self, rows: NDArray[np.int64] | None = None) -> None:
        """DataError if a file of `rows` (or any) changed since the pack was built."""
        if self.check_files is not None:
            self.check_files(rows)

    def _require_sound(self, rows: NDArray[np.int64] | None = None) -> None:
        if self.pack is not None:
            self.require_unchanged_files(rows)
            self.pack.require_intact(rows)

    def _move_to(self, device: torch.device) -> Tensor | None:
        if self.array is None:
            return None
        free_bytes, _ = torch.cuda.mem_get_info(device)
        if self.array.nbytes > DEVICE_SHARE * free_bytes:
            return None
        self._require_sound()
        dtype = torch.float32 if self.contract.is_float else torch.uint8
        kept = torch.empty(self.array.shape, dtype=dtype, device=device)
        for start in range(0, len(self.array), 4096):
            chunk = torch.from_numpy(np.array(self.array[start : start + 4096]))
            kept[start : start + 4096] = chunk.to(device)
        return kept

    def _refuse_bad(self, rows: NDArray[np.int64]) -> None:
        if not len(self._bad_rows):
            return
        wrong = np.flatnonzero(np.isin(self._bad_rows, rows))
        if len(wrong):
            image = self.bad[wrong[0]]
            raise DataError(
                f"{printable(image.id)} was set aside and can't be used: {image.reason}",
                "leave the rows of Pixels.bad out",
            )


def _await(row: int, image: Future[NDArray[Any]]) -> NDArray[Any]:
    """The pixels of an image; HungError if they don't arrive."""
    for _ in range(int(HUNG_SECONDS)):  # in short waits, for a process that was suspended
        if wait([image], timeout=1).done:
            return image.result()
    raise no_sign_of_life([f"row {row}"])


def open_pixels(
    data: Data,
    contract: Contract,
    *,
    pack: str = "auto",
    cache_folder: Path | None = None,
    progress: Progress | None = None,
    announce: Callable[[str], None] | None = None,
) -> Pixels:
    """All images of `data`, decoded by `contract`; every one of them once, to find the bad ones.

    `pack` says where: disk, memory, off (decode on the fly) or auto, which takes the disk where
    there is room, else memory, else neither. Arrays that need no change are used where they
    are. `cache_folder` is by default the user's cache folder for torchloupe. `announce` gets a text
    with the size of a pack before it is built.
    """
    if not len(data.samples):
        raise DataError("there are no images", "give at least a few of every class")
    work = Decoding(data, contract, progress, announce)
    array = getattr(data.reader, "array", None)
    if array is not None and array.shape == work.shape and array.dtype == contract.dtype:
        content, bad = _look_through(data, array)
        mapped = isinstance(array, np.memmap)
        return Pixels(contract, array, content, bad, "disk" if mapped else "memory")
    notes: list[str] = []
    folder = find_cache(cache_folder)
    place = choose_place(work, pack, folder, notes)
    if place == "disk" and folder is not None:
        try:
            kept = open_pack(work, folder, notes)
            found = kept.pixels, kept.content, kept.bad
            check_files = getattr(data.reader, "require_unchanged", None)
            return Pixels(contract, *found, "disk", tuple(notes), kept, check_files=check_files)
        except OSError as error:
            reason = f"no pack on disk: {error.strerror or error} ({printable(folder)})"
            if pack == "disk":
                raise ResourceError(reason, "make it writable, or use data.pack=memory") from None
            notes.append(reason)
            place = choose_place(work, "auto", None, notes)
    if place == "memory":
        pixels = np.empty(work.shape, dtype=contract.dtype)

        def keep(chunk: Chunk, decoded: NDArray[Any]) -> None:
            pixels[chunk.start : chunk.start + len(decoded)] = decoded

        content, bad = work.run(keep)
        return Pixels(contract, pixels, content, bad, "memory", notes=tuple(notes))
    content, bad = work.run()
    where, again = "decoded on the fly", work.decode_again
    return Pixels(contract, None, content, bad, where, notes=tuple(notes), decode=again)


def sound_rows(pixels: Pixels, bad_fraction: float = 0.01) -> NDArray[np.int64]:
    """The rows that can be used; UnreadableError if more than this fraction can't."""
    if len(pixels.bad) > bad_fraction * len(pixels):
        raise UnreadableError(pixels.bad, len(pixels), bad_fraction)
    is_sound = np.ones(len(pixels), dtype=np.bool_)
    is_sound[[bad.row for bad in pixels.bad]] = False
    return np.flatnonzero(is_sound)


def statistics(
    pixels: Pixels, rows: NDArray[np.int64]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over `rows`, of pixels scaled to 0..1.

    For uint8 they come from counts and are exact whatever the order; a channel that never
    changes gets the standard deviation 1. Of more than STATISTICS_BYTES of pixels every n-th
    image is taken, so that a large pack need not be read as a whole before the first batch.
    """
    if not len(rows):
        raise DataError("there are no images to take the mean of", "give at least one")
    row_bytes = bytes_of_image(pixels.contract)
    rows = np.sort(rows)[:: max(1, -(-len(rows) // most_in_statistics(pixels.contract)))]
    step = rows_per_chunk(row_bytes)
    pieces = (rows[start : start + step] for start in range(0, len(rows), step))
    return statistics_of(pixels.contract, map(pixels.gather, pieces))


def most_in_statistics(contract: Contract) -> int:
    """How many images statistics are taken from, at most."""
    return max(1, STATISTICS_BYTES // bytes_of_image(contract))


def bytes_of_image(contract: Contract) -> int:
    """Bytes of the pixels of an image."""
    return math.prod(contract.size) * contract.channels * (4 if contract.is_float else 1)


def statistics_of(
    contract: Contract, batches: Iterable[Tensor]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """`statistics` of all images in `batches`, each [B, H, W, C]."""
    channels = contract.channels
    counts = torch.zeros(channels, 256, dtype=torch.int64)
    sums, squares, total = np.zeros(channels), np.zeros(channels), 0
    for images in batches:
        chunk = images.reshape(-1, channels)
        total += len(chunk)
        for c in range(channels):
            if contract.is_float:
                values = chunk[:, c].double()
                sums[c] += float(values.sum())
                squares[c] += float(values.square().sum())
            else:
                counts[c] += torch.bincount(chunk[:, c], minlength=256)
    if not total:
        raise DataError("none of the images looked at can be read", "check the files")
    if not contract.is_float:
        value = np.arange(256)
        sums, squares = counts.numpy() @ value, counts.numpy() @ value**2
    mean = sums / total
    std = np.sqrt(np.maximum(squares / total - mean**2, 0))
    span = contract.value_high - contract.value_low
    std = np.where(std < 1e-6 * span, span, std)
    mean = (mean - contract.value_low) / span
    return tuple(float(m) for m in mean), tuple(float(s) for s in std / span)


def _look_through(data: Data, array: NDArray[Any]) -> tuple[Keys, tuple[BadImage, ...]]:
    """The content key of each image in an array, and the images with NaN or infinite pixels."""
    content = np.fromiter((make_key(image.tobytes()) for image in array), dtype=np.uint64)
    if array.dtype == np.uint8:
        return content, ()
    step = rows_per_chunk(array[0].nbytes)
    bad = []
    for start in range(0, len(array), step):
        finite = np.isfinite(array[start : start + step]).all(axis=(1, 2, 3))
        for row in start + np.flatnonzero(~finite):
            name = str(data.samples.ids[row])
            bad.append(BadImage(int(row), name, "pixels that are not finite numbers"))
    return content, tuple(bad)
