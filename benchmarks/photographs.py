"""A folder of JPEGs of 500x375 pixels, cut from larger pictures, in a cache folder.

    python benchmarks/photographs.py PICTURES

Made once: 4,000 files in ten class folders, quality 85 to 90. Where each is cut is drawn from
its number alone, so that the same pictures give the same folder.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import platformdirs
from PIL import Image
from turns import say

PICTURES = Path("/usr/share/wallpapers")
WIDTH, HEIGHT = 500, 375
COUNT, CLASSES = 4000, 10
SMALLEST = 800 * 600  # pixels of a picture that is cut from
MOST_PICTURES = 40


def find_cache(name: str) -> Path:
    """The cache folder of that name for benchmarks."""
    return Path(platformdirs.user_cache_dir("torchloupe-benchmarks")) / name


def make_photographs(count: int = COUNT, pictures: Path = PICTURES) -> Path:
    """The folder of `count` JPEGs, made where it is not there yet."""
    folder = find_cache(f"photographs-{count}")
    if len(list(folder.glob("*/*.jpg"))) == count:
        return folder
    sources = find_pictures(pictures)
    if not sources:
        raise FileNotFoundError(f"no pictures of {SMALLEST:,} pixels or more below {pictures}")
    say(f"cutting {count:,} JPEGs from {len(sources)} pictures into {folder}")
    for number in range(CLASSES):
        (folder / f"class-{number}").mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(lambda k: _cut_all(sources, k, count, folder), range(len(sources))):
            pass
    return folder


def find_pictures(pictures: Path) -> list[Path]:
    """Large pictures below a folder, one of each subject: the largest of those in its folder."""
    largest: dict[Path, tuple[int, Path]] = {}
    for path in sorted(pictures.rglob("*")):
        if path.suffix.lower() not in (".jpg", ".jpeg", ".png") or not path.is_file():
            continue
        with Image.open(path) as image:
            pixels = image.width * image.height
        if pixels >= SMALLEST and pixels > largest.get(path.parent, (0, path))[0]:
            largest[path.parent] = (pixels, path)
    return [path for _, path in largest.values()][:MOST_PICTURES]


def _cut_all(sources: list[Path], number: int, count: int, folder: Path) -> None:
    """Every photograph whose turn it is to be cut from this picture."""
    with Image.open(sources[number]) as image:
        picture = image.convert("RGB")
    for k in range(number, count, len(sources)):
        cut(picture, k).save(folder / f"class-{k % CLASSES}" / f"{k:05d}.jpg", quality=85 + k % 6)


def cut(picture: Image.Image, seed: int) -> Image.Image:
    """A part of the picture between its own pixels and all of it, mirrored half of the time."""
    rng = np.random.default_rng(seed)
    most = min(picture.width / WIDTH, picture.height / HEIGHT)
    scale = np.exp(rng.uniform(0, np.log(max(most, 1.0))))
    width, height = min(WIDTH * scale, picture.width), min(HEIGHT * scale, picture.height)
    left = rng.uniform(0, picture.width - width)
    top = rng.uniform(0, picture.height - height)
    part = picture.resize(
        (WIDTH, HEIGHT), Image.Resampling.LANCZOS, box=(left, top, left + width, top + height)
    )
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else part


if __name__ == "__main__":
    print(make_photographs(pictures=Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURES))
