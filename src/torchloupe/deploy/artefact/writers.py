"""Each kind of export, written from one graph: ONNX, pt2, OpenVINO and plain weights."""

import io
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from torchloupe.data.contract import Contract
from torchloupe.deploy.artefact.folder import MODEL_FILES, PREDICT
from torchloupe.deploy.artefact.graph import make_graph, trace, write_onnx
from torchloupe.errors import DataError, printable

TEMPLATE = Path(__file__).with_name("predict.txt")
_SESSIONS = {
    "onnx": (
        "onnxruntime",
        """        path, place = folder / "model.onnx", ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(str(path), providers=place)
        self.about = self.session.get_modelmeta().custom_metadata_map
        self.run = lambda pixels: self.session.run(None, {"images": pixels})
""",
    ),
    "openvino": (
        "openvino",
        """        path, f32 = str(folder / "model.xml"), {"INFERENCE_PRECISION_HINT": "f32"}
        new = openvino.Core().compile_model(path, "CPU", f32).create_infer_request
        self.about = {"contract": (folder / "contract.json").read_text(encoding="utf-8")}
        self.run = lambda pixels: [part.copy() for part in new().infer([pixels]).values()]
""",
    ),
    "pt2": (
        "torch",
        """        self.session = torch.export.load(folder / "model.pt2").module()
        self.about = {"contract": (folder / "contract.json").read_text(encoding="utf-8")}
        tensors = torch.from_numpy
        self.run = lambda pixels: [part.numpy() for part in self.session(tensors(pixels.copy()))]
""",
    ),
}


def write_model(
    folder: Path,
    network: nn.Module,
    contract: Contract,
    facts: dict[str, Any],
    *,
    half: bool = False,
) -> dict[str, Any]:
    """Write the model files of the kind facts["to"]; what is known only then is returned.

    `facts` become the metadata of an ONNX file. DataError for a model that can't be traced.
    """
    kind, any_size = facts["to"], facts["input"] == "any"
    path = folder / MODEL_FILES[kind][0]
    if kind == "safetensors":
        weights = {
            k: v.detach().cpu().contiguous().clone() for k, v in network.state_dict().items()
        }
        path.write_bytes(save(weights, {"format": "pt", "contract": contract.to_json()}))
        return {"tensors": len(weights)}
    graph = make_graph(network, contract, any_size=any_size, half=half)
    if kind == "pt2":
        packed = io.BytesIO()  # torch's own writer aborts the process where the disk is full
        torch.export.save(trace(graph), packed)
        path.write_bytes(packed.getbuffer())
        return {}
    onnx_path = folder / MODEL_FILES["onnx"][0]
    found = write_onnx(graph, onnx_path, facts)
    if kind == "openvino":
        convert_to_openvino(onnx_path, path, half=half)
        onnx_path.unlink()
    return found


def convert_to_openvino(source: Path, target: Path, *, half: bool) -> None:
    """Write the ONNX file `source` as OpenVINO's model.xml and model.bin; DataError if it can't."""
    import openvino

    try:
        model = openvino.convert_model(str(source))
        openvino.save_model(model, str(target), compress_to_fp16=half)
    except Exception as error:  # openvino raises RuntimeError and errors of its own
        raise DataError(
            f"OpenVINO can't convert the model: {printable(error)}",
            "use --to onnx: OpenVINO reads that file too, as far as it can",
        ) from None


def write_predict(folder: Path, kind: str) -> None:
    """Write predict.py for a kind of export that has a graph."""
    library, session = _SESSIONS[kind]
    text = TEMPLATE.read_text(encoding="utf-8")
    for mark, words in (
        ("{library}", library),
        ("{imports}\n", f"import {library}\n"),
        ("{session}\n", session),
    ):
        text = text.replace(mark, words)
    (folder / PREDICT).write_text(text, encoding="utf-8")
