"""The graph that is exported: pixels in, probabilities and logits out, all between inside."""

import contextlib
import json
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torchloupe.data.contract import Contract
from torchloupe.deploy.artefact.resize_graph import (
    ExactResize,
    resizes_tall_images_vertically_first,
)
from torchloupe.errors import DataError, UsageError, printable
from torchloupe.evaluation.inference import to_probabilities
from torchloupe.lens.copies import deep_copy
from torchloupe.system.user_code import where_raised

OPSET = 20
INPUT, OUTPUTS = "images", ("probabilities", "logits")
SCOPES = "pkg.torch.onnx.name_scopes"  # the modules around a node, outermost first
SAMPLE_IMAGES = 2  # of the batch that the graph is traced with; 1 would be taken for a constant


class Normalise(nn.Module):
    """Pixels [B, C, H, W] normalised as `Contract.normalise` does: one product and one sum."""

    def __init__(self, contract: Contract) -> None:
        super().__init__()
        scale, offset = contract.factors()
        self.register_buffer("scale", scale.reshape(-1, 1, 1))
        self.register_buffer("offset", offset.reshape(-1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised images, float32."""
        scale, offset = self.get_buffer("scale"), self.get_buffer("offset")
        return pixels.float() * scale + offset


class Graph(nn.Module):
    """From pixels [B, H, W, C] to probabilities and logits [B, K], both float32.

    With `any_size` the images may have any height and width, else the size of the contract. The
    logits are those of the network; `temperature` divides them before the probabilities.
    """

    def __init__(
        self,
        network: nn.Module,
        contract: Contract,
        *,
        any_size: bool,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.contract = contract
        self.resize = make_resize(contract) if any_size else None
        self.normalise = Normalise(contract)
        self.network = network
        self.dtype = dtype

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(probabilities, logits), in the order of the class names."""
        pixels = images.permute(0, 3, 1, 2) if self.resize is None else self.resize(images)
        logits = self.network(self.normalise(pixels).to(self.dtype)).float()
        contract = self.contract
        return to_probabilities(logits, contract.multi_label, contract.temperature), logits


def make_resize(contract: Contract) -> ExactResize:
    """The resize of a contract; UsageError for one that no graph does to the last bit."""
    if contract.is_float or not contract.antialias:
        kind = "of floats" if contract.is_float else "without antialiasing"
        raise UsageError(
            f"images {kind} are not resized in the graph", "export it with --input fixed"
        )
    return ExactResize(
        contract.size, contract.fit, contract.kernel, resizes_tall_images_vertically_first()
    )


def is_resized_inside(contract: Contract) -> bool:
    """Whether a graph can resize as this contract does, to the last bit."""
    return not contract.is_float and contract.antialias


def make_graph(
    network: nn.Module, contract: Contract, *, any_size: bool, half: bool = False
) -> Graph:
    """A copy of `network` on the CPU in eval mode, with contiguous weights, as a Graph."""
    try:
        twin = deep_copy(network, network)
    except (RuntimeError, TypeError) as error:
        raise UsageError(
            f"the model can't be copied ({printable(error)})",
            "open the run with loupe.open_run and export that",
        ) from None
    twin = twin.cpu().float().eval().to(memory_format=torch.contiguous_format)
    for parameter in twin.parameters():
        parameter.requires_grad_(False)
    dtype = torch.float16 if half else torch.float32
    return Graph(twin.to(dtype), contract, any_size=any_size, dtype=dtype).eval()


def sample_images(contract: Contract, *, any_size: bool) -> Tensor:
    """Images to trace a graph with, [2, H, W, C]; another size than the model's if `any_size`."""
    height, width = contract.size
    if any_size:
        height, width = height + 7, 2 * width + 5
    dtype = torch.float32 if contract.is_float else torch.uint8
    return torch.ones((SAMPLE_IMAGES, height, width, contract.channels), dtype=dtype)


def trace(graph: Graph) -> torch.export.ExportedProgram:
    """`graph` as torch.export sees it, with a dynamic batch; DataError where it can't be traced."""
    images = sample_images(graph.contract, any_size=graph.resize is not None)
    with quiet_exporter(), torch.inference_mode(mode=False), torch.no_grad():
        try:
            return torch.export.export(graph, (images,), dynamic_shapes=_shapes(graph))
        except Exception as error:  # torch.export raises nearly every type there is
            raise _untraceable(error) from None


def write_onnx(graph: Graph, path: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Write `graph` as an ONNX file with `facts` as its metadata; returns opset and IR version.

    DataError for a model that can't be traced.
    """
    images = sample_images(graph.contract, any_size=graph.resize is not None)
    with quiet_exporter(), torch.no_grad():
        try:
            program = torch.onnx.export(
                graph,
                (images,),
                dynamo=True,
                input_names=[INPUT],
                output_names=list(OUTPUTS),
                dynamic_shapes=_shapes(graph),
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # as above
            raise _untraceable(error) from None
    if program is None:
        raise DataError("torch wrote no graph", "try --to pt2")
    import onnx

    model = program.model_proto
    model.producer_name, model.producer_version = "torchloupe", str(facts["torchloupe"])
    model.doc_string = f"{facts['model']}, from pixels to probabilities"
    _name_dimensions(model, any_size=graph.resize is not None)
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in facts.items()}
    onnx.helper.set_model_props(model, texts)
    _keep_scopes(model.graph)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return {"opset": OPSET, "ir_version": int(model.ir_version)}


def _keep_scopes(graph: Any) -> None:
    """Of what torch notes on each node keep its module: the rest names files of this machine."""
    for node in graph.node:
        kept = [item for item in node.metadata_props if item.key == SCOPES]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _keep_scopes(attribute.g)


def _name_dimensions(model: Any, *, any_size: bool) -> None:
    """Give the dynamic dimensions of input and outputs names that a person understands."""
    names = ("batch", "height", "width") if any_size else ("batch",)
    for value in (model.graph.input[0], *model.graph.output):
        for dimension, name in zip(value.type.tensor_type.shape.dim, names, strict=False):
            if dimension.dim_param:
                dimension.dim_param = name


def _shapes(graph: Graph) -> dict[str, dict[int, Any]]:
    free = torch.export.Dim.DYNAMIC
    places = range(3) if graph.resize is not None else range(1)
    return {"images": dict.fromkeys(places, free)}


def _untraceable(error: Exception) -> DataError:
    if isinstance(error, torch.onnx.OnnxExporterError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # the text around it is advice to those who write exporters
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    place = where_raised(error)
    return DataError(
        f"torch can't trace the model for an export: {printable(reason)}"
        + (f"\n  at {place}" if place else ""),
        "export its weights with --to safetensors, or write its forward without branches on values",
    )


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """Inside, torch's exporter prints no progress, no log lines and no warnings, and attention is
    traced as it is written: no format has the one operation that replaces an encoder layer.
    """
    level, is_fused = logging.root.manager.disable, torch.backends.mha.get_fastpath_enabled()
    logging.disable(logging.WARNING)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            warnings.catch_warnings(),
            Path(os.devnull).open("w", encoding="utf-8") as nowhere,
            contextlib.redirect_stdout(nowhere),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        torch.backends.mha.set_fastpath_enabled(is_fused)
