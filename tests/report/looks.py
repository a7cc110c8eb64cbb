"""Looks to draw: what a small run says of an image, with names that want to be more than text."""

import numpy as np

from torchloupe.report.look import Look, Shown

HOSTILE = (
    "<script>alert(1)</script>",
    "\x1b[31mred\x1b[0m\n",
    "https://example.org/x.png",
    '"><img src=x onerror=alert(2)>',
)


def make_hostile_look() -> Look:
    """A look whose names are HOSTILE, over noise."""
    rng = np.random.default_rng(0)
    heat = rng.random((24, 32))
    maps = tuple(
        Shown(f"layer{k} {HOSTILE[k]}", HOSTILE[0], rng.random((count, 6, 8)), range(count), 40)
        for k, count in enumerate((1, 12, 30))
    )
    return Look(
        image_name=HOSTILE[3],
        model_name=f"{HOSTILE[0]}.py:Net",
        ranking=tuple(zip(HOSTILE, (0.7, 0.2, 0.1, 0.0), strict=True)),
        pixels=rng.integers(0, 256, (24, 32, 3), dtype=np.uint8),
        heat=((HOSTILE[0], heat), (HOSTILE[1], 0 * heat)),
        heat_layer=HOSTILE[3],
        layers=maps,
    )
