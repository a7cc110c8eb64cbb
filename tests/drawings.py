"""Folders of simple drawings, easy for a pretrained backbone and quick to make."""

import numpy as np
from PIL import Image, ImageDraw

KINDS = ("disc", "square", "cross", "ring")


def draw(kind, seed, side=80):
    """One drawing on white: its place, size and colour from the seed."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (side, side), "white")
    pen = ImageDraw.Draw(image)
    x, y = rng.integers(side // 3, 2 * side // 3, 2)
    r = int(rng.integers(side // 6, side // 3))
    colour = tuple(int(c) for c in rng.integers(0, 200, 3))
    box = (x - r, y - r, x + r, y + r)
    if kind == "disc":
        pen.ellipse(box, fill=colour)
    elif kind == "square":
        pen.rectangle(box, fill=colour)
    elif kind == "ring":
        pen.ellipse(box, outline=colour, width=5)
    else:
        pen.line((x - r, y - r, x + r, y + r), fill=colour, width=6)
        pen.line((x - r, y + r, x + r, y - r), fill=colour, width=6)
    return image


def draw_folder(folder, counts, side=80):
    """Class folders of so many drawings each."""
    for number, (kind, count) in enumerate(counts.items()):
        (folder / kind).mkdir(parents=True)
        for seed in range(count):
            draw(kind, 1000 * number + seed, side).save(folder / kind / f"{seed}.png")
    return folder
