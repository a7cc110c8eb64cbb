"""R22, R24: many short epochs hold what they held at first, and the log is read meanwhile."""

import json
import os
import threading
from pathlib import Path
from statistics import median

import pytest
from children import Child, run_function, wait_until
from runs import write_model

from steps import log_line
from torchloupe.run.events import read_events
from torchloupe.run.folder import RunFolder

MOST_GROWTH = 1.01


class Gauge:
    """A listener that looks at its process at each evaluation, the end of an epoch."""

    def __init__(self) -> None:
        self.seen: list[dict[str, int]] = []

    def start(self, facts: object) -> None:
        pass

    def record(self, event: dict[str, object]) -> None:
        if "val_loss" in event:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.seen.append(
                {
                    "bytes": pages * os.sysconf("SC_PAGE_SIZE"),
                    "descriptors": len(list(Path("/proc/self/fd").iterdir())),
                    "threads": len(list(Path("/proc/self/task").iterdir())),
                    "thread names": len({thread.name for thread in threading.enumerate()}),
                }
            )

    def close(self) -> None:
        pass


def train_and_measure(folder: Path, epochs: int) -> None:
    """In a child: train, and leave what was measured in a file."""
    import torch

    from torchloupe.train.start import train

    torch.set_num_threads(1)
    gauge = Gauge()
    settings = {
        "model.name": f"{folder}/model.py:net",
        "train.epochs": epochs,
        "train.batch_total": 512,
        "train.average": 0.9,
        "train.log_every_steps": 1,
    }
    train("digits", settings, out=folder / "run", listeners=[gauge])
    (folder / "seen.json").write_text(json.dumps(gauge.seen))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    ("epochs", "warm"),
    [
        pytest.param(60, 30, marks=pytest.mark.long),
        pytest.param(500, 50, marks=[pytest.mark.slow, pytest.mark.timeout(1200)]),
    ],
)
def test_many_short_epochs_need_no_more_than_the_first(
    quick_folder: Path, epochs: int, warm: int
) -> None:
    write_model(quick_folder)
    assert run_function(train_and_measure, quick_folder, epochs) == 0
    seen = json.loads((quick_folder / "seen.json").read_text())
    assert len(seen) == epochs
    for name in seen[0]:
        values = [each[name] for each in seen]
        late, early = median(values[-warm // 2 :]), median(values[warm // 2 : warm])
        assert late <= MOST_GROWTH * early, (name, values)


def test_log_has_only_whole_lines_for_those_who_read_it_while_it_is_written(tmp_path: Path) -> None:
    count, problems, lengths = 2000, [], []
    is_over = threading.Event()

    def read() -> None:
        while not is_over.is_set():
            # A line counts once its end is there: kernels may show a write page by page.
            text = (tmp_path / "events.jsonl").read_text().rpartition("\n")[0]
            try:
                steps = [json.loads(line)["step"] for line in text.splitlines()]
            except ValueError:
                problems.append(text[-200:])
                return
            lengths.append(len(steps))
            if steps != list(range(len(steps))):
                problems.append(str(steps[-5:]))

    with RunFolder(tmp_path) as run:
        run.record(log_line(0))
        reader = threading.Thread(target=read)
        reader.start()
        for step in range(1, count):
            run.record(log_line(step, 1 / step))
        is_over.set()
        reader.join()
    assert problems == []
    assert lengths == sorted(lengths)
    assert len(read_events(tmp_path)) == count


def test_log_of_a_run_that_is_killed_while_writing_is_read(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    words = ["train", "digits", "--model", f"{model}:net", "--epochs", "500", "--quiet"]
    words += ["--set", "train.log_every_steps=1", "--out", str(tmp_path / "run")]
    child = Child(words, tmp_path / "said.txt")
    log = tmp_path / "run" / "events.jsonl"
    assert wait_until(lambda: log.exists() and log.stat().st_size > 5000, child)
    assert child.kill()
    steps = [event["step"] for event in read_events(tmp_path / "run") if "train_loss" in event]
    assert steps == list(range(1, len(steps) + 1))
