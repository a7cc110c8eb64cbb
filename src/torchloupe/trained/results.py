"""The results of a finished run as an event for trackers: its metrics, and pictures of them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from torchloupe.errors import DataError
from torchloupe.prepare.run_data import RunData
from torchloupe.report.colours import to_pixels
from torchloupe.report.scores import MOST_CLASSES, Mistake, draw_confusion, draw_mistakes
from torchloupe.run.events import Results
from torchloupe.run.json_files import read_json
from torchloupe.system.arrow import read_table

MOST_MISTAKES = 24


def collect_results(folder: Path, run_data: RunData) -> Results:
    """The metrics, the confusion matrix of the test split (val if there is none), and the
    mistakes that the model was most confident of, as pictures.
    """
    metrics = read_json(folder / "metrics.json")
    scores: Mapping[str, Any] = metrics.get("test") or metrics.get("val") or {}
    images = {}
    names = run_data.contract.class_names
    confusion = scores.get("confusion")
    if confusion and 1 < len(names) <= MOST_CLASSES:
        images["confusion"] = draw_confusion(np.array(confusion, dtype=np.int64), names)
    mistakes = list(find_mistakes(folder / "predictions.parquet", run_data))
    if mistakes:
        images["mistakes"] = draw_mistakes(mistakes)
    return Results(metrics, images)


def find_mistakes(
    predictions: Path, run_data: RunData, most: int = MOST_MISTAKES
) -> Iterator[Mistake]:
    """The wrong predictions of a run, the most confident first; none for a stream."""
    if run_data.source.kind == "stream" or not predictions.is_file():
        return
    table = read_table(predictions, ["id", "label", "prediction", "confidence"])
    wrong = [row for row in table.to_pylist() if row["label"] != row["prediction"]]
    wrong = sorted(wrong, key=lambda row: -row["confidence"])[:most]
    wanted = {row["id"] for row in wrong}
    places = {
        name: row for row, name in enumerate(map(str, run_data.samples.ids)) if name in wanted
    }
    for row in wrong:
        try:
            image = run_data.source.reader.read(places[row["id"]])
            pixels = to_pixels(run_data.contract.decode(image))
        except (DataError, OSError, KeyError):  # moved since; the picture has one image fewer
            continue
        label, prediction = (_as_text(row[name]) for name in ("label", "prediction"))
        yield Mistake(pixels, label, prediction, row["confidence"])


def _as_text(label: Any) -> str:
    """One label, or several joined."""
    return label if isinstance(label, str) else ", ".join(label) or "none"
