"""Fewer bits: what they cost is measured in pairs, and too high a price is refused."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from torchloupe.deploy.artefact.exporting import export_run
from torchloupe.deploy.artefact.opened import open_export
from torchloupe.deploy.artefact.quantised import find_head, find_price, refuse_price
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


def chain(*kinds: str) -> onnx.GraphProto:
    """A graph of nodes that follow each other, each named by its place."""
    nodes = [
        onnx.helper.make_node(kind, [f"x{at}"], [f"x{at + 1}"], name=f"{at}")
        for at, kind in enumerate(kinds)
    ]
    return onnx.helper.make_graph(nodes, "chain", [], [])


@pytest.mark.parametrize(
    ("kinds", "head"),
    [
        (("Conv", "Relu", "ReduceMean", "Sqrt", "Gemm", "Softmax"), "2345"),
        (("Conv", "Relu", "Gemm", "Relu", "Gemm"), "34"),
        (("Conv", "Clip", "Conv", "Relu", "ReduceMean"), "4"),
        (("MatMul", "Softmax", "MatMul", "Gelu", "MatMul"), "34"),
        (("Conv", "Sigmoid"), "1"),
        (("Relu",), "0"),
    ],
)
def test_head_is_the_last_product_and_what_no_other_follows(
    kinds: tuple[str, ...], head: str
) -> None:
    assert sorted(node.name for node in find_head(chain(*kinds))) == sorted(head)


def test_features_that_a_later_convolution_needs_are_no_head() -> None:
    make = onnx.helper.make_node
    nodes = [
        make("Conv", ["x"], ["a"], name="early"),
        make("ReduceMean", ["a"], ["tap"], name="tap"),
        make("Conv", ["a"], ["b"], name="late"),
        make("Concat", ["tap", "b"], ["c"], name="join"),
        make("Gemm", ["c"], ["logits"], name="last"),
    ]
    graph = onnx.helper.make_graph(nodes, "taps", [], [])
    assert {node.name for node in find_head(graph)} == {"tap", "join", "last"}


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
