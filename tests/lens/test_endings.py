"""Whether a model's outputs are probabilities, in training and in eval mode."""

import pytest
import torch

import own_models as models
from torchloupe.lens.endings import find_ending
from torchloupe.model.outputs import take_logits

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (lambda z, _training: z, ("", "")),
        (lambda z, training: z if training else z.softmax(1), ("", "softmax")),
        (lambda z, training: z if training else z.sigmoid(), ("", "sigmoid")),
        (lambda z, _training: torch.sigmoid(z), ("sigmoid", "sigmoid")),
        (lambda z, training: z if training else z.log_softmax(1), ("", "")),
        (lambda z, _training: z.abs(), ("", "")),
        (lambda z, _training: z * z.sigmoid(), ("", "")),
    ],
)
def test_find_ending_in_training_and_in_eval_mode(end, expected):
    model, random = models.Ending(end), torch.random.get_rng_state()
    found = tuple(find_ending(model, IMAGES, training=mode) for mode in (True, False))
    assert found == expected and model.training
    assert torch.equal(random, torch.random.get_rng_state())


def test_find_ending_sees_the_one_output_of_a_pair():
    model = take_logits(models.Ending(lambda z, _training: z.sigmoid().squeeze(1), 1), 2)
    assert find_ending(model, IMAGES, training=False) == "sigmoid"
