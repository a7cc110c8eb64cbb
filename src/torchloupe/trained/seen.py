"""Whether a run is evaluated on images that it was trained on, and what the others say."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.config.settings import read_settings
from torchloupe.errors import CheckpointError
from torchloupe.evaluation.scoring import Outputs
from torchloupe.prepare.run_data import RunData
from torchloupe.run.data_record import DataRecord
from torchloupe.run.ledger import INDEX
from torchloupe.system.arrow import read_table
from torchloupe.system.counter_rng import Keys, make_keys
from torchloupe.units import plural

Marks = NDArray[np.bool_]


def score_unseen(folder: Path, data: Any, run_data: RunData, outputs: Outputs) -> dict[str, Any]:
    """`seen_count`, `unseen_accuracy` and `notes` where images are those of the run's training.

    `run_data` were opened from `data`. Images are compared by content, or by id where content is
    not known; ids that are row numbers count only if `data` are the run's own. Empty if the run
    saw none of the images, if nothing is known of those it saw, or without `data`.
    """
    if data is None:
        return {}
    known = read_seen(folder)
    if known is None or not len(outputs.rows):
        return {}
    ids, content, what = known
    own = read_settings(folder / "config.json").config.data.source
    is_own = isinstance(data, (str, Path)) and str(data).rstrip("/") == own.rstrip("/")
    seen = _find(run_data, outputs.rows, ids, content, is_own)
    count, total = int(seen.sum()), len(seen)
    if not count:
        return {}
    right = outputs.predictions == outputs.labels
    right = right.all(axis=1) if outputs.multi_label else right
    others = float(right[~seen].mean()) if count < total else None
    if others is None:
        told = f"all {plural(total, 'image')} {what}: the accuracy says nothing about new images"
    else:
        told = (
            f"{count:,} of these {total:,} images {what}, so the accuracy is too high; of the "
            f"other {total - count:,} it is {100 * others:.2f} %"
        )
    return {"seen_count": count, "unseen_accuracy": others, "notes": [told]}


def read_seen(folder: Path) -> tuple[Keys, Keys, str] | None:
    """Keys of the ids and of the content of the training images, and words that say so.

    Where no ledger names these, all images but those of predictions.parquet, which were held out;
    images that chose the best checkpoint are then among them. None if the run has no record.
    """
    try:
        record = DataRecord.read(folder / "data.npz")
        seen, what = np.ones(len(record.ids), dtype=np.bool_), "are training images of this run"
        if (folder / INDEX).is_file():
            seen = np.isin(record.ids, _keys_of(folder / INDEX))
        elif (folder / "predictions.parquet").is_file():
            seen = ~np.isin(record.ids, _keys_of(folder / "predictions.parquet"))
            what = "are training or validation images of this run"
    except (CheckpointError, OSError, ValueError):
        return None
    content = record.content[seen]
    return record.ids[seen], content[content != 0], what


def _keys_of(table: Path) -> Keys:
    return make_keys(read_table(table, ["id"])["id"].to_pylist())


def _find(
    run_data: RunData, rows: NDArray[np.int64], ids: Keys, content: Keys, is_own: bool
) -> Marks:
    """Which of `rows` are among the images of these ids and this content."""
    own = run_data.pixels.content[rows] if run_data.pixels is not None else np.zeros(0, np.uint64)
    if len(content) and own.any():
        return np.asarray(np.isin(own, content))
    if not len(run_data.samples):  # a stream
        return np.zeros(len(rows), dtype=np.bool_)
    names = run_data.samples.ids[rows]
    if not is_own and all(str(name).isdigit() for name in names):
        return np.zeros(len(rows), dtype=np.bool_)
    return np.asarray(np.isin(run_data.samples.keys[rows], ids))
