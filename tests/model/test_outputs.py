"""Logits from whatever a model gives: what is taken, what is said, and what is left alone."""

import copy
from collections import namedtuple

import pytest
import torch
import torchvision
from torch import nn

import torchloupe as loupe
from torchloupe.errors import UsageError
from torchloupe.lens.anatomy import explain_forward
from torchloupe.model.losses import make_loss
from torchloupe.model.outputs import describe_outputs, hook_of, release, take_logits
from torchloupe.model.zoo import Net
from torchloupe.system.seeding import seed_all

NAMES = ("cat", "dog", "owl")
Named = namedtuple("Named", ["logits", "aux"])


class Held:
    """An object with `.logits`, as libraries of models give it."""

    def __init__(self, logits, hidden):
        self.loss, self.logits, self.hidden = None, logits, hidden


class Giving(nn.Module):
    """A linear model whose logits are handed to `give`."""

    def __init__(self, give, outputs=3):
        super().__init__()
        self.fc = nn.Linear(16, outputs)
        self.give = give

    def forward(self, x):
        return self.give(self.fc(x.flatten(1)))


def images(count=4):
    return torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def taken(give, outputs=3, **keywords):
    """The model, and the note on its output after a trial forward."""
    model = take_logits(Giving(give, outputs), len(NAMES), **keywords)
    explain_forward(model, images(), len(NAMES))
    return model, describe_outputs(hook_of(model), NAMES)


@pytest.mark.parametrize(
    ("give", "note"),
    [
        (lambda z: z, []),
        (lambda z: Held(z, z * 2), ["the .logits of its output (not trained on: hidden)"]),
        (lambda z: Named(z, z), ["the .logits of its output (not trained on: aux)"]),
        (lambda z: {"logits": z}, ["its output's ['logits']"]),
        (
            lambda z: {"aux": z[:, :2], "logits": z},
            ["its output's ['logits'] (not trained on: aux)"],
        ),
        (
            lambda z: (z, z.exp()),
            ["the first of the tuple that it gives (not trained on: the other 1)"],
        ),
        (lambda z: [z], ["the first of the list that it gives"]),
    ],
)  # fmt: skip
def test_logits_are_taken_with_a_note(give, note):
    model, notes = taken(give)
    assert notes == [f"the model's logits are {text}" for text in note]
    assert torch.equal(model(images()), model.fc(images().flatten(1)))
    assert list(model.state_dict()) == ["fc.weight", "fc.bias"]


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (lambda z: (z[:, :2], z), "the model gives a tuple of 2: [0] [4, 2], [1] [4, 3]; training"),
        (lambda z: {"scores": z}, "the model gives a dict of 1: ['scores'] [4, 3]; training"),
        (lambda z: {"logits": z[:, :2]}, "the model gives [4, 2], 2 outputs per image; the data"),
        (lambda z: (), "the model gives a tuple; training takes one tensor [4, 3]"),
        (lambda z: z[:, :1], "the model gives [4, 1], 1 output per image; the data have 3 classes"),
    ],
)
def test_what_is_not_certain_is_left_to_the_trial_forward(give, message):
    with pytest.raises(UsageError) as caught:
        taken(give)
    assert caught.value.message.startswith(message)


def test_transformer_output_and_googlenet_are_trained(tmp_path):
    model = torchvision.models.googlenet(num_classes=3, init_weights=False, aux_logits=True)
    take_logits(model, 3)
    model.train()(torch.rand(2, 3, 96, 96))
    assert describe_outputs(hook_of(model), NAMES) == [
        "the model's logits are the .logits of its output (not trained on: aux_logits2, "
        "aux_logits1)"
    ]


def test_release_gives_the_model_back():
    model = Giving(lambda z: {"logits": z})
    take_logits(take_logits(model, 3), 3)  # twice is once
    assert len(model._forward_hooks) == 1
    release(model)
    assert not model._forward_hooks
    assert isinstance(model(images()), dict)
    assert take_logits(Net(1, 3), 3)._forward_hooks == {}


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_one_logit_for_two_classes_is_a_pair_with_the_same_probability(shape):
    model = take_logits(Giving(lambda z: z.reshape(shape), 1), 2)
    logits = model(images())
    z = model.fc(images().flatten(1))[:, 0]
    assert torch.equal(logits, torch.stack([torch.zeros(4), z], 1))
    assert torch.allclose(logits.softmax(1)[:, 1], z.sigmoid())
    assert describe_outputs(hook_of(model), ("cat", "dog")) == [
        "the model gives one logit per image: above 0 means 'dog', and cross entropy is then the "
        "binary loss of that logit"
    ]
    assert model(images(1)).shape == (1, 2)
    assert copy.deepcopy(model)(images()).shape == (4, 2)


def test_one_logit_is_refused_for_two_labels_an_image():
    model = take_logits(Giving(lambda z: z, 1), 2, multi_label=True)
    with pytest.raises(UsageError, match=r"the model gives \[4, 1\], 1 output per image"):
        explain_forward(model, images(), 2)


def own_loss(logits, labels):
    return nn.functional.binary_cross_entropy_with_logits(logits.squeeze(1), labels.float())


@pytest.mark.parametrize(
    "loss",
    [
        "auto", "cross_entropy", "binary", nn.BCEWithLogitsLoss, own_loss,
        nn.BCEWithLogitsLoss(pos_weight=torch.tensor([1.0])),
    ],
)  # fmt: skip
def test_every_loss_of_one_logit_is_the_binary_loss_of_a_plain_loop(loss):
    model = take_logits(Giving(lambda z: z, 1), 2)
    labels = torch.tensor([0, 1, 1, 0])
    z = model.fc(images().flatten(1))[:, 0]
    expected = nn.functional.binary_cross_entropy_with_logits(z, labels.float())
    model(images())
    given = make_loss(loss, classes=2).follow(model)(model(images()), labels)
    assert torch.allclose(given, expected)
    wanted = torch.autograd.grad(expected, model.fc.weight)[0]
    found = torch.autograd.grad(given, model.fc.weight)[0]
    assert torch.allclose(found, wanted, atol=1e-6)  # many are near 0


def test_binary_loss_of_one_logit_with_weights_and_smoothing():
    model = take_logits(Giving(lambda z: z, 1), 2)
    labels = torch.tensor([0, 1, 1, 0])
    z = model(images())[:, 1]
    weighted = make_loss("binary", classes=2, weights=(1.0, 3.0)).follow(model)
    expected = nn.functional.binary_cross_entropy_with_logits(
        z, labels.float(), torch.tensor([1.0, 3, 3, 1])
    )
    assert torch.allclose(weighted(model(images()), labels), expected)
    smooth = make_loss("binary", classes=2, smoothing=0.2).follow(model)
    expected = nn.functional.binary_cross_entropy_with_logits(z, labels * 0.8 + 0.1)
    assert torch.allclose(smooth(model(images()), labels), expected)


@pytest.mark.parametrize("loss", ["auto", "binary"])
def test_model_with_one_logit_in_a_dict_trains_and_is_opened_again(loss, tmp_path):
    seed_all(0)
    points = torch.randn(80, 4, 4).numpy()
    labels = (points.mean((1, 2)) > 0).astype("int64")
    model = Giving(lambda z: {"logits": z}, 1)
    run = loupe.fit(
        (points, labels), model=model, loss=loss, epochs=20, out=tmp_path / "run",
        settings={"optimizer.lr": 0.05},
    )  # fmt: skip
    assert run.metrics["test"]["accuracy"] > 0.7
    assert "the model gives one logit per image" in str(run.events)
    again = loupe.open_run(tmp_path / "run", model=Giving(lambda z: {"logits": z}, 1))
    first, second = (opened.evaluate((points, labels)) for opened in (run, again))
    assert second["loss"] == pytest.approx(first["loss"], abs=1e-6)
    one = again.predict(points[0]).probabilities
    assert sum(one.values()) == pytest.approx(1)
