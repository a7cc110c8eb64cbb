"""Runs with other people's models: two steps, and the best checkpoint opened again."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import own_models as models
from torchloupe.checks.examination import check
from torchloupe.errors import CheckpointError, UsageError
from torchloupe.train.start import fit
from torchloupe.trained.run import open_run

SETTINGS = {"train.batch_total": 16, "data.test_fraction": 0.1, "hardware.threads": 1}
LABELS = np.arange(40) % 4
pytestmark = pytest.mark.usefixtures("own_cache")


def make_images(channels: int = 3) -> np.ndarray:
    shape = (40, 32, 32, 3) if channels == 3 else (40, 32, 32)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def run_two_steps(tmp_path, model, data=None, epochs=1, **settings):
    data = (make_images(), LABELS) if data is None else data
    out = tmp_path / "run"
    return fit(data, model=model, epochs=epochs, out=out, settings={**SETTINGS, **settings})


class Wandering(models.Small):
    """Running numbers outside any buffer, once weights have moved: no trial sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.shift = self.fc.weight.detach().clone(), 0.0

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and not torch.equal(self.fc.weight, self.first):
            self.shift = self.shift + 1.0
        return x + self.shift


@pytest.mark.parametrize("channels", [1, 3])
def test_tutorial_net_is_trained_predicts_and_is_looked_into(tmp_path, channels):
    images = make_images(channels)
    run = run_two_steps(tmp_path, models.Tutorial(channels), (images, LABELS))
    assert run.config.hardware.channels_last is False
    assert not run.model._forward_pre_hooks
    again = open_run(run.folder, model=models.Tutorial(channels))
    pixels = images[:5] if channels == 3 else images[:5, :, :, None]
    assert np.array_equal(run.probabilities(pixels), again.probabilities(pixels))
    again.look(images[0])


def test_tutorial_net_is_trained_on_a_data_loader(tmp_path):
    data = TensorDataset(torch.randn(40, 3, 32, 32), torch.from_numpy(LABELS))
    loader = DataLoader(data, batch_size=16, shuffle=True)
    run = run_two_steps(tmp_path, models.Tutorial(), loader)
    assert run.config.hardware.channels_last is False


@pytest.mark.parametrize(
    "make",
    [
        *(models.Versioned, models.ExtraState, models.Masked, models.Lazy, models.Keeping),
        *(models.Complex, models.GroupStatistics),
        lambda: nn.DataParallel(models.Small()),
    ],
)
def test_models_of_all_kinds_open_again_with_the_same_bits(tmp_path, make):
    run = run_two_steps(tmp_path, make())
    again = open_run(run.folder, model=make())
    pixels = make_images()[:5]
    assert np.array_equal(run.probabilities(pixels), again.probabilities(pixels))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_layers_inside_a_checkpoint_without_a_graph_are_not_looked_at(tmp_path):
    class Checkpointed(models.Small):
        def forward(self, x):
            x = torch.utils.checkpoint.checkpoint(self.body[:3], x, use_reentrant=True)
            return self.fc(self.body[3:](x))

    with pytest.raises(UsageError, match="no layer of this model gives maps"):
        run_two_steps(tmp_path, Checkpointed()).look(make_images()[0])


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("kind", [models.CachedBias, models.Merging])
def test_what_a_model_makes_of_its_weights_in_eval_mode_is_never_old(tmp_path, kind, averaged):
    settings = {"train.average": 0.5} if averaged else {}
    model = kind().eval()  # as some are handed over
    run = run_two_steps(tmp_path, model, epochs=3, **settings)
    pixels = make_images()[:5]
    again = open_run(run.folder, model=kind().eval())
    assert np.array_equal(run.probabilities(pixels), again.probabilities(pixels))


@pytest.mark.parametrize("kind", [models.LastSeen, models.CachedScale])
def test_tensors_that_forward_keeps_in_eval_mode_serve_in_training(tmp_path, kind):
    run = run_two_steps(tmp_path, kind, epochs=3)
    assert run.step == 6
    again = open_run(run.folder, model=kind())
    pixels = make_images()[:5]
    assert np.array_equal(run.probabilities(pixels), again.probabilities(pixels))
    run.model.train()(torch.rand(16, 3, 32, 32)).sum().backward()


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("kind", [models.PaddedTokens, models.JaggedTokens, models.SparseFeatures])
def test_models_that_pass_nested_or_sparse_tensors_along(tmp_path, kind):
    images = make_images()
    run = run_two_steps(tmp_path, kind)
    again = open_run(run.folder, model=kind())
    assert np.array_equal(run.probabilities(images[:5]), again.probabilities(images[:5]))
    assert again.look(images[0]).layers
    batch = torch.rand(8, 3, 32, 32), torch.from_numpy(LABELS[:8])
    check(kind(), [batch] * 4, loss=nn.functional.cross_entropy)


@pytest.mark.parametrize("kind", [models.RandomProjection, models.Memory])
def test_model_with_numbers_that_are_not_saved_is_refused_before_training(tmp_path, kind):
    with pytest.raises(UsageError) as caught:
        run_two_steps(tmp_path, kind)
    assert caught.value.message == (
        "another model of this kind with the same weights gives other logits, from layer fc "
        "(Linear) on: forward uses numbers that state_dict doesn't have"
    )
    assert not (tmp_path / "run").exists()


def test_model_handed_over_with_plain_tensors_is_noted(tmp_path):
    run = run_two_steps(tmp_path, models.RandomProjection())
    assert (
        "plain tensors of the model are neither saved nor moved to the device: projection "
        "(self.register_buffer keeps them)" in [event.get("note") for event in run.events]
    )


def test_run_whose_best_checkpoint_predicts_otherwise_ends_with_an_error(tmp_path):
    with pytest.raises(CheckpointError) as caught:
        run_two_steps(tmp_path, Wandering())
    assert caught.value.message.startswith(
        "the best checkpoint, opened again, gives other predictions than the trained model: "
    )
    assert caught.value.message.endswith("; the first layer that differs is fc (Linear)")
    assert caught.value.hint.startswith("keep all that forward uses in parameters and buffers")
    assert (tmp_path / "run" / "metrics.json").exists()


def test_batch_of_0_is_refused_and_of_1_is_trained(tmp_path):
    with pytest.raises(UsageError) as caught:
        run_two_steps(tmp_path, models.Small(), **{"train.batch_total": 0})
    assert caught.value.message == "train.batch_total is 0, which trains nothing"
    run = run_two_steps(tmp_path, models.Small(), **{"train.batch_total": 1})
    assert run.step == 32
    with pytest.raises(UsageError, match=r"running \(BatchNorm1d\) gets a single value"):
        run_two_steps(tmp_path, models.GroupStatistics(), **{"train.batch_total": 1})


def test_layer_made_by_the_first_forward_is_told_where_to_be_made(tmp_path):
    class Late(models.Small):
        def __init__(self):
            super().__init__()
            self.late = None

        def middle(self, x):
            if self.late is None:
                self.late = nn.Linear(x.shape[1], x.shape[1])
            return self.late(x)

    with pytest.raises(UsageError, match="state_dict doesn't load into another") as caught:
        run_two_steps(tmp_path, Late)
    assert caught.value.hint == (
        "make late in __init__, not in forward: nn.LazyLinear and its like find their number of "
        "inputs by themselves"
    )
