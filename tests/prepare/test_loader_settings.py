"""A DataLoader's batch size and workers as settings of the run."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import torchloupe as loupe
from torchloupe.config.settings import Settings
from torchloupe.data.sources import open_data
from torchloupe.errors import UsageError
from torchloupe.prepare.loader_settings import follow_loader

TENSORS = TensorDataset(torch.rand(60, 1, 6, 6), torch.arange(60) % 3)


def settings(**typed):
    return Settings().with_typed({name.replace("__", "."): v for name, v in typed.items()})


@pytest.mark.parametrize(
    "options", [{"shuffle": True}, {"shuffle": False}, {"batch_sampler": [[0, 1, 2]] * 20}]
)
def test_loader_decides_the_batch_size_and_workers(options):
    size = {} if "batch_sampler" in options else {"batch_size": 3}
    data = open_data(DataLoader(TENSORS, num_workers=2, **size, **options))
    found = follow_loader(settings(), data)
    config = found.config
    assert (config.train.batch_total, found.origin("train.batch_total")) == (3, "recipe")
    assert config.data.workers == (2 if options.get("shuffle") else 0)


def test_loader_settings_leave_other_data_alone():
    typed = settings(train__batch_total=7)
    found = follow_loader(typed, open_data(TENSORS))
    assert found.config == typed.config
    assert found.origin("train.batch_total") == "typed"


def test_loader_settings_refuse_another_batch_size_that_was_typed():
    data = open_data(DataLoader(TENSORS, 32, shuffle=True))
    assert follow_loader(settings(train__batch_total=32), data).config.train.batch_total == 32
    with pytest.raises(UsageError) as caught:
        follow_loader(settings(train__batch_total=16), data)
    assert caught.value.message == ("train.batch_total is 16, and the data come in batches of 32")
    assert caught.value.hint == (
        "leave train.batch_total out, or make the DataLoader with batch_size=16"
    )


def test_loader_is_followed_by_a_run(tmp_path):
    loader = DataLoader(TENSORS, 8, shuffle=True, drop_last=True)
    run = loupe.fit(loader, model="net", epochs=1, out=tmp_path / "run")
    assert run.config.train.batch_total == 8
    assert run.step == 45 // 8  # of 60 images, 45 are for training


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("data.copies", "once", "images are compared by their content"),
        ("data.fit", "pad", "it gives numbers for the model"),
        ("data.kernel", "lanczos", "it gives numbers for the model"),
    ],
)
@pytest.mark.parametrize("kind", ["dataset", "stream"])
def test_typed_settings_without_effect_on_a_dataset_are_refused(
    tmp_path, name, value, reason, kind
):
    data = TENSORS if kind == "dataset" else DataLoader(TENSORS, 8)
    with pytest.raises(UsageError) as caught:
        loupe.fit(data, model="net", epochs=1, out=tmp_path / "run", settings={name: value})
    assert caught.value.message.startswith(f"{name}={value} has no effect on a Dataset or stream")
    assert reason in caught.value.message
    assert not (tmp_path / "run").exists()
