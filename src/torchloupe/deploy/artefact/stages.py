"""Where an artefact and its run part for one image: decode, resize, normalise, which layer."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from torchloupe.data.contract import EXACT, FITS, Contract
from torchloupe.data.image.decode import decode_upright
from torchloupe.deploy.artefact.folder import MODEL_FILES
from torchloupe.deploy.artefact.fresh import Said, ask
from torchloupe.deploy.artefact.graph import INPUT, OUTPUTS, SCOPES
from torchloupe.evaluation.inference import eval_mode, to_probabilities

PIXEL_SLACK = 1e-6
PROBABILITY_SLACK = 1e-4
LAYER_SLACK = 2e-3  # of the largest value of a layer: float32 sums in another order stay below


def name_stage(
    folder: Path,
    case: bytes | NDArray[Any],
    contract: Contract,
    network: nn.Module,
    *,
    any_size: bool,
    allowed: Sequence[str] = (),
) -> str:
    """The first stage at which the artefact in `folder` differs from the run for one image.

    "decode", "resize", "normalise", "layer NAME", "probabilities" or "class names"; "the last
    digits of several layers" where no stage alone explains it.
    """
    said = ask(folder, [case], any_size=any_size, allowed=allowed, trace=True)
    wanted = contract.decode(case)
    upright = said.parts.get("upright") if any_size else None
    return (
        _before_the_graph(said, case, contract, wanted)
        or _in_graph(folder, contract, network, wanted, upright)
        or _behind_the_graph(said, contract, network, wanted)
        or "the last digits of several layers"
    )


def _before_the_graph(
    said: Said, case: bytes | NDArray[Any], contract: Contract, wanted: NDArray[Any]
) -> str:
    """The stage of predict.py that gives other pixels; "" where none does."""
    if 0 not in said.rows:
        return "decode"
    if not isinstance(case, bytes):
        return ""
    image = decode_upright(
        case,
        contract.channels,
        contract.size,
        fit=FITS[-1] if contract.fit == EXACT else contract.fit,
        white_level=contract.white_level,
    )
    if not _is_equal(said.parts["upright"], np.asarray(image)):
        return "decode"
    return "" if _is_equal(said.parts["fitted"], wanted) else "resize"


def _behind_the_graph(
    said: Said, contract: Contract, network: nn.Module, wanted: NDArray[Any]
) -> str:
    """What differs although pixels and layers agree; "" where nothing does."""
    with eval_mode(network):
        logits = network(contract.normalise(torch.from_numpy(np.array(wanted))[None])).float()
    shares = to_probabilities(logits, contract.multi_label, contract.temperature)[0].numpy()
    if not _is_near(said.rows[0][1], logits[0].numpy()):
        return "the last layer"
    if np.abs(said.rows[0][0] - shares).max() > PROBABILITY_SLACK:
        return "probabilities"
    several = {contract.class_names[k] for k in np.flatnonzero(shares > 0.5)}
    best = {contract.class_names[int(shares.argmax())]}
    is_known = set(str(said.parts["label"]).split("|")) in (several, best)
    return "" if is_known else "class names"


def _in_graph(
    folder: Path,
    contract: Contract,
    network: nn.Module,
    wanted: NDArray[Any],
    upright: NDArray[Any] | None,
) -> str:
    """The stage inside of an ONNX graph; "" where it agrees, or the export is no ONNX file."""
    path = folder / MODEL_FILES["onnx"][0]
    if not path.is_file():
        return ""
    given = wanted if upright is None else upright
    inner = _run_with_inner(path, given[None])
    if "resize" in inner and not _is_equal(inner["resize"][0].transpose(1, 2, 0), wanted):
        return "resize"
    images = contract.normalise(torch.from_numpy(np.array(wanted))[None])
    normal = inner.get("normalise")
    if normal is not None and np.abs(normal - images.numpy()).max() > PIXEL_SLACK:
        return "normalise"
    for name, values in _layers(network, images):
        seen = inner.get(f"network.{name}")
        if seen is not None and seen.shape == values.shape and not _is_near(seen, values):
            return f"layer {name}"
    return ""


def _run_with_inner(path: Path, pixels: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The output of each module in the graph, by its name, for these pixels [1, H, W, C]."""
    import onnx
    import onnxruntime

    model = onnx.load(str(path))
    ends = {}
    for node in model.graph.node:
        scopes = next((p.value for p in node.metadata_props if p.key == SCOPES), "[]")
        for scope in _names_in(scopes):
            ends[scope] = node.output[0]
    known = {value.name for value in model.graph.output}
    for name in dict.fromkeys(ends.values()):
        if name not in known:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    with tempfile.TemporaryDirectory(prefix="loupe-stage-") as place:
        traced = Path(place) / "model.onnx"
        onnx.save(model, str(traced))
        session = onnxruntime.InferenceSession(
            str(traced), options, providers=["CPUExecutionProvider"]
        )
        wanted = list(dict.fromkeys([*OUTPUTS, *ends.values()]))
        found = dict(zip(wanted, session.run(wanted, {INPUT: pixels}), strict=True))
    return {scope: found[name] for scope, name in ends.items()}


def _names_in(scopes: str) -> list[str]:
    """The modules in a list of scopes as torch writes it, the node's own name left out."""
    return [part.strip(" '\"") for part in scopes.strip("[]").split(",")[:-1] if part.strip(" '\"")]


def _layers(network: nn.Module, images: torch.Tensor) -> Iterator[tuple[str, NDArray[Any]]]:
    """(name, output) of each module that ran, in the order in which they ended."""
    seen: dict[str, NDArray[Any]] = {}
    hooks = []
    for name, module in network.named_modules():

        def keep(_m: nn.Module, _i: Any, output: Any, name: str = name) -> None:
            if isinstance(output, torch.Tensor):
                seen[name] = output.detach().float().numpy().copy()

        if name:
            hooks.append(module.register_forward_hook(keep))
    try:
        with eval_mode(network):
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    yield from seen.items()


def _is_equal(one: NDArray[Any], other: NDArray[Any]) -> bool:
    other = other if other.ndim == 3 else other[:, :, None]
    return one.shape == other.shape and bool((one == other).all())


def _is_near(one: NDArray[Any], other: NDArray[Any]) -> bool:
    scale = max(float(np.abs(other).max()), 1e-6)
    return bool(np.abs(one - other).max() <= LAYER_SLACK * scale)
