"""Columns of Parquet files from and to plain values, without pandas.

Where pandas is installed, `pyarrow.array`, `to_numpy` and `parquet.read_table` import it to look at
their values, which takes half a second of every run. What is here hands over buffers instead.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

_NAMES = (*(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
          *(f"float{bits}" for bits in (16, 32, 64)))  # fmt: skip
# What `to_pandas_dtype` knows, which in older versions asks for pandas.
_DTYPES = {pa.from_numpy_dtype(np.dtype(name)): np.dtype(name) for name in _NAMES}


def text_column(values: Iterable[str]) -> pa.Array:
    """A column of strings; UnicodeEncodeError for lone surrogates."""
    parts = [value.encode() for value in values]
    content = b"".join(parts)
    if len(content) > np.iinfo(np.int32).max:
        return pa.array([part.decode() for part in parts], pa.string())  # in several chunks
    ends = _ends(map(len, parts), len(parts))
    return pa.StringArray.from_buffers(len(parts), pa.py_buffer(ends), pa.py_buffer(content))


def lists_column(rows: Sequence[Sequence[str]]) -> pa.Array:
    """A column of lists of strings."""
    ends = _ends(map(len, rows), len(rows))
    return pa.ListArray.from_arrays(
        pa.Array.from_buffers(pa.int32(), len(ends), [None, pa.py_buffer(ends)]),
        text_column(text for row in rows for text in row),
    )


def number_column(values: NDArray[Any]) -> pa.Array:
    """A column of the numbers [N], or of lists of K numbers [N, K], in their own format.

    ValueError for booleans, which Arrow packs into bits.
    """
    flat = np.ascontiguousarray(values).reshape(-1)
    kind = pa.from_numpy_dtype(flat.dtype)
    if pa.types.is_boolean(kind):
        raise ValueError("a column of booleans is no column of numbers")
    column = pa.Array.from_buffers(kind, len(flat), [None, pa.py_buffer(flat)])
    if values.ndim == 1:
        return column
    return pa.FixedSizeListArray.from_arrays(column, values.shape[1])


def numbers_of(column: pa.ChunkedArray) -> NDArray[Any]:
    """The numbers of a column without missing ones [N]; of lists of them [N x K], one by one.

    ValueError for booleans, for what is no number, and where a number is missing.
    """
    parts = []
    for chunk in column.chunks:
        array = chunk if pa.types.is_primitive(chunk.type) else chunk.flatten()
        dtype = _DTYPES.get(array.type)
        if array.null_count or dtype is None:
            raise ValueError("a column of booleans or of no numbers, or with missing values")
        found = np.frombuffer(array.buffers()[1], dtype) if len(array) else np.empty(0, dtype)
        parts.append(found[array.offset : array.offset + len(array)])
    return np.concatenate(parts) if parts else np.empty(0)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The table in a Parquet file; errors are those of `pyarrow.parquet.read_table`."""
    with pq.ParquetFile(path) as file:
        return file.read(None if columns is None else list(columns))


def _ends(lengths: Iterable[int], count: int) -> NDArray[np.int32]:
    """Where each of `count` parts of these lengths begins, and the end of the last."""
    ends = np.zeros(count + 1, np.int32)
    np.cumsum(np.fromiter(lengths, np.int32, count), dtype=np.int32, out=ends[1:])
    return ends
