"""Which finished run has a model that is trained once more: it keeps a copy of its weights.

A model that is handed over is trained as it is, and the run that is returned has it. Whoever hands
it over a second time goes on from there, and would change what the first run predicts.
"""

import weakref
from dataclasses import dataclass

from torch import nn

from torchloupe.errors import printable
from torchloupe.lens.copies import copy_model
from torchloupe.run.weights import checksum_weights
from torchloupe.trained.opened_models import run_of
from torchloupe.trained.run import Run


@dataclass(frozen=True)
class Owner:
    """A finished run, and the checksum of the weights that it left in its model."""

    run: "weakref.ref[Run]"
    folder: str
    weights: str


# Of this process. It is about objects of the caller, which no other object of a run has.
_OWNERS: "weakref.WeakKeyDictionary[nn.Module, Owner]" = weakref.WeakKeyDictionary()


def own_model(run: Run) -> None:
    """Remember that `run` has its model."""
    model = run.model
    _OWNERS[model] = Owner(weakref.ref(run), printable(run.folder), checksum_weights(model))


def hand_over(model: nn.Module) -> list[str]:
    """Called before `model` is trained: a run that has it gets a copy. A note if there is one.

    Nothing for a model that was given other weights since.
    """
    opened = run_of(model)
    if opened is not None:
        opened.model = copy_model(model).eval()
        return [
            f"the model is that of {printable(opened.folder)}: training goes on from its weights, "
            "of which that run keeps a copy"
        ]
    owner = _OWNERS.pop(model, None)
    if owner is None or owner.weights != checksum_weights(model):
        return []
    run = owner.run()
    if run is not None and run.model is model:
        run.model = copy_model(model).eval()
    return [
        f"the model was trained before, by {owner.folder}: training goes on from those weights, "
        "of which that run keeps a copy"
    ]
