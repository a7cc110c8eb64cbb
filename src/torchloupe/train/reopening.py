"""The last check of a run: what was saved, opened again, predicts what the trained model does."""

from pathlib import Path

import torch
from torch import nn

from torchloupe.errors import CheckpointError, LoupeError, printable
from torchloupe.evaluation.inference import to_probabilities
from torchloupe.hardware.layout import images_laid_out
from torchloupe.lens.batch_dependence import eval_output, first_difference
from torchloupe.prepare.session import Session
from torchloupe.prepare.spare import HINT, some_images
from torchloupe.trained.run import open_run


def confirm_reopening(folder: Path, work: Session, model: nn.Module) -> None:
    """CheckpointError if the best checkpoint, opened as `open_run` does, gives other
    probabilities than `model`, which has its weights, for a few images; compared bit for bit.

    Every rank must call this; rank 0 compares.
    """
    world = work.parallel.world
    problem = world.first(_difference(folder, work, model) if world.leads else "")
    if problem:
        raise CheckpointError(problem, HINT)


def _difference(folder: Path, work: Session, model: nn.Module) -> str:
    """What the error says; empty if all is well."""
    device, contract = work.place.device, work.run_data.contract
    channels_last = bool(work.config.hardware.channels_last)
    images = some_images(work.run_data, device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        made = work.spare.make(work.config, contract)
    try:
        other = open_run(folder, model=made, device=str(device)).model
    except LoupeError as error:
        return f"the best checkpoint can't be opened again: {error.message}"
    with images_laid_out(model, channels_last), images_laid_out(other, channels_last):
        layer = first_difference(model, other, images)
        if layer is None:
            return ""
        rows = [eval_output(each, images).float() for each in (model, other)]
    trained, opened = (to_probabilities(row, contract.multi_label) for row in rows)
    place = int((trained - opened).abs().flatten().argmax())
    image, class_ = divmod(place, trained.shape[1])
    name = printable(contract.class_names[class_], 60)
    return (
        f"the best checkpoint, opened again, gives other predictions than the trained model: "
        f"{float(opened[image, class_]):.4g} for class {name!r} instead of "
        f"{float(trained[image, class_]):.4g}"
        + (f"; the first layer that differs is {printable(layer, 80)}" if layer else "")
    )
