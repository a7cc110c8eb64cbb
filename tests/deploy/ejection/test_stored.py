"""Images stored for a file: all that have a part, in the order of the samples."""

from pathlib import Path

import numpy as np
import pytest
import torch

import torchloupe as loupe
from torchloupe.deploy.ejection.page import eject
from torchloupe.errors import ResourceError, UsageError
from torchloupe.trained.outputs import open_run_data

SETTINGS = {"hardware.precision": "fp32", "hardware.threads": 1, "data.size": "6"}
DATASET = """
import torch

class Tensors(torch.utils.data.Dataset):
    def __len__(self):
        return 30

    def __getitem__(self, row):
        return torch.full((1, 8, 8), row / 30), row % 2
"""


def test_stored_images_are_those_of_the_run(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 8, 9, 3), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", images=images, labels=np.arange(50) % 2)
    source = str(tmp_path / "data.npz")
    run = loupe.fit(source, model="net", epochs=0.3, out=tmp_path / "run", settings=SETTINGS)
    file = tmp_path / "stored.npz"
    page = eject(tmp_path / "run", images=file)  # of another size than the model takes
    assert f'DATA = Path("{file}")' in page
    data = open_run_data(run.folder, run.config, run.contract)
    with np.load(file) as stored:
        assert stored["pixels"].shape == (50, 6, 6, 3)
        for number, name in enumerate(("train", "val", "test")):
            rows = data.rows(name)
            own = stored["parts"] == number
            assert np.array_equal(stored["keys"][own], data.samples.keys[np.sort(rows)])
            kept = data.pixels.gather(np.sort(rows)).numpy()
            assert np.array_equal(stored["pixels"][own], kept)
    with pytest.raises(ResourceError, match="can't write"):
        eject(tmp_path / "run", images=tmp_path / "nowhere" / "stored.npz")


def test_a_dataset_of_tensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tensors.py").write_text(DATASET + "\ntensors = Tensors()\n")
    source = f"{tmp_path}/tensors.py:tensors"
    settings = {**SETTINGS, "data.size": "auto"}
    loupe.fit(source, model="net", epochs=1, out=tmp_path / "run", settings=settings)
    with pytest.raises(UsageError, match="trust-code"):
        eject(tmp_path / "run", images=tmp_path / "stored.npz")
    with pytest.raises(UsageError, match="through code of its own") as refused:
        eject(tmp_path / "run", trust_code=True, images=tmp_path / "stored.npz")
    assert "batches()" in refused.value.hint
    assert not (tmp_path / "stored.npz").exists()
    assert torch.get_num_threads() > 0
