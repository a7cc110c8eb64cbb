"""Models that give probabilities where logits are expected, in eval mode or always.

A softmax over probabilities would give others, so predictions must know what the outputs are.
"""

import copy

from torch import Tensor, nn

from torchloupe.checks.probing import what_it_takes
from torchloupe.checks.subject import Subject
from torchloupe.lens.endings import find_ending
from torchloupe.model.losses import Loss
from torchloupe.model.norms import steady_norms

_RAW = ("logits", "binary_logits", "log_probabilities")  # what losses take that are no shares


def find_outputs(model: nn.Module, loss: Loss, images: Tensor, labels: Tensor) -> str:
    """The value of model.outputs for a model whose logits are taken as it gives them.

    "eval_softmax" and "eval_sigmoid" are for probabilities in eval mode alone; "softmax" and
    "sigmoid" for those in both modes, where the loss takes probabilities too. Else empty: where it
    takes logits, the loss is wrong and its predictions go with it.
    """
    with steady_norms(model, images):
        trained = find_ending(model, images, training=True)
        evaluated = find_ending(model, images, training=False)
    if not evaluated or (trained and trained != evaluated):
        return ""
    if not trained:
        return f"eval_{evaluated}"
    return "" if _taken_by(loss, model, images, labels) in _RAW else evaluated


def describe_conversion(outputs: str) -> str:
    """A note on what `find_outputs` found."""
    end = outputs.removeprefix("eval_")
    spelled = "a sigmoid" if end == "sigmoid" else end
    if outputs.startswith("eval_"):
        return (
            f"in eval mode the model ends in {spelled}, in training it doesn't: predictions are "
            f"its probabilities as they are, without another {end} (model.outputs={outputs})"
        )
    return (
        f"the model ends in {spelled}, and its loss takes that: predictions are its outputs as "
        f"they are, without another {end} (model.outputs={outputs})"
    )


def _taken_by(loss: Loss, model: nn.Module, images: Tensor, labels: Tensor) -> str:
    """What the loss takes; asked on the CPU, since a GPU doesn't survive a wrong answer."""
    asked = copy.deepcopy(loss).cpu()
    subject = Subject(model, asked, images.cpu(), labels.cpu(), loss_name=loss.name)
    rows = images.new_zeros(len(images), loss.classes, device="cpu")
    return what_it_takes(subject, rows)
