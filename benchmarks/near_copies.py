"""Near-duplicates: planted copies found among photographs, false pairs, and a million hashes.

    python benchmarks/near_copies.py [--count 5000] [--copies 200] [PICTURE...]

Tiles that don't overlap are cut from the photographs of Debian's plasma-workspace-wallpapers, or
from the pictures that are named, plain tiles left out; a copy is a tile resized, encoded at
quality 30, cropped by 5 %, brightened or mirrored. Every pair that was not planted counts as false.
"""

import argparse
import io
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from torchloupe.checks.near_copies import find_close_hashes, find_near_copies, take_prints

WALLPAPERS = Path("/usr/share/wallpapers")
PHOTOGRAPHS = (
    *("BytheWater", "ColdRipple", "DarkestHour", "EveningGlow", "FallenLeaf"),
    *("Kite", "OneStandsOut", "Path", "summer_1am"),
)
TILE = (80, 60)  # width and height
SHOWN = (224, 224)  # what a model would see
KINDS = ("resized", "quality 30", "cropped", "brightened", "mirrored")


def find_tiles(pictures: Sequence[Path], count: int, seed: int = 0) -> list[Image.Image]:
    """`count` tiles that don't overlap, from all pictures, drawn with `seed`."""
    tiles = []
    for path in pictures:
        picture = Image.open(path).convert("RGB")
        for top in range(0, picture.height - TILE[1] + 1, TILE[1]):
            for left in range(0, picture.width - TILE[0] + 1, TILE[0]):
                tile = picture.crop((left, top, left + TILE[0], top + TILE[1]))
                if np.asarray(tile.convert("L").resize((32, 32))).std() > 8:
                    tiles.append(tile)
    order = np.random.default_rng(seed).permutation(len(tiles))[:count]
    return [tiles[k] for k in order]


def find_photographs() -> list[Path]:
    """The photographs among the wallpapers."""
    return [WALLPAPERS / name / "contents/images/2560x1600.jpg" for name in PHOTOGRAPHS]


def copy_of(image: Image.Image, kind: str, rng: np.random.Generator) -> Image.Image:
    """A changed copy of an image."""
    if kind == "resized":
        scale = rng.uniform(0.4, 1.5)
        return image.resize((round(image.width * scale), round(image.height * scale)))
    if kind == "quality 30":
        file = io.BytesIO()
        image.save(file, "JPEG", quality=30)
        return Image.open(file).convert("RGB")
    if kind == "cropped":
        left, top = rng.uniform(0, 0.05, 2) * image.size
        width, height = 0.95 * image.width, 0.95 * image.height
        return image.crop((round(left), round(top), round(left + width), round(top + height)))
    if kind == "brightened":
        return ImageEnhance.Brightness(image).enhance(rng.uniform(1.15, 1.4))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def as_pixels(images: list[Image.Image]) -> NDArray[np.uint8]:
    """Images [N, H, W, 3] as a model would see them."""
    return np.stack([np.asarray(image.convert("RGB").resize(SHOWN)) for image in images])


def measure(pictures: Sequence[Path], count: int, copies: int, seed: int) -> None:
    """Print what is found of the planted copies, what else is found, and how long it takes."""
    tiles = find_tiles(pictures, count, seed)
    print(f"{len(tiles):,} tiles, seed {seed}")
    rng = np.random.default_rng(seed)
    planted = {}
    images = list(tiles)
    for k in range(copies):
        kind = KINDS[k % len(KINDS)]
        planted[k, len(images)] = kind
        images.append(copy_of(tiles[k], kind, rng))
    pixels = as_pixels(images)
    start = time.perf_counter()
    prints = take_prints(pixels)
    middle = time.perf_counter()
    found = find_near_copies(prints)
    end = time.perf_counter()
    pairs = {(copy.row, copy.other) for copy in found}
    hits = {kind: sum(p in pairs for p, k in planted.items() if k == kind) for kind in KINDS}
    total = {kind: sum(k == kind for k in planted.values()) for kind in KINDS}
    false = [copy for copy in found if (copy.row, copy.other) not in planted]
    print(
        f"found {sum(hits.values())} of {copies} planted: "
        + ", ".join(f"{kind} {hits[kind]} of {total[kind]}" for kind in KINDS)
    )
    print(f"other pairs: {len(false)} {[(c.row, c.other, c.likeness) for c in false[:8]]}")
    print(f"prints {middle - start:.2f} s, comparing {end - middle:.2f} s")
    print(f"without detail: {int((~prints.has_detail[:count]).sum())}")


def time_hashes(count: int) -> None:
    """Print how long it takes to find the close pairs among `count` hashes."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, count, dtype=np.uint64) * np.uint64(2) + rng.integers(
        0, 2, count, dtype=np.uint64
    )
    hashes[-1000:] = hashes[:1000] ^ (np.uint64(1) << rng.integers(0, 64, 1000).astype(np.uint64))
    start = time.perf_counter()
    pairs = find_close_hashes(hashes, 3)
    seconds = time.perf_counter() - start
    print(f"{count:,} hashes in {seconds:.1f} s; {len(pairs):,} close pairs (1,000 planted)")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pictures", nargs="*", type=Path)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--copies", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=1)
    chosen = parser.parse_args()
    for seed in range(chosen.seeds):
        measure(chosen.pictures or find_photographs(), chosen.count, chosen.copies, seed)
    time_hashes(1_000_000)


if __name__ == "__main__":
    main()
