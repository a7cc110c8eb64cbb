"""Nearly identical images: resized, encoded again, cropped a little, brightened or mirrored.

Each image gets a 64-bit perceptual hash of its lowest frequencies (DCT; Zauner 2010,
"Implementation and benchmarking of perceptual image hash functions"), one more of its middle and
one more mirrored. Hashes that nearly agree are candidates, found in buckets where there are many;
small grey pictures and the mean colour then decide. Images without detail (a clear sky) are left
out, and those with little of it (a single edge) have to agree better: other images look the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

SIDE = 32  # of the small grey pictures
FEWEST_PIXELS = 32  # the shorter side of images that are told apart at all
LEAST_DETAIL = 0.5  # standard deviation of what is left after blurring, in grey levels
MOST_BITS = 14  # of 64 by which the hashes of a copy may differ where all pairs are compared
MOST_COMPARED = 24_000  # hashes of which all pairs are compared; of more, those in a bucket
SAME = 0.99  # correlation as they are, from which on no crop is tried
LEAST_LIKENESS = 0.92  # correlation of the details of two copies
LEAST_OF_FEW = 0.98  # the same of images with details in few places
FEW_PLACES = 12  # of the 64 parts of an image
MOST_COLOUR = 0.035  # by which the shares of red, green and blue of two copies differ
BAND_BITS = 16
MOST_APART = 64  # places in a bucket that two hashes may be apart to be compared
LEAST_HOPE = 0.3  # correlation as they are, below which no crop is tried
CORNERS = 4  # parts of a line that are tried first, with each other
MIDDLE = 0.025  # at each edge, what the hash of the middle leaves out
PIECE = 4096

Hashes = NDArray[np.uint64]
Pairs = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Prints:
    """What is kept of N images to compare them."""

    whole: Hashes  # [N]
    middle: Hashes  # [N] without MIDDLE at each edge
    mirrored: Hashes  # [N] of the mirror image
    pictures: NDArray[np.float16]  # [N, SIDE, SIDE]
    colours: NDArray[np.float32]  # [N, 3] shares of red, green and blue in the mean colour
    has_detail: NDArray[np.bool_]  # [N]
    has_much: NDArray[np.bool_]  # [N] detail in more than FEW_PLACES


@dataclass(frozen=True)
class NearCopy:
    """Two images that are nearly the same."""

    row: int
    other: int
    likeness: float  # correlation of their details, at most 1
    is_mirrored: bool


def take_prints(images: NDArray[np.uint8]) -> Prints:
    """The prints of images [N, H, W, C]."""
    pieces = [_print_piece(images[k : k + 256]) for k in range(0, max(len(images), 1), 256)]
    return join_prints(pieces)


def join_prints(pieces: Sequence[Prints]) -> Prints:
    """The prints of all pieces as one."""
    names = [field.name for field in fields(Prints)]
    return Prints(*(np.concatenate([getattr(p, name) for p in pieces]) for name in names))


def find_near_copies(prints: Prints) -> list[NearCopy]:
    """Every pair of nearly identical images, row < other, the likest first."""
    found: dict[tuple[int, int], NearCopy] = {}
    pairs, is_mirrored = find_candidates(prints)
    for start in range(0, len(pairs), PIECE):
        span = slice(start, start + PIECE)
        ones, others = (prints.pictures[pairs[span, k]].astype(np.float32) for k in (0, 1))
        flip = is_mirrored[span]
        others[flip] = others[flip, :, ::-1]
        likeness = compare(ones, others)
        has_much = prints.has_much[pairs[span]].all(axis=1)
        differs = np.abs(prints.colours[pairs[span, 0]] - prints.colours[pairs[span, 1]]).max(
            axis=1
        )
        is_copy = likeness >= np.where(has_much, LEAST_LIKENESS, LEAST_OF_FEW)
        for k in np.flatnonzero(is_copy & (differs <= MOST_COLOUR)).tolist():
            one, other = pairs[start + k].tolist()
            copy = NearCopy(one, other, round(float(likeness[k]), 4), bool(flip[k]))
            known = found.get((one, other))
            if known is None or copy.likeness > known.likeness:
                found[one, other] = copy
    return sorted(found.values(), key=lambda copy: (-copy.likeness, copy.row, copy.other))


def find_candidates(prints: Prints) -> tuple[Pairs, NDArray[np.bool_]]:
    """Pairs [P, 2] of rows whose hashes are close, and which of them are close mirrored [P]."""
    rows = np.flatnonzero(prints.has_detail)
    hashes = np.concatenate([h[rows] for h in (prints.whole, prints.middle, prints.mirrored)])
    owner, mirrored = np.tile(rows, 3), np.repeat([False, False, True], len(rows))
    close = find_close_hashes(hashes)
    is_mirrored = mirrored[close[:, 0]] != mirrored[close[:, 1]]
    pairs = np.sort(owner[close], axis=1)
    found = np.column_stack([pairs, is_mirrored])[pairs[:, 0] != pairs[:, 1]]
    found = np.unique(found, axis=0)
    return found[:, :2], found[:, 2].astype(np.bool_)


def compare(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """How alike the details of pictures [P, SIDE, SIDE] are, pair by pair: a correlation [P].

    Of either picture the part that fits the other best counts, up to a twentieth cut off at each
    axis: rows and columns are fitted in turns.
    """
    still = torch.from_numpy(np.stack([one, other]))  # [2, P, SIDE, SIDE]
    best = _correlate(still[0], still[1])
    hopeful = torch.nonzero((best > LEAST_HOPE) & (best < SAME)).flatten()
    for whole, cut in ((still[0], still[1]), (still[1], still[0])):
        best[hopeful] = torch.maximum(best[hopeful], _fit(whole[hopeful], cut[hopeful]))
    return best.double().numpy()


def _fit(pictures: Tensor, cut: Tensor) -> Tensor:
    """The best correlation [P] of `pictures` with parts of the same pictures in `cut`."""
    lines, wanted = _windows(), _details(pictures)
    starts = [(row, column) for row in range(CORNERS) for column in range(CORNERS)]
    parts = (_details(lines[row] @ cut @ lines[column].T) for row, column in starts)
    first = torch.stack([(wanted * part).sum(dim=(1, 2)) for part in parts]).max(dim=0)
    rows, columns = torch.tensor(starts)[first.indices].T
    best = first.values
    for by_rows in (True, False):
        kept = cut @ lines[columns].mT if by_rows else lines[rows] @ cut
        parts = (_details(line @ kept if by_rows else kept @ line.T) for line in lines)
        found = torch.stack([(wanted * part).sum(dim=(1, 2)) for part in parts]).max(dim=0)
        best = torch.maximum(best, found.values)
        rows, columns = (found.indices, columns) if by_rows else (rows, found.indices)
    return best


def _correlate(one: Tensor, other: Tensor) -> Tensor:
    """The correlation [P] of the details of two batches of pictures."""
    return (_details(one) * _details(other)).sum(dim=(1, 2))


def find_close_hashes(hashes: Hashes, most_bits: int = MOST_BITS) -> Pairs:
    """Pairs [P, 2] of places in `hashes` [N], the lower first, that differ in few bits.

    All pairs are compared up to MOST_COMPARED hashes. Of more, only those that share one of four
    bands of 16 bits: all that differ in 3 bits or fewer, and most others that are close.
    """
    found = [np.zeros((0, 2), np.int64)]
    if len(hashes) <= MOST_COMPARED:
        for start in range(0, len(hashes), 256):
            block = hashes[start : start + 256, None]
            near = np.argwhere(np.bitwise_count(block ^ hashes[None, start:]) <= most_bits) + start
            found.append(near[near[:, 0] < near[:, 1]])
        return np.concatenate(found)
    found += [_share_band(hashes, band, most_bits) for band in range(64 // BAND_BITS)]
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def _share_band(hashes: Hashes, band: int, most_bits: int) -> Pairs:
    """The close pairs among those whose `band` is the same, up to MOST_APART places apart."""
    turned = np.bitwise_or(
        hashes << np.uint64(64 - (band + 1) * BAND_BITS),
        hashes >> np.uint64((band + 1) * BAND_BITS) if band < 64 // BAND_BITS - 1 else np.uint64(0),
    )  # the band leads, so that sorting gathers its buckets
    order = np.argsort(turned)
    ordered = turned[order]
    keys = (ordered >> np.uint64(64 - BAND_BITS)).astype(np.uint16)
    found = []
    for apart in range(1, min(MOST_APART, len(hashes) - 1) + 1):
        is_same = keys[apart:] == keys[:-apart]
        if not is_same.any():
            break
        near = np.bitwise_count(ordered[apart:] ^ ordered[:-apart]) <= most_bits
        at = np.flatnonzero(near & is_same)
        found.append(np.stack([order[at], order[at + apart]], axis=1))
    return np.concatenate(found) if found else np.zeros((0, 2), np.int64)


def _print_piece(images: NDArray[np.uint8]) -> Prints:
    """The prints of a few images [B, H, W, C]."""
    coloured = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)
    if coloured.shape[1] not in (1, 3):
        coloured = coloured.float().mean(dim=1, keepdim=True).byte()
    size = (2 * SIDE, 2 * SIDE)
    twice = torch.zeros(0, coloured.shape[1], *size)
    if len(coloured):
        twice = F.interpolate(coloured, size, mode="bilinear", antialias=True).float()
    grey, colour = twice.mean(dim=1), twice.mean(dim=(2, 3)).expand(-1, 3)
    whole, middle = (torch.from_numpy(_shrink(edge)) for edge in (0.0, MIDDLE))
    small, inner = whole @ grey @ whole.T, middle @ grey @ middle.T
    waves = torch.from_numpy(_cosines())
    low, within = waves @ small @ waves.T, waves @ inner @ waves.T
    odd = torch.from_numpy(1.0 - 2.0 * (np.arange(9) % 2)).float()  # a mirror turns these round
    fine = small - _means(7) @ small @ _means(7).T
    places = fine.square().reshape(-1, 8, 4, 8, 4).sum(dim=(2, 4)).reshape(-1, 64)
    count = places.sum(dim=1) ** 2 / places.square().sum(dim=1).clamp_min(1e-6)  # participation
    return Prints(
        whole=_hash(low),
        middle=_hash(within),
        mirrored=_hash(low * odd),
        pictures=small.half().numpy(),
        colours=(colour / colour.sum(dim=1, keepdim=True).clamp_min(1.0)).numpy(),
        has_detail=(fine.square().mean(dim=(1, 2)).sqrt() >= LEAST_DETAIL).numpy(),
        has_much=(count >= FEW_PLACES).numpy(),
    )


def _hash(waves: Tensor) -> Hashes:
    """64 bits [N]: which coefficients [N, 9, 9] of the lowest frequencies are above their median.

    The mean of rows and of columns is left out: it says how bright an image is, and where.
    """
    flat = waves[:, 1:, 1:].reshape(-1, 64)
    bits = (flat > flat.median(dim=1, keepdim=True).values).numpy()
    packed = np.packbits(bits, axis=1, bitorder="little").view("<u8")
    return packed.reshape(-1).astype(np.uint64)


@cache
def _shrink(edge: float) -> NDArray[np.float32]:
    """The matrix [SIDE, 2 SIDE] that brings a line without its edges to half its length."""
    fine = _resample(edge, 1 - edge, 2 * SIDE)
    return np.asarray((fine[0::2] + fine[1::2]) / 2, dtype=np.float32)


@cache
def _cosines() -> NDArray[np.float32]:
    """The first nine rows [9, SIDE] of the discrete cosine transform."""
    places = (np.arange(SIDE) + 0.5) * np.pi / SIDE
    return np.cos(np.arange(9)[:, None] * places).astype(np.float32)


@cache
def _means(count: int) -> Tensor:
    """The matrix [SIDE, SIDE] that gives each number of a line the mean of `count` around it."""
    matrix = np.zeros((SIDE, SIDE), np.float32)
    for apart in range(-(count // 2), count // 2 + 1):
        place = np.clip(np.arange(SIDE) + apart, 0, SIDE - 1)
        np.add.at(matrix, (np.arange(SIDE), place), 1 / count)
    return torch.from_numpy(matrix)


def _details(pictures: Tensor) -> Tensor:
    """Details of middle size of pictures [..., SIDE, SIDE], with the mean 0 and the length 1.

    Smaller ones suffer from encoding, and larger ones are alike in many pictures.
    """
    fine, coarse = _means(3), _means(11)
    rest = fine @ pictures @ fine.T - coarse @ pictures @ coarse.T
    rest = rest - rest.mean(dim=(-1, -2), keepdim=True)
    made: Tensor = rest / rest.norm(dim=(-1, -2), keepdim=True).clamp_min(1e-6)
    return made


@cache
def _windows() -> Tensor:
    """Matrices [M, SIDE, SIDE] that resample parts of a line, the CORNERS and the whole first."""
    steps = [k / 80 for k in range(5)]
    spans = [(0.0, 0.95), (0.05, 1.0), (0.025, 0.975), (0.0, 1.0)]
    spans += [(a, 1 - b) for a in steps for b in steps if 0 < a + b < 0.055]
    return torch.from_numpy(np.stack([_resample(*span, SIDE) for span in dict.fromkeys(spans)]))


def _resample(start: float, end: float, side: int) -> NDArray[np.float32]:
    """The matrix [side, side] that stretches `start`..`end` of a line of numbers over all of it."""
    places = (start + (np.arange(side) + 0.5) / side * (end - start)) * side - 0.5
    places = np.clip(places, 0, side - 1)
    lower = np.minimum(np.floor(places).astype(int), side - 2)
    share = places - lower
    matrix = np.zeros((side, side), np.float32)
    matrix[np.arange(side), lower] = 1 - share
    matrix[np.arange(side), lower + 1] += share
    return matrix
