"""A teacher in a session is nothing but a loss and facts."""

import torch
from torch.nn import functional as F

from torchloupe.model.distillation import Distillation
from torchloupe.prepare.teacher import Teacher


def test_teacher_has_the_loss_of_its_student_and_its_facts() -> None:
    teacher = Teacher(Distillation(F.cross_entropy, 0.5, 2.0), {"folder": "runs/a"})
    logits = torch.zeros(2, 3)
    assert float(teacher.loss(logits, torch.tensor([0, 1]), logits)) > 0
    assert teacher.facts == {"folder": "runs/a"}
