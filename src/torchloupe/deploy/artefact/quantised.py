"""int8 and the price of fewer bits: calibration, accuracy before and after, and a paired test."""

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.deploy.artefact.graph import INPUT, SCOPES
from torchloupe.errors import CheckpointError, DataError, printable
from torchloupe.evaluation.paired_tests import apply_mcnemar

Pixels = NDArray[Any]

CONVOLUTIONS = ("Conv", "ConvTranspose")
LINEAR = ("Gemm", "MatMul")
LAYERS = (*CONVOLUTIONS, *LINEAR)
ACTIVATIONS = ("Clip", "Relu")


@dataclass(frozen=True)
class Price:
    """What fewer bits cost on `images` of `split`: accuracies, and McNemar's exact test."""

    split: str
    images: int
    accuracy_before: float
    accuracy_after: float
    only_before: int  # right in float32 only
    only_after: int
    p_value: float

    @property
    def drop_points(self) -> float:
        """By how many percentage points accuracy fell."""
        return 100 * (self.accuracy_before - self.accuracy_after)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for export.json."""
        return {**asdict(self), "drop_points": self.drop_points}


def quantise(path: Path, calibration: Iterator[Pixels]) -> None:
    """Replace the ONNX file at `path` by one whose network computes in int8.

    BatchNorms are folded first. Weights are int8 for each output channel, activations uint8 with
    ranges found on `calibration` ([B, H, W, C] each). Resize, normalisation, the last layer with
    what prepares its features (docs/LOG.md), and probabilities stay as they are.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc, unused-ignore]
        def get_next(self) -> dict[str, Pixels] | None:
            batch = next(calibration, None)
            return None if batch is None else {INPUT: batch}

    model = onnx.load(str(path))
    outside = [node.name for node in model.graph.node if not _is_of_network(node)]
    domains = {item.domain for item in model.opset_import}
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        quant_pre_process(str(path), str(path), skip_symbolic_shape=True)
        head = [node.name for node in find_head(onnx.load(str(path)).graph)]
        quantize_static(
            str(path),
            str(path),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=[*outside, *head],
        )
    except Exception as error:  # onnxruntime raises nearly every type there is
        raise DataError(
            f"the network can't be quantised: {printable(error)}", "export it with --precision fp32"
        ) from None
    finally:
        logging.disable(level)
    made = onnx.load(str(path))
    texts = {item.key: item.value for item in model.metadata_props}
    onnx.helper.set_model_props(made, {**texts, "precision": "int8"})
    used = domains | {node.domain for node in made.graph.node}
    kept = [item for item in made.opset_import if item.domain in used]
    del made.opset_import[:]
    made.opset_import.extend(kept)
    onnx.save(made, str(path))


def find_head(graph: Any) -> list[Any]:
    """The last linear layers of an ONNX `graph`, and all nodes that no other layer follows.

    Layers are convolutions and matrix products. The activation of a convolution is left out, as
    the two are one operation in int8.
    """
    makers = {name: node for node in graph.node for name in node.output}
    depths: dict[str, int] = {}  # of a tensor: 1 if it reaches a last linear layer, 2 if another
    head: list[Any] = []
    for node in reversed(graph.node):
        depth = max((depths.get(name, 0) for name in node.output), default=0)
        is_last = node.op_type in LINEAR and depth == 0
        before = 1 if is_last else 2 if node.op_type in LAYERS else depth
        depths.update({name: max(before, depths.get(name, 0)) for name in node.input})
        maker = makers.get(node.input[0]) if node.input else None
        is_fused = node.op_type in ACTIVATIONS and maker and maker.op_type in CONVOLUTIONS
        if before < 2 and not is_fused:
            head.append(node)
    return head


def _is_of_network(node: Any) -> bool:
    scopes = next((item.value for item in node.metadata_props if item.key == SCOPES), "")
    return "'network'" in scopes


def find_price(split: str, before: NDArray[Any], after: NDArray[Any]) -> Price:
    """The price from which images were right before and after, both bool [N]."""
    test = apply_mcnemar(before, after)
    return Price(
        split=split,
        images=len(before),
        accuracy_before=float(np.mean(before)),
        accuracy_after=float(np.mean(after)),
        only_before=test.only_first,
        only_after=test.only_second,
        p_value=test.p_value,
    )


def refuse_price(price: Price, max_drop: float, precision: str) -> None:
    """CheckpointError where accuracy fell by more than `max_drop` percentage points."""
    if price.drop_points > max_drop:
        raise CheckpointError(
            f"{precision} costs {price.drop_points:.2f} points of accuracy on {price.split} "
            f"({100 * price.accuracy_before:.2f} % before, {100 * price.accuracy_after:.2f} % now, "
            f"{price.images:,} images, p = {price.p_value:.2g}); --max-drop is {max_drop:g}",
            "no artefact was written; use --precision fp32 or fp16, or allow a larger --max-drop",
        )
