"""When checkpoints are written: by steps, at epochs, by the clock and when asked."""

import os
import signal
from pathlib import Path

import pytest
from runs import write_model

from torchloupe.run import checkpoint
from torchloupe.train.start import train


class AskAt:
    """A listener that asks its own process for a checkpoint when a step is logged."""

    def __init__(self, step: int) -> None:
        self.step = step

    def start(self, facts: object) -> None:
        pass

    def record(self, event: dict[str, object]) -> None:
        if "train_loss" in event and event["step"] == self.step:
            os.kill(os.getpid(), signal.SIGUSR1)

    def close(self) -> None:
        pass


NEVER = {"train.save_every_epochs": 0, "train.save_every_minutes": 0}


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        (NEVER, [12]),
        ({**NEVER, "train.save_every_steps": 5}, [5, 10, 12]),
        ({**NEVER, "train.save_every_epochs": 1}, [6, 12]),
        ({**NEVER, "train.save_every_epochs": 0.5}, [3, 6, 9, 12]),
        ({**NEVER, "train.save_every_epochs": 1, "train.save_every_steps": 8}, [8, 12]),
        ({**NEVER, "train.save_every_minutes": 1e-9}, list(range(1, 13))),
        ({**NEVER, "ask": 4}, [5, 12]),
    ],
    ids=["end", "steps", "epochs", "half epochs", "steps instead", "minutes", "SIGUSR1"],
)
def test_checkpoints_are_written_when_they_are_due(
    tmp_path: Path, settings: dict[str, float], steps: list[int]
) -> None:
    asked = int(settings.get("ask", 0))
    own = {name: value for name, value in settings.items() if name != "ask"}
    train(
        "digits",
        {
            "model.name": f"{write_model(tmp_path)}:net",
            "train.epochs": 2,
            "train.batch_total": 256,
            "train.log_every_steps": 1,
            "train.evaluate_every_epochs": 0,
            "train.keep": 100,
            **own,
        },
        out=tmp_path / "run",
        listeners=[AskAt(asked)],
    )
    written = checkpoint.list_checkpoints(tmp_path / "run" / "checkpoints")
    assert [path.name for path in reversed(written)] == [f"step-{step:08d}" for step in steps]
