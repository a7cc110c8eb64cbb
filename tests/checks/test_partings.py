"""What is said of logits that change between forwards in eval mode."""

import pytest

from torchloupe.checks.partings import (
    describe_dependence,
    describe_parting,
    remedy_for_dependence,
    remedy_for_parting,
)
from torchloupe.lens.batch_dependence import Dependence
from torchloupe.lens.repetition import Parting

SEEN = "in eval mode the same images get other logits each time (by 0.5 of the largest)"


@pytest.mark.parametrize(
    ("parting", "seen", "remedy"),
    [
        (
            Parting(0.5, "drop (Dropout)", in_training=True),
            ": drop (Dropout) is in training mode after model.eval()",
            "let train(self, mode=True) of the model call super().train(mode), and call no "
            ".train() in forward",
        ),
        (
            Parting(0.5, "Net", "fc1 (Linear)", "dropout2d"),
            ": forward of Net calls dropout2d after layer fc1 (Linear)",
            "write F.dropout2d(x, ..., training=self.training)",
        ),
        (
            Parting(0.5, "attn (Attention)", "", "scaled_dot_product_attention"),
            ": forward of attn (Attention) calls scaled_dot_product_attention",
            "write dropout_p=p if self.training else 0.0",
        ),
        (
            Parting(0.5, "noise (Noise)"),
            ": forward of noise (Noise) gives the same input other outputs",
            "use dropout with training=self.training, and draw other numbers `if self.training:`",
        ),
        (
            Parting(0.5, buffer="factor"),
            ": forward changes the buffer factor",
            "change buffers `if self.training:` alone",
        ),
        (
            Parting(0.5),
            "",
            "use dropout with training=self.training, and draw other numbers `if self.training:`",
        ),
    ],
)
def test_parting_is_told_with_its_cause_and_remedy(parting, seen, remedy):
    assert describe_parting(parting) == SEEN + seen
    assert remedy_for_parting(parting) == remedy


def test_dependence_is_told_with_its_layer_and_remedy():
    found = Dependence("norm (BatchNorm1d)", 0.25)
    assert describe_dependence(found) == (
        "in eval mode the logits of an image depend on the other images in its batch (by 0.25 of "
        "the largest); it begins in layer norm (BatchNorm1d)"
    )
    assert remedy_for_dependence(found, None).startswith("let BatchNorm keep running statistics")
