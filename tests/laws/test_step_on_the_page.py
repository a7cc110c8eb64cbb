"""The step is on the loop's page, few calls from `fit`, and the way there is in ARCHITECTURE.md."""

import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import house
import torch

import torchloupe as loupe

MOST_FRAMES = 4  # from fit to optimizer.step
MOST_FILES = 12  # on the way of a run, before the loop


class Recorder(torch.optim.SGD):
    """Plain SGD that remembers from where its first step was called."""

    frames: tuple[str, ...] = ()

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        if not Recorder.frames:
            stack = traceback.extract_stack()
            here = str(house.SOURCE)
            Recorder.frames = tuple(f.name for f in stack if f.filename.startswith(here))
        return super().step(closure)


def test_few_frames_lie_between_fit_and_the_optimizer(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"train.epochs": 0.05, "optimizer.lr": 0.1}
    loupe.fit("digits", model="net", optimizer=Recorder, out=tmp_path / "run", settings=settings)
    assert Recorder.frames == ("fit", "run_session", "train", "step")
    assert len(Recorder.frames) <= MOST_FRAMES


def test_loop_shows_forward_loss_backward_and_step_in_this_order() -> None:
    page = (house.SOURCE / "train" / "loop.py").read_text(encoding="utf-8")
    start, end = (match.start() for match in re.finditer(r"# -{3,}", page))
    fenced = page[start:end]
    words = ["parallel.module(micro.images)", "plan.loss(logits", "precision.backward(loss)"]
    places = [fenced.index(word) for word in (*words, "precision.step(optimizer")]
    assert places == sorted(places)
    assert len(fenced.splitlines()) <= 16


def test_way_of_a_run_is_short_and_its_files_exist() -> None:
    page = (house.ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    section = page.partition("## The way of a run")[2].partition("\n## ")[0]
    files = re.findall(r"^\d+\. `([^`]+)`", section, re.MULTILINE)
    assert files[0] == "cli/train.py"
    assert files[-1] == "train/loop.py"
    assert len(files) - 1 <= MOST_FILES
    assert [name for name in files if not (house.SOURCE / name).is_file()] == []
