"""The page of a cross-validation: every image once, tested by a model that had not seen it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torchloupe.config.settings import read_settings
from torchloupe.errors import printable
from torchloupe.evaluation.folds import within_shares
from torchloupe.report.document import fill_page
from torchloupe.run.json_files import read_json
from torchloupe.run.places import FOLDS
from torchloupe.system import files
from torchloupe.trained.facts import classes, confidence
from torchloupe.trained.facts.images import ImageTable
from torchloupe.trained.facts.predictions import Predictions, read_predictions
from torchloupe.trained.report import PAGE
from torchloupe.trained.run import read_contract


def write_folds_page(folder: Path, out: Path | None = None) -> Path:
    """Write the page of the folds in `folder`, FOLDER/report.html or `out`; returns its path.

    It links to the pages of the single folds.
    """
    metrics = read_json(folder / FOLDS)
    contract = read_contract(folder / "fold-1")
    found = read_predictions(folder / "predictions.parquet", contract.class_names)
    path = out or folder / PAGE
    files.replace_file(path, make_folds_page(folder, metrics, found).encode())
    return path


def make_folds_page(folder: Path, metrics: Mapping[str, Any], found: Predictions | None) -> str:
    """The page as HTML."""
    config = read_settings(folder / "config.json").config
    charts: dict[str, Any] = {"folds": fold_chart(metrics)}
    told: dict[str, Any] = {"classes": [], "matrix": None, "pairs": [], "remarks": []}
    images = ImageTable(None, found)
    if found is not None:
        confusion = classes.count_confusion(found)
        told["classes"] = classes.describe_classes(found)
        if confusion is not None:
            told["matrix"] = classes.describe_matrix(confusion, found.class_names)
            told["pairs"] = classes.confused_pairs(confusion, found.class_names)
        reliability = confidence.reliability_chart(found, 1.0)
        charts |= {"reliability": reliability} if reliability is not None else {}
        charts["coverage"] = confidence.coverage_chart(found)
        images.add_evaluated()
    names = () if found is None else found.class_names
    facts = {
        "charts": charts,
        "classes": [printable(name) for name in names],
        "images": images.columns(),
        "map": None,
        "threshold": None,
        "sprite": None,
        "is_live": False,
    }
    told["charts"] = [(key, charts[key]["title"]) for key in charts if key != "folds"]
    empty = {"worst": [], "unsure": [], "has_heat": False, "heat_layer": ""}
    test = {**told, **empty, "title": "Every image, tested once"}
    page = {"facts": facts, "sprite": None, "shots": None, "test": test}
    interval = metrics.get("accuracy_ci95")  # older folders have none
    values = {
        "title": f"{printable(config.data.source, 80)}: {metrics['folds']} folds",
        "page": page,
        "facts": facts,
        "metrics": metrics,
        "interval": interval and within_shares(interval),
        "runs": [
            {**run, "has_page": (folder / run["folder"] / PAGE).is_file()}
            for run in metrics["runs"]
        ],
    }
    return fill_page("folds.html", values)


def fold_chart(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The accuracy of each fold, and a line at the mean."""
    runs = metrics["runs"]
    return {
        "kind": "lines",
        "title": "test accuracy of each fold",
        "x": {"label": "fold", "from": 0.5, "to": len(runs) + 0.5},
        "y": {"label": "test accuracy", "unit": "%"},
        "series": [
            {
                "name": "fold",
                "dots": True,
                "x": list(range(1, len(runs) + 1)),
                "y": [run["accuracy"] for run in runs],
            },
            {
                "name": "mean",
                "x": [0.5, len(runs) + 0.5],
                "y": [metrics["accuracy_mean"]] * 2,
            },
        ],
    }
