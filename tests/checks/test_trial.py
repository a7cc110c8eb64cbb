"""A trial of a model: what would be wrong in silence is refused, and what is sound is not."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import own_models as models
from torchloupe.checks.probabilities import describe_conversion
from torchloupe.checks.trial import TrialResult, drop_fused, try_model
from torchloupe.config.schema import Config
from torchloupe.config.settings import Settings
from torchloupe.config.text import change
from torchloupe.data.feeds.feed import Batch
from torchloupe.errors import UsageError
from torchloupe.hardware.layout import requires_contiguous
from torchloupe.lens.batch_dependence import find_dependence, first_difference
from torchloupe.model.losses import make_loss
from torchloupe.model.outputs import take_logits

SETTING = "hardware.channels_last"


def make_batch(count: int = 6, channels: int = 3, side: int = 32) -> Batch:
    """Images as the contract makes them, in channels_last."""
    torch.manual_seed(0)
    images = torch.randn(count, side, side, channels).permute(0, 3, 1, 2)
    return Batch(images, torch.arange(count) % 4, np.arange(count))


def try_it(
    model,
    *,
    loss="cross_entropy",
    channels_last="auto",
    source="default",
    batch=None,
    ignore=(),
    outputs="auto",
):
    typed = {SETTING: channels_last, "check.ignore": ignore, "model.outputs": outputs}
    config = change(Config(), typed)
    settings = Settings(config, {SETTING: source})
    batch = batch or make_batch()
    return try_model(model, make_loss(loss, classes=4), batch, 4, settings)


def refuse(model, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        try_it(model)
    assert (caught.value.message, caught.value.hint) == (message, hint)


@pytest.mark.parametrize(
    "kind",
    [
        *(models.Small, models.GroupStatistics, models.ListedTwice, models.Masked, models.Lazy),
        *(models.ExtraState, models.Versioned, models.Keeping, models.Complex),
        models.DrawsForNothing,
    ],
)
def test_trial_says_nothing_of_a_sound_model(kind):
    assert try_it(kind()) == TrialResult()


def test_trial_leaves_weights_gradients_buffers_and_random_numbers_as_they_are():
    model, batch = models.Small(), make_batch()
    model.fc.weight.grad = torch.ones_like(model.fc.weight)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    strides = [parameter.stride() for parameter in model.parameters()]
    random = torch.random.get_rng_state()
    try_it(model, batch=batch)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert [parameter.stride() for parameter in model.parameters()] == strides
    assert torch.equal(random, torch.random.get_rng_state())
    assert torch.equal(model.fc.weight.grad, torch.ones_like(model.fc.weight))
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("channels", [1, 3])
def test_trial_falls_back_to_contiguous_images_when_a_view_fails(channels):
    model, batch = models.Tutorial(channels), make_batch(channels=channels)
    found = try_it(model, batch=batch)
    assert found.settings == {SETTING: False}
    assert found.notes[0].startswith(
        "images are contiguous in memory: the model fails in channels_last (RuntimeError: view "
        "size is not compatible"
    )
    model(batch.images).sum().backward()
    assert requires_contiguous(model)


def test_trial_refuses_channels_last_when_it_was_typed_and_fails():
    with pytest.raises(UsageError) as caught:
        try_it(models.Tutorial(), channels_last=True, source="typed")
    assert caught.value.message.startswith(
        "hardware.channels_last=true was asked for, and the model fails in channels_last"
    )
    assert caught.value.hint == "leave hardware.channels_last out, or set it to false"


def test_trial_keeps_images_contiguous_when_channels_last_is_false():
    model = models.Tutorial()
    assert try_it(model, channels_last=False, source="typed") == TrialResult()
    assert requires_contiguous(model)


@pytest.mark.parametrize(
    ("kind", "message", "hint"),
    [
        (
            models.PlainList,
            "forward uses layers[0] (Linear), and layers is a plain list: what is in it is neither "
            "trained, moved to the device nor saved",
            "make it an nn.ModuleList: self.layers = nn.ModuleList(...)",
        ),
        (
            models.PlainDict,
            "forward uses heads['a'] (Linear), and heads is a plain dict: what is in it is neither "
            "trained, moved to the device nor saved",
            "make it an nn.ModuleDict: self.heads = nn.ModuleDict(...)",
        ),
        (
            models.MadeInForward,
            "forward uses a Dropout that is not an attribute of the model: it is neither trained "
            "nor saved, and eval mode doesn't reach it",
            "make it once, in __init__: self.layer = nn.Dropout(...)",
        ),
        (
            models.PlainTensor,
            "scale [8] requires a gradient but is not a parameter of the model: it is neither "
            "trained nor saved",
            "make it one: self.scale = nn.Parameter(...)",
        ),
        (
            models.ListOfParameters,
            "scales[0] [8] requires a gradient but is not a parameter of the model: it is neither "
            "trained nor saved",
            "make it one: self.scales = nn.ParameterList(...)",
        ),
        (
            models.WithoutGradient,
            "no parameter gets a gradient: the output of layer body.0 (Conv2d), the first, has "
            "none",
            "take torch.no_grad(), .detach(), .data, .item() and numpy out of forward",
        ),
        (
            models.Frozen,
            "the model has nothing to train: 6 parameters, all frozen",
            "set requires_grad=True on those to be trained",
        ),
        (
            models.Squeezed,
            "the model gives [4] for a batch of one image, without its batch",
            "use x.flatten(1) in place of x.squeeze(), which takes the batch away too",
        ),
        (
            lambda: models.ExtraState({1, 2}),
            "the model gives a set from get_extra_state, which a checkpoint can't hold",
            "give tensors, numbers, texts, None, and lists and dicts of those by text",
        ),
    ],
)
def test_trial_refuses_what_would_not_be_trained_or_saved(kind, message, hint):
    refuse(kind(), message, hint)


@pytest.mark.parametrize(
    ("kind", "message", "hint"),
    [
        (
            models.SoftmaxOverBatch,
            r"depend on the other images in its batch \(.* of the largest\); it begins in layer "
            r"softmax \(Softmax\)",
            "compute within an image",
        ),
        (
            models.BatchStatistics,
            r"depend on the other images in its batch .* layer norm \(BatchNorm1d\)",
            "let BatchNorm keep running statistics: track_running_stats=True",
        ),
        (
            models.NormInTraining,
            r"depend on the other images in its batch .* layer body.1 \(BatchNorm2d\)",
            "body.1 (BatchNorm2d) is in training mode after model.eval(): let train(self, mode=",
        ),
        (
            models.NormByHand,
            "depend on the other images in its batch",
            "write F.batch_norm(..., training=self.training) in NormByHand",
        ),
        (
            models.DividedByBatch,
            "depend on how many other images are in its batch",
            "compute within an image",
        ),
    ],
)
def test_trial_refuses_a_model_in_which_other_images_decide(kind, message, hint):
    with pytest.raises(UsageError, match=message) as caught:
        try_it(kind())
    assert caught.value.hint.startswith(hint)


def test_trial_refuses_a_model_that_does_not_repeat_its_logits_unless_that_is_allowed():
    allowed = "output-differs-between-evaluations"
    with pytest.raises(UsageError) as caught:
        try_it(models.AlwaysDropping())
    assert caught.value.message.startswith("in eval mode the same images get other logits each")
    assert caught.value.message.endswith(
        ": forward of AlwaysDropping calls dropout after layer body (Sequential)"
    )
    assert caught.value.hint == (
        "write F.dropout(x, ..., training=self.training); for a model that is random on purpose: "
        f"check.ignore={allowed}"
    )
    found = try_it(models.AlwaysDropping(), ignore=(allowed,))
    assert found.notes[0].startswith("in eval mode the same images get other logits each time")


def test_trial_takes_probabilities_of_eval_mode_as_they_are_unless_outputs_are_typed():
    end = models.Ending(lambda z, training: z if training else z.softmax(1))
    model = take_logits(end, 4)
    found = try_it(model)
    assert found.settings == {"model.outputs": "eval_softmax"}
    assert found.notes == [describe_conversion("eval_softmax")]
    images = make_batch().images
    assert torch.equal(model(images), model.forward(images))
    model.eval()
    assert torch.allclose(model(images).softmax(1), model.forward(images))
    assert try_it(take_logits(end, 4), outputs="logits") == TrialResult()


@pytest.mark.parametrize(
    ("kind", "note"),
    [
        (
            models.Detached,
            "4 of 6 trainable parameters got no gradient in a trial step and would stay as they "
            "are: body.0.weight, body.0.bias, body.1.weight and 1 more (forward doesn't use them, "
            "or detaches what they give)",
        ),
        (
            models.Softmax,
            "the model ends in softmax, and the loss applies softmax again, which learns slowly: "
            "return what goes into the softmax",
        ),
    ],
)
def test_trial_notes_what_may_be_a_mistake(kind, note):
    assert try_it(kind()).doubts == [note]


def test_trial_of_a_single_image_goes_through_a_norm_over_one_value():
    model = models.GroupStatistics()
    assert try_it(model, batch=make_batch(1)) == TrialResult()


def test_sparse_gradients_are_refused_by_the_name_of_the_parameter():
    with pytest.raises(UsageError) as caught:
        try_it(models.SparseRows())
    assert caught.value.message.startswith("rows.weight gets a sparse gradient")
    assert "sparse=True" in caught.value.hint


@pytest.mark.parametrize("place", ["forward", "weights"])
def test_logits_that_are_nan_before_training_are_refused_with_the_layer(place):
    model = models.Logarithm() if place == "forward" else models.Small()
    if place == "weights":
        nn.init.constant_(model.body[1].weight, float("nan"))
    with pytest.raises(UsageError) as caught:
        try_it(model)
    layer, before = (
        ("fc (Linear)", "body (Sequential)"),
        ("body.1 (BatchNorm2d)", "body.0 (Conv2d)"),
    )
    first, last = layer if place == "forward" else before
    assert caught.value.message == (
        f"the logits are NaN before any step: layer {first} is the first that gives NaN, after "
        f"layer {last}"
    )
    batch = make_batch()
    batch.images[:] = float("nan")
    assert try_it(models.Small(), batch=batch).settings == {}  # another error names the image


def test_drop_fused_takes_it_from_complex_parameters_only():
    options = {"fused": True, "betas": [0.9, 0.99]}
    assert drop_fused(models.Small(), options) == {}
    found = drop_fused(models.Complex(), options)
    assert found == {"optimizer.options": {"betas": [0.9, 0.99]}}
    assert drop_fused(nn.Identity(), {}) == {}


def test_layers_are_kept_only_where_outputs_differ(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("the outputs of all layers at once may fill the memory")

    monkeypatch.setattr("torchloupe.lens.batch_dependence.layer_outputs", refuse)
    model, images = models.Small().eval(), make_batch(4).images
    assert find_dependence(model, images) is None
    assert first_difference(model, copy.deepcopy(model), images) is None
