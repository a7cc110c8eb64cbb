"""Fewer bits: what they cost is measured in pairs, and too high a price is refused."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from torchloupe.deploy.artefact.exporting import export_run
from torchloupe.deploy.artefact.opened import open_export
from torchloupe.deploy.artefact.quantised import find_price, refuse_price
from torchloupe.errors import CheckpointError
from torchloupe.trained.run import Run


def test_price_is_a_paired_test() -> None:
    before = np.array([True] * 90 + [False] * 10)
    after = before.copy()
    after[:8] = False
    price = find_price("val", before, after)
    assert price.drop_points == pytest.approx(8.0)
    assert (price.only_before, price.only_after) == (8, 0)
    assert price.p_value == pytest.approx(2 * 0.5**8)


def test_price_above_the_limit_is_refused() -> None:
    before, after = np.ones(200, bool), np.arange(200) > 2
    price = find_price("val", before, after)
    refuse_price(price, 1.6, "int8")
    with pytest.raises(CheckpointError, match=r"int8 costs 1\.50 points of accuracy on val"):
        refuse_price(price, 1.4, "int8")


@pytest.mark.long
@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_fewer_bits_are_written_and_priced(precision: str, photo_run: Run, tmp_path: Path) -> None:
    folder = export_run(photo_run, precision=precision, out=tmp_path / "less", max_drop=100)
    facts = json.loads((folder / "export.json").read_text())
    assert facts["price"]["images"] == photo_run.metrics["val"]["count"]
    assert facts["parity_fp32"]["holds"]
    assert facts["parity"]["agreement"] > 0.8
    model = onnx.load(folder / "model.onnx")
    kinds = {value.data_type for value in model.graph.initializer}
    wanted = onnx.TensorProto.INT8 if precision == "int8" else onnx.TensorProto.FLOAT16
    assert wanted in kinds
    assert {one.key: one.value for one in model.metadata_props}["precision"] == precision
    file = next(Path(photo_run.config.data.source).rglob("*.jpg"))
    assert open_export(folder).predict(file).label == photo_run.predict(file).label
