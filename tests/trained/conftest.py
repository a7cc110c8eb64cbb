"""A run that several modules of this folder read."""

from pathlib import Path

import numpy as np
import pytest

from torchloupe.cli import main


@pytest.fixture(scope="session")
def noisy_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over grey images whose brightness tells three classes apart in most cases.

    Some brighter images are of the class below; val and test have 120 images each.
    """
    home = tmp_path_factory.mktemp("noisy")
    random = np.random.default_rng(0)
    labels = np.arange(480) % 3
    light = 60 + 60 * labels + random.normal(0, 22, 480)
    images = light[:, None, None] + random.normal(0, 20, (480, 8, 8))
    np.savez(home / "data.npz", images=images.clip(0, 255).astype(np.uint8), labels=labels)
    words = ["train", str(home / "data.npz"), "--model", "cnn", "--epochs", "4", "--device", "cpu"]
    words += ["--set", "data.val_fraction=0.25", "--set", "data.test_fraction=0.25"]
    assert main.run([*words, "--out", str(home / "run"), "--quiet"]) == 0
    return home / "run"
