"""A run exported: written, compared with the run in a fresh process, and only then kept."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from torchloupe import __version__
from torchloupe.deploy.artefact.card import write_card
from torchloupe.deploy.artefact.evidence import (
    CALIBRATION_IMAGES,
    Evidence,
    collect,
    in_fp32,
    labelled_pixels,
    takes_files,
)
from torchloupe.deploy.artefact.folder import (
    CARD,
    CONTRACT,
    FACTS,
    FORMAT,
    MODEL_FILES,
    new_folder,
    refuse_foreign,
)
from torchloupe.deploy.artefact.graph import is_resized_inside
from torchloupe.deploy.artefact.parity import Parity, Tolerance, measure
from torchloupe.deploy.artefact.quantised import Price, find_price, quantise, refuse_price
from torchloupe.deploy.artefact.sessions import open_session, require
from torchloupe.deploy.artefact.stages import name_stage
from torchloupe.deploy.artefact.writers import write_model, write_predict
from torchloupe.errors import CheckpointError, UsageError, did_you_mean, printable
from torchloupe.hardware.layout import images_laid_out
from torchloupe.run.json_files import read_json, write_json
from torchloupe.trained.run import Run, open_run

PRECISIONS = ("fp32", "fp16", "int8")
INPUTS = ("any", "fixed")
FILES = 1000  # of the validation split that are compared
NO_PROOF = (
    "the run gives all compared images nearly the same logits: that the artefact does so too says "
    "little about what it makes of others"
)
MAX_DROP = 0.5  # percentage points of accuracy that fewer bits may cost
ELSEWHERE = {  # formats that others make, from what, and how
    "tensorrt": ("onnx", "trtexec --onnx=model.onnx"),
    "engine": ("onnx", "trtexec --onnx=model.onnx"),
    "tflite": ("onnx", "onnx2tf -i model.onnx"),
    "litert": ("onnx", "onnx2tf -i model.onnx"),
    "coreml": ("pt2", "coremltools"),
}
TOLERANCES = {
    "fp32": Tolerance(),
    "fp16": Tolerance(0.05, 0.98, 0.05),
    "int8": Tolerance(1.0, 0.0, 1e6),  # judged by its accuracy alone
}


@dataclass(frozen=True)
class Order:
    """What is to be written: kind, number format, and whether images of any size go in."""

    to: str
    precision: str
    input: str


def export_run(
    run: Run | str | Path,
    *,
    to: str = "onnx",
    precision: str = "fp32",
    input: str | None = None,
    out: str | Path | None = None,
    max_drop: float = MAX_DROP,
    files: int = FILES,
    trust_code: bool = False,
) -> Path:
    """Write a run as an artefact that is proved equal to it; returns its folder.

    `to` is onnx, pt2, openvino or safetensors, `precision` fp32, fp16 or int8, `input` "any" (size
    of images, resized in the graph) or "fixed". Up to `files` images of the validation split and
    generated odd ones go from file bytes through the run and through the artefact, in a process
    without torchloupe and torch. Raises CheckpointError, and writes nothing, where they differ
    by more than the tolerance, or where fewer bits cost more than `max_drop` points of accuracy.
    """
    opened = run if isinstance(run, Run) else open_run(run, trust_code=trust_code, device="cpu")
    order = choose(opened, to, precision, input)
    folder = Path(out) if out is not None else opened.folder / default_name(order)
    refuse_foreign(folder)
    for library in {"onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino")}.get(to, ()):
        require(library)
    reference = in_fp32(opened)
    device = opened.device
    reference.model.cpu()
    try:
        evidence = collect(reference, files, trust_code=trust_code)
        if order.precision != "fp32" and evidence.run_data is None:
            raise UsageError(
                f"{precision} needs the data of the run, which can't be opened: {evidence.why}",
                "export it with --precision fp32, or put the data back",
            )
        with new_folder(folder) as place:
            facts = _write(place, reference, order, evidence, max_drop)
            write_json(place / FACTS, facts)
            metrics = read_json(opened.folder / "metrics.json")
            data = evidence.run_data.facts() if evidence.run_data is not None else {}
            (place / CARD).write_text(write_card(facts, metrics, data), encoding="utf-8")
    finally:
        reference.model.to(device)
    return folder


def choose(run: Run, to: str, precision: str, size: str | None) -> Order:
    """What is to be written; UsageError for what can't be."""
    if to in ("torchscript", "ts", "jit"):
        raise UsageError(
            "TorchScript is not written: PyTorch has deprecated it, and its newer Pythons lack it",
            "take --to onnx to run anywhere, or --to pt2 (torch.export) to stay in PyTorch",
        )
    if to.lower() in ELSEWHERE:
        source, way = ELSEWHERE[to.lower()]
        raise UsageError(
            f"{printable(to)} is not written, but made from an export, which is not checked here",
            f"--to {source} --input fixed, then {way}: docs/export.md has the words",
        )
    for name, value, known in (
        ("to", to, tuple(MODEL_FILES)),
        ("precision", precision, PRECISIONS),
        ("input", size or "any", INPUTS),
    ):
        if value not in known:
            raise UsageError(
                f"--{name} is {printable(value)!r}; it takes {', '.join(known)}",
                did_you_mean(value, known),
            )
    possible = {"onnx": PRECISIONS, "openvino": ("fp32", "fp16")}.get(to, ("fp32",))
    if precision not in possible:
        raise UsageError(
            f"--to {to} is written in {' and '.join(possible)}, not in {precision}",
            "take --to onnx for it",
        )
    can_resize = to in ("onnx", "pt2") and is_resized_inside(run.contract)
    if size == "any" and not can_resize:
        why = (
            "OpenVINO computes in 32 bits" if to == "openvino" else "its images are no 8-bit files"
        )
        raise UsageError(
            f"--to {to} can't resize images of this run to the last bit in the graph: {why}",
            "leave --input out: predict.py resizes them exactly",
        )
    return Order(to, precision, size or ("any" if can_resize else "fixed"))


def default_name(order: Order) -> str:
    """The folder in the run folder where an export goes: `export` for ONNX in float32."""
    odd = [order.to] if order.to != "onnx" else []
    odd += [order.precision] if order.precision != "fp32" else []
    return "-".join(["export", *odd])


def _write(
    place: Path, run: Run, order: Order, evidence: Evidence, max_drop: float
) -> dict[str, Any]:
    """Write model, contract and predict.py; all that export.json says, once it is proved."""
    contract, exact = run.contract, replace(order, precision="fp32")
    facts = _facts(run, exact, evidence)
    (place / CONTRACT).write_text(contract.to_json(), encoding="utf-8")
    facts |= write_model(place, run.model, contract, facts)
    if order.to == "safetensors":
        return _without(facts, "contract")
    write_predict(place, order.to)
    parity = prove(place, run, evidence, facts)
    if not parity.tells:
        facts["notes"].append(NO_PROOF)
    if order.precision != "fp32":
        facts |= {"precision": order.precision, "parity_fp32": parity.as_dict()}
        price = _reduce(place, run, evidence, facts)
        refuse_price(price, max_drop, order.precision)
        facts |= {"price": price.as_dict(), "max_drop": max_drop}
        parity = prove(place, run, evidence, facts)
    return _without(facts, "contract") | {"parity": parity.as_dict()}


def _facts(run: Run, order: Order, evidence: Evidence) -> dict[str, Any]:
    contract = run.contract
    return {
        "format": FORMAT,
        "torchloupe": __version__,
        "torch": torch.__version__,
        "run": run.folder.resolve().name,
        "model": run.config.model.name,
        "step": run.step,
        **asdict(order),
        "size": list(contract.size),
        "channels": contract.channels,
        "dtype": contract.dtype,
        "class_names": list(contract.class_names),
        "multi_label": contract.multi_label,
        "temperature": contract.temperature,
        "threshold": contract.threshold,
        "contract": contract.to_json(),
        "contract_white_level": contract.white_level,
        "takes_files": takes_files(contract),
        "notes": list(evidence.notes),
    }


def prove(place: Path, run: Run, evidence: Evidence, facts: Mapping[str, Any]) -> Parity:
    """The parity of the artefact in `place`; CheckpointError with image and stage if it is bad."""
    tolerance = TOLERANCES[facts["precision"]]
    parity = measure(
        place,
        evidence.cases,
        run.contract,
        run.logits,
        real=evidence.real,
        facts=facts,
        tolerance=tolerance,
    )
    if parity.holds:
        return parity
    allowed = ("torch",) if facts["to"] == "pt2" else ()
    name, case = evidence.cases[parity.worst_row]
    is_any = facts["input"] == "any"
    with images_laid_out(run.model, bool(run.config.hardware.channels_last)):
        stage = name_stage(place, case, run.contract, run.model, any_size=is_any, allowed=allowed)
    gap = max(parity.largest_difference, parity.largest_in_graph or 0.0)
    raise CheckpointError(
        f"the artefact differs from the run: {100 * parity.agreement:.2f} % of {parity.compared:,} "
        f"images have the same class, the largest difference of a probability is {gap:.1e} "
        f"(allowed {tolerance.probability:.0e}) and of a logit {parity.logits.largest:.1e} (images "
        f"change it by {parity.logits.spread:.1e}), at {printable(name)}; they part at the stage "
        f"{stage}",
        "no artefact was written; --to safetensors exports the weights without a graph",
    )


def _reduce(place: Path, run: Run, evidence: Evidence, facts: dict[str, Any]) -> Price:
    """Write the model again with fewer bits; what that costs on the validation split."""
    assert evidence.run_data is not None  # refused before
    data, split = evidence.run_data, evidence.split
    before_of = _right(run.probabilities, run.contract.multi_label)
    most = max(len(data.rows(split)), 1) if data.source.kind != "stream" else FILES
    before = np.concatenate([before_of(*batch) for batch in labelled_pixels(data, split, most)])
    path = place / MODEL_FILES["onnx"][0]
    if facts["precision"] == "int8":
        source = "train" if data.source.kind == "stream" or data.has("train") else split
        quantise(path, _in_tens(labelled_pixels(data, source, CALIBRATION_IMAGES)))
    else:
        write_model(place, run.model, run.contract, facts, half=True)
    session = open_session(place, facts)
    after_of = _right(lambda pixels: session(pixels)[0], run.contract.multi_label)
    after = np.concatenate([after_of(*batch) for batch in labelled_pixels(data, split, most)])
    return find_price(split, before, after)


def _right(
    classify: Callable[[NDArray[Any]], NDArray[np.float32]], multi_label: bool
) -> Callable[[NDArray[Any], NDArray[Any]], NDArray[np.bool_]]:
    """A function from pixels and labels of a batch to which of its images are right, bool [B]."""

    def judge(pixels: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.bool_]:
        parts = [classify(pixels[at : at + 32]) for at in range(0, len(pixels), 32)]
        shares = np.concatenate(parts)
        if multi_label:
            return np.asarray(((shares > 0.5) == (labels > 0.5)).all(axis=1))
        classes = labels if labels.ndim == 1 else labels.argmax(axis=1)
        return np.asarray(shares.argmax(axis=1) == classes)

    return judge


def _in_tens(batches: Iterator[tuple[Any, Any]]) -> Iterator[NDArray[Any]]:
    for pixels, _ in batches:
        rows = iter(pixels)
        while part := list(islice(rows, 10)):
            yield np.stack(part)


def _without(facts: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if key != name}
