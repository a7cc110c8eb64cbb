"""Images that forward scales once more: divided by 255, or normalised, when they are so already.

The evidence is what enters the first layer with weights, compared with what the model was given.
"""

from torch import Tensor

from torchloupe.run.events import Verdict

_BYTES = (1 / 255, 1 / 256, 1 / 127.5, 1 / 128)  # factors that belong to pixels from 0 to 255
_SAME_FACTOR = 2e-3  # relative difference
_LARGEST = 40.0  # values of images that nobody takes for 0 to 255
_BELOW_ZERO = 0.1  # share of pixels below 0 in normalised images
_MEANS = (0.05, 0.75)  # of pixels from 0 to 1, as they are normalised with
_STDS = (0.05, 0.6)
_EXACT = 1e-3  # what an affine function of each channel leaves, relative


def judge_scaling(images: Tensor, entry: Tensor | None) -> list[Verdict]:
    """A note where `entry`, the input of the first layer with weights, is `images` scaled again.

    `images` [N, C, H, W] are as the model got them.
    """
    if entry is None or images.ndim != 4 or entry.shape != images.shape:
        return []
    given, taken = (each.detach().float().movedim(1, 0).flatten(1) for each in (images, entry))
    means, others = given.mean(dim=1, keepdim=True), taken.mean(dim=1, keepdim=True)
    spread = (given - means).square().sum(dim=1)
    if not bool((spread > 0).all()) or not bool(taken.isfinite().all()):
        return []
    slopes = ((given - means) * (taken - others)).sum(dim=1) / spread  # [C]
    offsets = (others - slopes[:, None] * means)[:, 0]
    rest = taken - slopes[:, None] * given - offsets[:, None]
    if bool((rest.std(dim=1) > _EXACT * taken.std(dim=1)).any()) or bool((slopes <= 0).any()):
        return []
    what = _name(given, slopes, offsets)
    if not what:
        return []
    return [
        Verdict(
            "images-scaled-again",
            "note",
            seen=f"forward {what} before the first layer, and the images that it gets have the "
            f"mean {float(given.mean()):.3g} and the standard deviation {float(given.std()):.3g}",
            remedy="take it out of forward, or give the model images that are not scaled",
            why="what enters the first layer has the mean "
            f"{float(taken.mean()):.3g} and the standard deviation {float(taken.std()):.3g}, and "
            "initial weights and learning rates are made for values around 0 of about 1",
            numbers={"std_given": float(given.std()), "std_taken": float(taken.std())},
        )
    ]


def _name(given: Tensor, slopes: Tensor, offsets: Tensor) -> str:
    """What is done to images that were scaled before; "" where it is nothing of the kind."""
    if float(given.abs().max()) > _LARGEST:
        return ""
    for factor in _BYTES:
        if bool(((slopes / factor - 1).abs() < _SAME_FACTOR).all()):
            return f"divides by {1 / factor:.4g}"
    means, stds = -offsets / slopes, 1 / slopes
    is_usual = bool(
        ((means > _MEANS[0]) & (means < _MEANS[1]) & (stds > _STDS[0]) & (stds < _STDS[1])).all()
    )
    if is_usual and bool((given < -1e-3).float().mean() > _BELOW_ZERO):
        return f"subtracts {float(means.mean()):.3g} and divides by {float(stds.mean()):.3g}"
    return ""
