"""Draw the pictures of docs/looking-inside.md from a real run: `python docs/make_looking.py`.

The photographs are scikit-learn's two, cut into a few hundred pieces: flower and temple.
"""

import contextlib
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

import torchloupe as loupe
from torchloupe.report.page import write_page
from torchloupe.report.picture import draw_look

HERE = Path(__file__).parent
NAMES = ("temple", "flower")  # in the order in which scikit-learn gives them
PIECES, SIDE = 300, 160


def cut_pieces(folder: Path) -> Path:
    """Write PIECES cuttings of each photograph as class folders; gives one that was kept back."""
    rng = np.random.default_rng(0)
    for name, photo in zip(NAMES, load_sample_images().images, strict=True):
        (folder / name).mkdir(parents=True)
        for number in range(PIECES):
            top, left = (rng.integers(0, length - SIDE) for length in photo.shape[:2])
            piece = Image.fromarray(photo[top : top + SIDE, left : left + SIDE])
            piece.resize((64, 64), Image.Resampling.LANCZOS).save(folder / name / f"{number}.png")
    kept = folder.with_name("flower.png")
    photo = Image.fromarray(load_sample_images().images[1])
    photo.resize((64, 64), Image.Resampling.LANCZOS, (170, 30, 530, 390)).save(kept)
    return kept


def main() -> None:
    """Train for a few seconds, look at one image, and draw the net that looked."""
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        kept = cut_pieces(Path("photos"))
        run = loupe.fit("photos", epochs=4, out="run", settings={"data.size": "64"})
        look = run.look(kept)
    draw_look(look).save(HERE / "look.png", optimize=True)
    shape = (8, run.contract.channels, *run.contract.size)
    summary = loupe.lens.summarise(run.model, torch.rand(shape))
    (HERE / "net.svg").write_text(loupe.lens.draw_net(summary, "residual"), encoding="utf-8")
    if page := os.environ.get("LOOK_PAGE"):
        Path(page).write_text(write_page(look), encoding="utf-8")


if __name__ == "__main__":
    main()
