"""Predictions as rows of a table: column names, cells, and the bytes of a Parquet file."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow
from pyarrow import parquet

from torchloupe.trained.prediction import Prediction


def column_names(top: int, *, says_unsure: bool = False) -> list[str]:
    """`path, label, confidence`, then `label_2, confidence_2` and so on, then `error`.

    Before `error` stands `unsure` where the run has a threshold.
    """
    more = [f"{name}_{rank}" for rank in range(2, top + 1) for name in ("label", "confidence")]
    return ["path", "label", "confidence", *more, *(["unsure"] if says_unsure else []), "error"]


def unicode_path(path: str) -> str:
    """`path` with bytes that are not UTF-8 as %XX, as in sample ids."""
    return "".join(
        f"%{ord(c) - 0xDC00:02X}" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in str(path)
    )


def ranked(prediction: Prediction) -> list[tuple[str, float]]:
    """The most likely classes, best first; nothing for an image that could not be read."""
    return [] if prediction.error else list((prediction.probabilities or {}).items())


def label_of(prediction: Prediction) -> str:
    """The label, or all of them where an image may have several."""
    return "|".join(prediction.labels) if len(prediction.labels) > 1 else str(prediction.label)


def as_row(prediction: Prediction, top: int, says_unsure: bool) -> list[Any]:
    """The cells of `column_names`."""
    path = unicode_path(prediction.path)
    unsure = [prediction.unsure] if says_unsure else []
    if prediction.error:
        return [path, *[None] * (2 * top), *unsure, prediction.error]
    row = [path, label_of(prediction), prediction.confidence]
    for name, share in ranked(prediction)[1:top]:
        row += [name, share]
    return [*row, *[None] * (2 * top + 1 - len(row)), *unsure, None]


def to_parquet(
    names: Sequence[str],
    rows: Sequence[Sequence[Any]],
    facts: Mapping[str, str] | None = None,
) -> bytes:
    """A Parquet file of these rows; `facts` go into its metadata."""
    kinds = [
        pyarrow.bool_()
        if name == "unsure"
        else pyarrow.float64()
        if name.startswith("confidence")
        else pyarrow.string()
        for name in names
    ]
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    table = pyarrow.table(
        {
            name: pyarrow.array(column, kind)
            for name, column, kind in zip(names, columns, kinds, strict=True)
        }
    )
    if facts:
        table = table.replace_schema_metadata(dict(facts))
    sink = io.BytesIO()
    parquet.write_table(table, sink)
    return sink.getvalue()


def read_facts(content: bytes) -> dict[str, str]:
    """The facts in a Parquet file; empty for one that is damaged or holds none."""
    try:
        found = parquet.read_schema(io.BytesIO(content)).metadata or {}
    except (pyarrow.ArrowException, OSError):
        return {}
    return {key.decode(): value.decode() for key, value in found.items()}
