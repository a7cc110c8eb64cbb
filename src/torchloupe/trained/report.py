"""The page of a run, RUN/report.html: written at the end of a training, or from its folder."""

from pathlib import Path
from typing import Any

from torch import nn

from torchloupe.config.schema import Config
from torchloupe.data.contract import Contract
from torchloupe.errors import DataError, LoupeError, UsageError
from torchloupe.hardware.precision import Precision
from torchloupe.model.transfer import Transfer
from torchloupe.prepare.data import prepare_data
from torchloupe.prepare.run_data import RunData
from torchloupe.system import files
from torchloupe.system.trust import trusted_name
from torchloupe.trained.audit import Audit, audit_data

PAGE = "report.html"
MOST_AUDITED = 10_000  # images; searching label errors in more of them takes too long for a page


def write_report(
    out: Path,
    folder: Path,
    contract: Contract,
    model: nn.Module,
    precision: Precision,
    run_data: RunData | None,
    audit: Audit,
    is_brief: bool,
) -> Path:
    """Write the page of the run in `folder`, whole or not at all; see Material for the rest."""
    from torchloupe.trained.facts.page import Material, make_page

    material = Material(folder, contract, model, precision, run_data, audit, is_brief)
    files.replace_file(out, make_page(material).encode())
    return out


def describe_run(folder: Path, contract: Contract, model: nn.Module) -> str:
    """The head of the page as a piece of HTML, for notebooks."""
    from torchloupe.trained.facts.page import make_head

    return make_head(folder, contract, model)


def audit_for_page(model: Any, run_data: RunData, config: Config, device: Any) -> Audit:
    """The audit that a page shows; empty, with the reason, where it would take too long.

    Only for pretrained networks: their features are in the cache.
    """
    if not isinstance(model, Transfer) or len(run_data.samples) > MOST_AUDITED:
        return Audit()
    try:
        return audit_data(model, run_data, config, device)
    except (LoupeError, OSError) as error:
        return Audit(note=f"no search for label errors: {getattr(error, 'message', error)}")


def reopen_data(
    folder: Path, config: Config, contract: Contract, data: Any = None, *, trust_code: bool
) -> tuple[RunData | None, str]:
    """The data of a run, opened again; or None, and why they can't be.

    `data` stand in for what the settings name.
    """
    try:
        source = data
        if data is None:
            source = trusted_name(config.data.source, "data", folder, trust_code)
        return prepare_data(source, config.data, seed=config.train.seed, contract=contract), ""
    except (DataError, UsageError) as error:
        if data is not None:
            raise
        return None, error.message
