"""What the transforms of a user's dataset do to an image, as far as they can be read.

torchvision's own are known by their names; of anything else nothing is known.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

_MADE = ("ToTensor", "PILToTensor", "ToImage", "ToDtype", "ConvertImageDtype", "ConvertDtype")
_KEPT = ("Identity", "ToPureTensor", "ToPILImage")
_CHANCE = ("ColorJitter", "AutoAugment", "RandAugment", "TrivialAugmentWide", "AugMix")


@dataclass(frozen=True)
class Chain:
    """Transforms in a row, from an image of the size of the tensors that they make.

    `mean` and `std` are those of its Normalize, () without one. `is_known` says that the rest
    scales, changes images at random, or leaves such an image as it is.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    is_known: bool = True


def read_chains(dataset: Any, size: tuple[int, int]) -> list[Chain]:
    """The transforms of a dataset, of those inside it and of those that it joins.

    `size` [height, width] is that of its tensors. Empty where there are no transforms to be seen.
    """
    found = [_read(transform, size) for transform in _find(dataset, 0)]
    return list(dict.fromkeys(found))


def is_stock(dataset: Any) -> bool:
    """Whether all images of a dataset are made by torchvision's own code, of files or arrays."""
    inside = getattr(dataset, "datasets", None) or [getattr(dataset, "dataset", None)]
    if type(dataset).__module__.startswith("torch.utils.data"):
        return all(part is not None and is_stock(part) for part in inside)
    loader = getattr(dataset, "loader", None)
    is_plain = loader is None or getattr(loader, "__module__", "").startswith("torchvision.")
    return is_plain and type(dataset).__module__.startswith("torchvision.datasets")


def _find(dataset: Any, depth: int) -> Iterator[Any]:
    """The transforms that a dataset and what is inside it have; a loop of them has an end."""
    if depth > 8:
        return
    both = getattr(dataset, "transforms", None)
    both = getattr(both, "transform", both)  # torchvision's pair of one for images and for labels
    own = getattr(dataset, "transform", None)
    if own is not None or both is not None:
        yield own if own is not None else both
    inside = getattr(dataset, "datasets", None)
    parts = inside if isinstance(inside, (list, tuple)) else [getattr(dataset, "dataset", None)]
    yield from chain.from_iterable(_find(part, depth + 1) for part in parts if part is not None)


def _read(transform: Any, size: tuple[int, int]) -> Chain:
    mean, std, is_known = tuple[float, ...](), tuple[float, ...](), True
    for step in _steps(transform):
        name = type(step).__name__
        if not type(step).__module__.startswith("torchvision.transforms"):
            is_known = False
        elif name == "Normalize":
            is_known &= not mean  # two in a row are not looked into
            mean, std = _numbers(step.mean), _numbers(step.std)
        else:
            is_known &= name in (*_MADE, *_KEPT) or _is_chance(step, name) or _keeps(step, size)
    return Chain(mean, std, is_known and len(mean) == len(std))


def _steps(transform: Any) -> Iterator[Any]:
    """The transforms in a Compose or a torch Sequential, or the only one."""
    is_row = type(transform).__name__ in ("Compose", "Sequential")
    inside: Any = getattr(transform, "transforms", transform)
    if not is_row or not hasattr(inside, "__iter__"):
        yield transform
        return
    for step in inside:
        yield from _steps(step)


def _is_chance(step: Any, name: str) -> bool:
    """Whether it changes an image at random, as in training, and not always."""
    return name in _CHANCE or (name.startswith("Random") and getattr(step, "p", 0.5) != 1)


def _keeps(step: Any, size: tuple[int, int]) -> bool:
    """Whether it leaves an image of this size as it is, or makes it grey as files become grey."""
    name, wanted = type(step).__name__, getattr(step, "size", None)
    if name == "Grayscale":
        return bool(step.num_output_channels == 1)
    sides = tuple(wanted) if isinstance(wanted, (list, tuple)) else (wanted,)
    if name == "Resize":
        return getattr(step, "max_size", None) is None and sides in (size, (min(size),))
    return name == "CenterCrop" and (sides if len(sides) == 2 else sides * 2) == size


def _numbers(values: Any) -> tuple[float, ...]:
    values = values.tolist() if hasattr(values, "tolist") else values
    return tuple(map(float, values)) if isinstance(values, (list, tuple)) else (float(values),)
