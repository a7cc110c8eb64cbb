"""Exported models as functions of pixels, each run by the library that it is made for."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from torchloupe.deploy.artefact.graph import INPUT, OUTPUTS
from torchloupe.errors import CheckpointError, UsageError, printable

Floats = NDArray[np.float32]
Session = Callable[[NDArray[Any]], tuple[Floats, Floats]]  # pixels: probabilities and logits


def open_session(folder: Path, facts: Mapping[str, Any]) -> Session:
    """The exported model in `folder`, called with pixels [B, H, W, C].

    UsageError for weights without a graph, and where the library that runs the graph is missing.
    """
    opener = {"onnx": open_onnx, "openvino": open_openvino, "pt2": open_pt2}.get(facts["to"])
    if opener is None:
        raise UsageError(
            f"{printable(folder)} holds weights without a graph, which can't predict",
            "use the run itself, or export it with --to onnx",
        )
    try:
        return opener(folder)
    except UsageError:
        raise
    except Exception as error:  # each library raises errors of its own
        raise CheckpointError(
            f"the exported model in {printable(folder)} can't be opened ({printable(error)})",
            "export the run again",
        ) from None


def open_onnx(folder: Path) -> Session:
    """model.onnx in ONNX Runtime on the CPU."""
    require("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )

    def run(pixels: NDArray[Any]) -> tuple[Floats, Floats]:
        probabilities, logits = session.run(list(OUTPUTS), {INPUT: pixels})
        return probabilities, logits

    return run


def open_openvino(folder: Path) -> Session:
    """model.xml in OpenVINO on the CPU, in float32: on some CPUs its own choice is bfloat16."""
    require("openvino")
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(str(folder / "model.xml"), "CPU", settings)

    def run(pixels: NDArray[Any]) -> tuple[Floats, Floats]:
        found = model([pixels])
        return found[OUTPUTS[0]].copy(), found[OUTPUTS[1]].copy()

    return run


def open_pt2(folder: Path) -> Session:
    """model.pt2, an exported program, in torch."""
    model = torch.export.load(folder / "model.pt2").module()

    def run(pixels: NDArray[Any]) -> tuple[Floats, Floats]:
        with torch.inference_mode():
            probabilities, logits = model(torch.from_numpy(np.ascontiguousarray(pixels)))
        return probabilities.numpy(), logits.numpy()

    return run


def require(library: str) -> None:
    """UsageError in two lines where a library of an extra is not installed."""
    try:
        if library == "openvino":
            import openvino  # noqa: F401
        elif library == "onnx":
            import onnx  # noqa: F401
            import onnxscript  # noqa: F401
        else:
            import onnxruntime  # noqa: F401
    except ImportError:
        extra = "openvino" if library == "openvino" else "export"
        raise UsageError(
            f"{library} is not installed", f"pip install 'torchloupe[{extra}]'"
        ) from None
