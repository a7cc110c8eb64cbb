"""A run served with folded BatchNorms: the same classes, probabilities within the bound."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import torchloupe as loupe
from torchloupe.deploy.artefact.opened import open_labeller
from torchloupe.deploy.folded import CLOSE, FoldedRun, fold_run, make_trial_pixels
from torchloupe.errors import UsageError
from torchloupe.hardware.layout import require_contiguous, requires_contiguous
from torchloupe.model.fusing import FusedConvolution
from torchloupe.trained.outputs import precision_of
from torchloupe.trained.run import Run, open_run

PIXELS = np.random.default_rng(0).integers(0, 256, (37, 8, 8, 1), dtype=np.uint8)


class Own(nn.Module):
    """A convolution with its BatchNorm, in somebody's own code."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(images)).relu().mean((2, 3)))  # type: ignore[no-any-return]


class Undecided(Own):
    """Another path for images that the trial may not have."""

    def forward(self, images: Tensor) -> Tensor:
        found = super().forward(images)
        return found.neg() if bool((images > 100).all()) else found


class Viewed(Own):
    """Code that takes contiguous tensors only."""

    def forward(self, images: Tensor) -> Tensor:
        seen = self.norm(self.conv(images)).relu()
        return self.head(seen.view(len(seen), 8, -1).mean(2))  # type: ignore[no-any-return]


def opened(folder: Path) -> Run:
    return open_run(folder, device="cpu")


def count_norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A few steps of a network with BatchNorms on digits."""
    folder = tmp_path_factory.mktemp("folded") / "residual"
    settings: dict[str, Any] = {"hardware.threads": 1, "train.report": False}
    return loupe.fit("digits", model="residual", epochs=0.05, out=folder, settings=settings)


@pytest.fixture(scope="module")
def folded(run: Run) -> FoldedRun:
    found = fold_run(opened(run.folder))
    assert found is not None
    return found


def test_probabilities_are_those_of_predict_within_the_bound(run: Run, folded: FoldedRun) -> None:
    assert CLOSE == 1e-5  # as docs/serving.md says
    assert count_norms(run.model) > count_norms(folded._network) == 0
    found, wanted = folded.probabilities(PIXELS), run.probabilities(PIXELS)
    assert np.abs(found - wanted).max() <= CLOSE
    assert np.array_equal(found.argmax(1), wanted.argmax(1))
    assert found.dtype == np.float32


def test_an_image_has_the_same_bits_alone_and_in_any_batch(folded: FoldedRun) -> None:
    wanted = folded.probabilities(PIXELS)
    for count in (1, 2, 3, 8, 11, 19, 37):
        assert np.array_equal(folded.probabilities(PIXELS[:count]), wanted[:count]), count
        assert np.array_equal(folded.probabilities(PIXELS[-count:]), wanted[-count:]), count


def test_temperature_of_the_run_is_kept(run: Run) -> None:
    warm = opened(run.folder)
    warm.contract = replace(warm.contract, temperature=3.0)
    found = fold_run(warm)
    assert found is not None
    assert np.abs(found.probabilities(PIXELS) - warm.probabilities(PIXELS)).max() <= CLOSE


def change(run: Run, network: nn.Module) -> Run:
    """The run with another network."""
    torch.manual_seed(0)
    network.train()(torch.randn(32, 1, 8, 8))  # running statistics
    return Run(run.folder, network, run.contract, run.config, run.step)


def test_own_code_is_folded_where_one_trial_tells_of_all_images(run: Run) -> None:
    assert fold_run(change(run, Own())) is not None
    assert fold_run(change(run, Undecided())) is None


def test_a_network_that_was_trained_on_contiguous_images_is_fused(run: Run) -> None:
    network = Own()
    require_contiguous(network)
    found = fold_run(change(run, network))
    assert found is not None
    assert any(isinstance(module, FusedConvolution) for module in found._network.modules())
    assert requires_contiguous(network)


def test_code_for_contiguous_images_and_nets_without_norms_stay(run: Run) -> None:
    assert fold_run(change(run, nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))) is None
    viewed = change(run, Viewed())
    found = fold_run(viewed)
    served: Any = found or viewed
    assert np.abs(served.probabilities(PIXELS) - viewed.probabilities(PIXELS)).max() <= CLOSE


def test_a_run_in_bf16_stays_as_it_is(run: Run) -> None:
    hardware = replace(run.config.hardware, precision="bf16")
    config = replace(run.config, hardware=hardware)
    warm = Run(run.folder, opened(run.folder).model, run.contract, config, run.step)
    if precision_of(config, warm.device).name == "bf16":
        assert fold_run(warm) is None


def test_trial_images_are_different_and_of_the_kind_that_the_run_takes(run: Run) -> None:
    pixels = make_trial_pixels(run.contract)
    assert pixels.shape == (16, *run.contract.size, 1)
    assert pixels.dtype == np.uint8
    assert len({image.tobytes() for image in pixels}) >= 12
    floats = make_trial_pixels(replace(run.contract, dtype="float32", value_high=1.0))
    assert floats.dtype == np.float32
    assert 0 <= floats.min() < floats.max() <= 1


def test_fast_predictions_are_those_of_predict_within_the_bound(run: Run) -> None:
    fast = open_labeller(run.folder, fast=True)
    assert isinstance(fast, FoldedRun)
    assert fast.folder == run.folder
    for raw in (False, True):
        found, wanted = fast.predict(PIXELS, raw=raw), run.predict(PIXELS, raw=raw)
        assert [one.label for one in found] == [one.label for one in wanted]
        for one, other in zip(found, wanted, strict=True):
            assert one.probabilities == pytest.approx(other.probabilities, abs=CLOSE)


def test_fast_predictions_take_one_view(run: Run) -> None:
    with pytest.raises(UsageError, match="--fast looks at an image once"):
        open_labeller(run.folder, fast=True, views="flip")


def test_fast_of_a_network_that_stays_as_it_is_says_so(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torchloupe.deploy.artefact.opened.fold_run", lambda run: None)
    assert isinstance(open_labeller(run.folder, fast=True), Run)
    assert "--fast changes nothing for this run" in capsys.readouterr().err
