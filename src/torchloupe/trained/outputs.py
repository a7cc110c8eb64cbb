"""What the model of a run gives for labelled data: its own splits, or other data."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torchloupe.config.schema import Config
from torchloupe.data.contract import Contract
from torchloupe.errors import DataError
from torchloupe.evaluation.scoring import Outputs, collect
from torchloupe.hardware.layout import images_laid_out
from torchloupe.hardware.precision import Precision, nearest_format
from torchloupe.model.losses import NAMES as LOSS_NAMES
from torchloupe.model.losses import make_loss
from torchloupe.prepare.data import prepare_data, prepare_evaluation_data
from torchloupe.prepare.run_data import RunData
from torchloupe.system.trust import trusted_name


def open_run_data(
    folder: Path, config: Config, contract: Contract, *, trust_code: bool = False
) -> RunData:
    """The data of the run in `folder`, with its splits."""
    source = trusted_name(config.data.source, "data", folder, trust_code)
    return prepare_data(source, config.data, seed=config.train.seed, contract=contract)


def open_other_data(config: Config, source: Any, contract: Contract) -> RunData:
    """Other labelled data, in anything that `open_data` takes, as the split "test"."""
    return prepare_evaluation_data(config.data, source, contract)


def held_out(run_data: RunData) -> str:
    """The split that a run is evaluated on: "test", or "val"; DataError where it has neither."""
    for split in ("test", "val"):
        if run_data.has(split):
            return split
    raise DataError(
        "this run has no test and no val images to evaluate on",
        "give labelled images that it was not trained on: loupe eval RUN DATA",
    )


def require_val(run_data: RunData) -> None:
    """DataError for a run without images to decide on."""
    if not run_data.has("val"):
        raise DataError(
            "this run has no val split to decide on",
            "train with data.val_fraction above 0; the test split is for the test alone",
        )


def collect_outputs(
    model: nn.Module, run_data: RunData, split: str, config: Config, views: str = "one"
) -> Outputs:
    """The logits of every image of `split`, in the number format of the training, and its loss."""
    device = next(model.parameters()).device
    with laid_out(model, config):
        return collect(
            model,
            run_data.scan(split, device),
            multi_label=run_data.contract.multi_label,
            loss=_loss_of(model, config, run_data.contract),
            precision=precision_of(config, device),
            views=views,
        )


def laid_out(model: nn.Module, config: Config) -> AbstractContextManager[None]:
    """Inside, the model gets images in the memory format of the training."""
    return images_laid_out(model, bool(config.hardware.channels_last))


def precision_of(config: Config, device: torch.device) -> Precision:
    """The number format of the training, or the nearest one that `device` has."""
    return Precision(nearest_format(config.hardware.precision, device), device)


def _loss_of(model: nn.Module, config: Config, contract: Contract) -> Any:
    """The loss of the run; None for a loss from user code or with class weights."""
    settings = config.loss
    if settings.name not in LOSS_NAMES or settings.weights != "none":
        return None
    return (
        make_loss(
            settings.name,
            classes=len(contract.class_names),
            multi_label=contract.multi_label,
            smoothing=settings.smoothing,
            gamma=settings.gamma,
        )
        .to(next(model.parameters()).device)
        .follow(model)
    )
