"""The run that is hurt: small, but with everything that has to survive."""

from pathlib import Path

from children import run_loupe

from torchloupe.studies.difference import compare_runs

COMPARED: list[bool] = []  # the verdicts of all comparisons, for the table
MODEL = """
from torch import nn

def net(in_channels, classes):
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3),
        nn.Flatten(), nn.Linear(8 * 64, classes),
    )
"""

# Augmentation, dropout, BatchNorm, averaged weights, accumulation, clipping, one-cycle, an epoch
# whose last batch is smaller, and saves and evaluations in the middle of it.
SETTINGS = {
    "train.batch_total": 256,
    "train.micro_batches": 2,
    "train.average": 0.9,
    "train.clip_norm": 1,
    "train.log_every_steps": 1,
    "train.report": False,
    "train.evaluate_every_epochs": 0.5,
    "train.save_every_epochs": 0.4,
    "schedule.name": "onecycle",
    "schedule.warmup_fraction": 0.3,
    "optimizer.name": "adamw",
    "augment.policy": "none",
    "augment.translate": 0.1,
    "augment.rotate_degrees": 5,
    "augment.mixup": 0.2,
}


def write_model(folder: Path) -> Path:
    """The file of the model."""
    path = folder / "model.py"
    path.write_text(MODEL, encoding="utf-8")
    return path


def train_words(out: Path, model: Path, epochs: float = 4, **settings: object) -> list[str]:
    """The command that trains the small run; settings by name, `__` for the dot."""
    own = {name.replace("__", "."): value for name, value in settings.items()}
    words = ["train", "digits", "--model", f"{model}:net", "--epochs", str(epochs), "--quiet"]
    for name, value in {**SETTINGS, **own}.items():
        words += ["--set", f"{name}={value}"]
    return [*words, "--out", str(out)]


def resume_words(run: Path) -> list[str]:
    """The command that goes on with it."""
    return ["resume", str(run), "--trust-code", "--quiet"]


def finish(run: Path, start: list[str]) -> tuple[int, str]:
    """Go on with a run that was killed, to its end: exit code and what it said."""
    is_begun = (run / "config.json").is_file()
    return run_loupe(resume_words(run) if is_begun else start, run.parent / f"{run.name}.txt")


def stray_files(run: Path) -> list[str]:
    """Temporary files that were left in a run."""
    return [str(path.relative_to(run)) for path in run.rglob(".*")]


def is_bit_equal(one: Path, other: Path) -> bool:
    """Whether two runs did the same steps to the same bits."""
    COMPARED.append(compare_runs(one, other).is_none)
    return COMPARED[-1]
