"""The end of a run: the best weights are evaluated on every split, and the results written."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from torchloupe.data.contract import Contract
from torchloupe.distributed.world import World
from torchloupe.evaluation.calibration import fit_temperature
from torchloupe.evaluation.distinct import score_distinct
from torchloupe.evaluation.scoring import Outputs, collect, measure
from torchloupe.hardware.footprint import measure_footprint, state_bytes
from torchloupe.hardware.memory import is_out_of_memory, release_cached
from torchloupe.hardware.peaks import Peaks
from torchloupe.hardware.precision import Precision
from torchloupe.lens.copies import copy_model
from torchloupe.model.norms import steady_norms
from torchloupe.prepare.run_data import RunData
from torchloupe.prepare.session import Session
from torchloupe.run.events import read_events
from torchloupe.run.folder import RunFolder
from torchloupe.run.own_state import left_alone
from torchloupe.run.parts import merge_parts, read_newest
from torchloupe.run.state import evaluated_weights
from torchloupe.run.weights import load_weights
from torchloupe.system import files
from torchloupe.system.arrow import lists_column, number_column, text_column
from torchloupe.train.verdicts import judge_results
from torchloupe.trained.suspects import write_suspects

MOST_PROBABILITIES = 1000  # classes; with more, predictions.parquet has no column of probabilities


def write_results(run: RunFolder, work: Session, peaks: Peaks) -> Contract:
    """Load the best weights into the model, and write what they give on val and test.

    That is metrics.json, predictions.parquet (the test split where there is one, else val) and
    the temperature in contract.json; the contract with it is returned. The model keeps the best
    weights. Every rank must call this; rank 0 writes.
    """
    state, run_data, world = work.state, work.run_data, work.parallel.world
    weights, judged_step = read_best(run, world)
    load_weights(state.model, weights)
    del weights
    merge_weights(run, world)
    device = work.place.device
    release_cached(device)
    found: dict[str, Outputs] = {}
    wanted = ("val", "test") if work.config.train.test else ("val",)
    for name in (name for name in wanted if run_data.has(name)):
        with peaks.phase("test"), work.parallel.for_inference(state.model) as model:
            found[name] = collect(
                model,
                run_data.scan(name, device),
                multi_label=run_data.contract.multi_label,
                loss=work.plan.loss,
                precision=work.precision,
                world=world,
            )
    contract = world.first(calibrate(run_data.contract, found.get("val"), run))
    run.write_json("contract.json", contract.to_json())
    metrics: dict[str, Any] = {}
    content = run_data.pixels.content if run_data.pixels else None
    if world.leads:
        for name, outputs in found.items():
            metrics[name] = measure(outputs, contract.class_names, contract.temperature)
            metrics[name] |= score_distinct(outputs, content)
        for outputs in list(found.values())[-1:]:
            write_predictions(run.path / "predictions.parquet", outputs, run_data, contract)
    ranks = world.gather(peaks.bytes)
    peak_bytes = {phase: max(rank.get(phase, 0) for rank in ranks) for phase in ranks[0]}
    told = read_events(run.path)
    rates = [e["images_per_second"] for e in told if "images_per_second" in e]
    metrics["train"] = {
        "seconds": state.seconds,
        "head_seconds": sum(float(event.get("stage_seconds") or 0.0) for event in told),
        "images_per_second": float(np.median(rates)) if rates else None,
        "steps": state.step,
        "judged_step": judged_step,
        "skipped_steps": work.precision.skipped_steps,
        "ranks": world.size,
        "peak_memory_bytes": max(peak_bytes.values()),
        "memory": {"peak_bytes": peak_bytes, **describe_memory(work)},
        "save_pause_seconds": run.pause_seconds,
    }
    if world.leads:
        suspected = write_suspects(run.path, "test" if "test" in found else "val")
        metrics["verdicts"] = judge_results(metrics, work, run, suspected)
    run.write_json("metrics.json", metrics)
    return contract


def calibrate(contract: Contract, val: Outputs | None, run: RunFolder) -> Contract:
    """`contract` with the temperature of the logits of `val`; 1, with a note, without them.

    A threshold of before is dropped, with a note: it was one of other confidences.
    """
    temperature = 1.0
    if val is None:
        run.note("there is no val split, so confidences are not calibrated (temperature 1)")
    else:
        temperature = fit_temperature(val.logits, val.labels)
    if contract.threshold is not None:
        run.note("the model changed: set its threshold again with `loupe eval RUN --threshold`")
    return replace(contract, temperature=temperature, threshold=None)


class Still(torch.optim.Optimizer):
    """An optimizer that changes nothing: the real one's state is counted where it is."""

    def step(self, closure: Any = None) -> Any:
        """Nothing but the value of `closure`."""
        return None if closure is None else closure()


def describe_memory(work: Session) -> dict[str, Any]:
    """The memory of a step, by kind and by module; activations per image, measured on two.

    Empty if a copy of the model and two images don't fit into memory.
    """
    if work.parallel.is_sharded or not work.parallel.world.leads:
        return {}
    device = work.place.device
    rows = work.run_data.rows("train")[:2]
    try:
        batch = next(iter(work.run_data.scan_rows(rows, device))).cut(slice(0, 2))
        model = copy_model(work.state.model)
        with steady_norms(model, batch.images), left_alone(model, work.plan.loss):
            found = measure_footprint(
                model,
                batch.images,
                batch.labels,
                work.plan.loss,
                Still(model.parameters(), {}),
                Precision(work.precision.name, device),
            )
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return {}
    sizes = state_bytes(work.state.model, work.state.optimizer)
    return {
        "weights_bytes": found.weights,
        "gradients_bytes": found.gradients,
        "optimizer_bytes": sum(sizes.values()),
        "activations_bytes_per_image": found.activations // found.images,
        "modules": [
            {
                "name": module.name,
                "weights_bytes": module.weights,
                "gradients_bytes": module.gradients,
                "optimizer_bytes": sizes.get(module.name, 0),
                "activations_bytes_per_image": module.activations // found.images,
            }
            for module in found.modules
        ],
    }


def read_best(run: RunFolder, world: World) -> tuple[Mapping[str, Tensor], int]:
    """The best weights in a sound checkpoint, and their step; every rank must call this."""
    best = run.path / "best"
    start = best.resolve() if best.exists() else None
    trees, path, passed_over = read_newest(run.checkpoints, world, run.parts, start)
    for line in passed_over:
        run.note(f"{line}; {path.name} is evaluated instead")
    return evaluated_weights(trees), int(trees["state"]["step"])


def merge_weights(run: RunFolder, world: World) -> None:
    """Give the best and the last checkpoint a plain model.safetensors, if ranks wrote it in parts.

    Every rank must call this; rank 0 does it.
    """
    if run.parts is None:
        return
    with world.others_told():
        for name in ("best", "last") if world.leads else ():
            if (run.path / name).exists():
                merge_parts((run.path / name).resolve(), "model")
    world.first(True)


def write_predictions(path: Path, outputs: Outputs, run_data: RunData, contract: Contract) -> None:
    """One row a sample: id, label, prediction, confidence and the probability of each class.

    Probabilities are calibrated, with the temperature of `contract`.
    """
    names = np.array(contract.class_names, dtype=object)
    p, rows = outputs.probabilities(contract.temperature), outputs.rows
    ids = run_data.samples.ids[rows] if len(run_data.samples) else rows
    columns: dict[str, Any] = {"id": text_column(str(i) for i in ids)}
    for name, values in (("label", outputs.labels), ("prediction", outputs.predictions)):
        columns[name] = (
            lists_column([[str(n) for n in names[row > 0]] for row in values])
            if outputs.multi_label
            else text_column(map(str, names[values]))
        )
    columns["confidence"] = number_column(p.max(axis=1))
    if p.shape[1] <= MOST_PROBABILITIES:
        columns["probabilities"] = number_column(p)
    table = pa.table(columns).replace_schema_metadata({"class_names": json.dumps(list(names))})
    with files.replacing(path) as file:
        pq.write_table(table, file)
