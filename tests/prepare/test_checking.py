"""The way of `loupe check`: data alone, and with the model."""

from pathlib import Path

import pytest
import torch

from torchloupe.config.settings import Settings
from torchloupe.errors import UsageError
from torchloupe.prepare import checking, machine
from torchloupe.prepare.checking import judge
from torchloupe.recipes.machine import MachineProfile, StepTime

pytestmark = pytest.mark.usefixtures("own_cache")

MODEL = """
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(64, 32), nn.Linear(32, 10)

    def forward(self, x):
        return F.softmax(self.fc2(F.relu(self.fc1(x.flatten(1)))), dim=1)
"""


def test_digits_have_nothing_to_tell() -> None:
    assert judge(Settings(), "digits", []) == []


def test_a_model_of_ones_own_is_checked_with_its_loss(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(MODEL)
    settings = Settings().with_typed({"model.name": f"{tmp_path / 'net.py'}:Net"})
    assert judge(settings, "digits", []) == []
    names = [verdict.verdict for verdict in judge(settings, "digits", with_model=True)]
    assert names == ["softmax-before-cross-entropy"]


@pytest.mark.parametrize("name", ["net", "cnn", "residual"])
def test_networks_of_the_zoo_have_nothing_to_tell(name: str) -> None:
    settings = Settings().with_typed({"model.name": name})
    assert judge(settings, "digits", with_model=True) == []


def test_a_model_is_checked_as_a_run_on_this_machine_would_train_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = MachineProfile((StepTime(1, True, 1.0), StepTime(1, False, 0.5)), 0.3, 0.001)
    monkeypatch.setattr(machine, "known_profile", lambda: slow)
    threads = torch.get_num_threads()
    seen: list[tuple[Settings, int]] = []

    def look(settings: Settings, *_: object) -> list[object]:
        seen.append((settings, torch.get_num_threads()))
        return []

    monkeypatch.setattr(checking, "judge_model", look)
    judge(Settings(), "digits", with_model=True)
    ((settings, used),) = seen
    config = settings.config
    assert config.model.options == {"width": 16}
    assert (config.optimizer.name, config.hardware.threads, used) == ("adamw", 1, 1)
    assert torch.get_num_threads() == threads  # of the process, afterwards


def test_a_name_that_no_verdict_has_is_refused_before_data_are_read(tmp_path: Path) -> None:
    settings = Settings().with_typed({"check.ignore": ["clas-never-tested"]})
    with pytest.raises(UsageError, match="did you mean 'class-never-tested'"):
        judge(settings, tmp_path / "nowhere", [])
