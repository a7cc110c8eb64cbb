"""Models that give probabilities: predictions are those, whichever loss and mode."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import own_models as models
from torchloupe.checks.probabilities import describe_conversion, find_outputs
from torchloupe.model.losses import make_loss
from torchloupe.model.outputs import take_logits

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def log_of(p, labels):
    return F.nll_loss(torch.log(p), labels)


@pytest.mark.parametrize(
    ("end", "loss", "outputs", "expected"),
    [
        (lambda z, _: z, "cross_entropy", 4, ""),
        (lambda z, _: z.softmax(1), "cross_entropy", 4, ""),
        (lambda z, training: z if training else z.softmax(1), "cross_entropy", 4, "eval_softmax"),
        (lambda z, t: z.log_softmax(1) if t else z.softmax(1), nn.NLLLoss(), 4, "eval_softmax"),
        (lambda z, t: z if t else z.sigmoid(), nn.BCEWithLogitsLoss(), 1, "eval_sigmoid"),
        (lambda z, _: z.sigmoid(), nn.BCELoss(), 1, "sigmoid"),
        (lambda z, _: z.sigmoid().squeeze(1), nn.BCELoss(), 1, "sigmoid"),
        (lambda z, _: z.sigmoid(), nn.BCEWithLogitsLoss(), 1, ""),
        (lambda z, _: z.sigmoid(), nn.BCELoss(), 4, "sigmoid"),
        (lambda z, _: z.softmax(1), log_of, 4, "softmax"),
        (lambda z, _: z.softmax(1), nn.MSELoss(), 4, "softmax"),
    ],
)
def test_probabilities_are_found_and_kept(end, loss, outputs, expected):
    torch.manual_seed(0)
    own = models.Ending(end, outputs)
    classes = max(outputs, 2)
    model = take_logits(own, classes)
    made = make_loss(loss, classes=classes).follow(model)
    labels = torch.arange(4) % classes
    given = made(model(IMAGES), labels)
    found = find_outputs(model, made, IMAGES, labels)
    assert found == expected
    if not found:
        return
    assert describe_conversion(found).endswith(f"(model.outputs={found})")
    take_logits(own, classes, outputs=found)
    made.follow(own)
    assert torch.allclose(made(own(IMAGES), labels), given, atol=1e-6)  # the loss of training
    own.eval()
    logits, shares = own(IMAGES), own.forward(IMAGES)
    shares = shares.reshape(4, -1)
    got = logits.sigmoid() if "sigmoid" in found else logits.softmax(1)
    got = logits.softmax(1)[:, 1:] if outputs == 1 else got
    assert torch.allclose(got, shares, atol=1e-6)
    made.fitting = ()
    assert made(logits, labels).isfinite()
