"""The loss of a student: the two parts, their weights, and the size of its gradient."""

import pytest
import torch
from torch.nn import functional as F

from torchloupe.model.distillation import Distillation

drawn = torch.Generator().manual_seed(0)
LOGITS, TAUGHT = torch.randn(5, 3, generator=drawn), torch.randn(5, 3, generator=drawn)
LABELS = torch.tensor([0, 1, 2, 1, 0])


def test_weight_0_is_the_loss_of_the_labels() -> None:
    found = Distillation(F.cross_entropy, 0, 3.0)(LOGITS, LABELS, TAUGHT)
    assert torch.equal(found, F.cross_entropy(LOGITS, LABELS))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_loss_is_that_of_the_formula(temperature: float) -> None:
    p = (TAUGHT / temperature).softmax(1).double()
    q = (LOGITS / temperature).softmax(1).double()
    apart = float((p * (p / q).log()).sum(1).mean())
    hard = float(F.cross_entropy(LOGITS, LABELS))
    found = Distillation(F.cross_entropy, 0.25, temperature)(LOGITS, LABELS, TAUGHT)
    assert float(found) == pytest.approx(0.75 * hard + 0.25 * temperature**2 * apart, rel=1e-5)


def test_a_student_that_answers_as_its_teacher_has_no_gradient_of_it() -> None:
    own = TAUGHT.clone().requires_grad_()
    Distillation(F.cross_entropy, 1, 2.0)(own, LABELS, TAUGHT).backward()
    assert own.grad is not None
    assert float(own.grad.abs().max()) < 1e-7


def test_parts_weighted_by_their_images_add_up_to_the_whole() -> None:
    loss = Distillation(F.cross_entropy, 0.5, 2.0)
    parts = [
        loss(LOGITS[s], LABELS[s], TAUGHT[s]) * n / 5 for s, n in ((slice(2), 2), (slice(2, 5), 3))
    ]
    assert float(sum(parts)) == pytest.approx(float(loss(LOGITS, LABELS, TAUGHT)), rel=1e-6)
