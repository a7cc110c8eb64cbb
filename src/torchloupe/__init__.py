"""Train image classifiers in plain PyTorch, with a training loop you can read.

    import torchloupe as loupe

    run = loupe.fit("photos/", epochs=5)
    run.metrics["test"]["accuracy"], run.predict("cat.jpg")

Names are loaded when they are first used: importing torchloupe does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torchloupe import checks, config, data, distributed, errors, hardware, lens
    from torchloupe.checks.examination import check
    from torchloupe.config.schema import Config
    from torchloupe.data.sources import open_data
    from torchloupe.deploy.artefact.exporting import export_run
    from torchloupe.deploy.artefact.opened import open_export
    from torchloupe.evaluation.scoring import evaluate
    from torchloupe.hardware.device import choose_device
    from torchloupe.hardware.precision import Precision
    from torchloupe.model import zoo as models
    from torchloupe.prepare.data import prepare_data
    from torchloupe.studies.comparison import Comparison, compare
    from torchloupe.studies.cross_validation import CrossValidation, cross_validate
    from torchloupe.studies.sweep.start import Sweep, sweep
    from torchloupe.train.start import fit, resume
    from torchloupe.trained.prediction import Prediction
    from torchloupe.trained.run import Run, open_run

__version__ = "0.1.0"

_PLACES = {
    "check": "torchloupe.checks.examination:check",
    "checks": "torchloupe.checks",
    "config": "torchloupe.config",
    "distributed": "torchloupe.distributed",
    "Precision": "torchloupe.hardware.precision:Precision",
    "choose_device": "torchloupe.hardware.device:choose_device",
    "prepare_data": "torchloupe.prepare.data:prepare_data",
    "Config": "torchloupe.config.schema:Config",
    "Comparison": "torchloupe.studies.comparison:Comparison",
    "CrossValidation": "torchloupe.studies.cross_validation:CrossValidation",
    "Prediction": "torchloupe.trained.prediction:Prediction",
    "Run": "torchloupe.trained.run:Run",
    "compare": "torchloupe.studies.comparison:compare",
    "cross_validate": "torchloupe.studies.cross_validation:cross_validate",
    "data": "torchloupe.data",
    "errors": "torchloupe.errors",
    "export_run": "torchloupe.deploy.artefact.exporting:export_run",
    "open_export": "torchloupe.deploy.artefact.opened:open_export",
    "evaluate": "torchloupe.evaluation.scoring:evaluate",
    "fit": "torchloupe.train.start:fit",
    "hardware": "torchloupe.hardware",
    "lens": "torchloupe.lens",
    "models": "torchloupe.model.zoo",
    "open_data": "torchloupe.data.sources:open_data",
    "open_run": "torchloupe.trained.run:open_run",
    "resume": "torchloupe.train.start:resume",
    "Sweep": "torchloupe.studies.sweep.start:Sweep",
    "sweep": "torchloupe.studies.sweep.start:sweep",
}

__all__ = [
    "Comparison",
    "Config",
    "CrossValidation",
    "Precision",
    "Prediction",
    "Run",
    "Sweep",
    "check",
    "checks",
    "choose_device",
    "compare",
    "config",
    "cross_validate",
    "data",
    "distributed",
    "errors",
    "evaluate",
    "export_run",
    "fit",
    "hardware",
    "lens",
    "models",
    "open_data",
    "open_export",
    "open_run",
    "prepare_data",
    "resume",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'torchloupe' has no attribute {name!r}")
    module, _, attribute = _PLACES[name].partition(":")
    found = import_module(module)
    return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
