"""Columns without pandas: the same tables as pyarrow's own ways give."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from torchloupe.system.arrow import (
    lists_column,
    number_column,
    numbers_of,
    read_table,
    text_column,
)

TEXTS = ["cat", "", "Käse 🧀", "a\nb"]


@pytest.mark.parametrize("texts", [TEXTS, []])
def test_text_equals_pyarrows(texts):
    assert text_column(iter(texts)).equals(pa.array(texts, pa.string()))


@pytest.mark.parametrize("rows", [[["a", "b"], [], ["ü"]], [[]], []])
def test_lists_equal_pyarrows(rows):
    assert lists_column(rows).equals(pa.array(rows, pa.list_(pa.string())))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "uint8"])
@pytest.mark.parametrize("shape", [(7,), (7, 3), (0,)])
def test_numbers_come_back(tmp_path, dtype, shape):
    values = np.random.default_rng(0).normal(size=shape[::-1]).T.astype(dtype)  # not contiguous
    table = pa.table({"n": number_column(values), "t": text_column("abcdefg"[: len(values)])})
    pq.write_table(table, tmp_path / "file.parquet", row_group_size=3)
    read = read_table(tmp_path / "file.parquet", ["n"])
    assert read.column_names == ["n"]
    found = numbers_of(read["n"])
    assert found.dtype == values.dtype or not len(values)
    assert np.array_equal(found, values.reshape(-1))
    assert np.array_equal(numbers_of(read["n"][2:6]), values[2:6].reshape(-1))


def test_missing_numbers_are_refused():
    with pytest.raises(ValueError, match="missing"):
        numbers_of(pa.chunked_array([pa.array([1.0, None])]))


def test_booleans_are_refused():
    with pytest.raises(ValueError, match="booleans"):
        number_column(np.array([True, False]))
    with pytest.raises(ValueError, match="booleans"):
        numbers_of(pa.chunked_array([pa.array([True, False])]))


def test_a_missing_file_raises_as_pyarrow_does(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    with pytest.raises(pa.ArrowInvalid):
        read_table(tmp_path / "bad.parquet")


def test_columns_load_no_pandas(tmp_path):
    code = """
import sys
from pathlib import Path
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torchloupe.system.arrow import lists_column, number_column, numbers_of, read_table
path = Path(sys.argv[1])
p = np.ones((2, 3), np.float32)
columns = {"l": lists_column([["a"], []]), "p": number_column(p), "c": number_column(p[:, 0])}
pq.write_table(pa.table(columns), path)
table = read_table(path)
print(numbers_of(table["p"]).sum(), numbers_of(table["c"]).sum(), table["l"].to_pylist())
print("pandas" in sys.modules)
"""
    pytest.importorskip("pandas")
    command = [sys.executable, "-c", code, str(tmp_path / "file.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["6.0 2.0 [['a'], []]", "False"]
