"""A trained model that is another one in eval mode, and one that isn't."""

import torch
from torch import nn

import planted_models as planted
from torchloupe.checks.gap import judge_gap

LOSS = nn.CrossEntropyLoss()


def trained(momentum: float) -> nn.Module:
    """A model that has learned its images by heart."""
    torch.manual_seed(0)
    model, (images, labels) = planted.Net(), planted.data()
    model.bn1 = nn.BatchNorm2d(8, momentum=momentum)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        LOSS(model(images * 20 + 50), labels).backward()
        optimizer.step()
    return model


def test_statistics_that_never_moved_are_a_gap() -> None:
    images, labels = planted.data()
    model = trained(0.0)
    (found,) = judge_gap(model, images * 20 + 50, labels, LOSS)
    assert (found.verdict, found.level, found.where) == ("train-eval-gap", "error", "BatchNorm")
    assert found.numbers["eval_mode_loss"] > 2 * found.numbers["train_mode_loss"]


def test_a_sound_model_has_no_gap_and_stays_as_it_was() -> None:
    images, labels = planted.data()
    model = trained(0.1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert judge_gap(model, images * 20 + 50, labels, LOSS) == []
    assert all(torch.equal(tensor, before[n]) for n, tensor in model.state_dict().items())
    assert model.training


def test_too_few_images_and_rows_of_labels_say_nothing() -> None:
    images, labels = planted.data(8)
    assert judge_gap(trained(0.0), images, labels, LOSS) == []
    assert judge_gap(trained(0.0), images, torch.zeros(8, 5), LOSS) == []
