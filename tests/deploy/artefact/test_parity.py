"""What probabilities can't tell: a network that is sure of all images, or says the same of all."""

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mismatches import evidence_of, heat_by, scale_of
from numpy.typing import NDArray
from torch import nn

from torchloupe.deploy.artefact.evidence import in_fp32
from torchloupe.deploy.artefact.exporting import NO_PROOF, export_run, prove
from torchloupe.deploy.artefact.parity import Tolerance, measure
from torchloupe.errors import CheckpointError
from torchloupe.trained.run import Run


def test_another_network_that_is_as_sure_of_all_images_is_refused(
    photo_run: Run, photo_export: Path, tmp_path: Path
) -> None:
    run, folder = in_fp32(photo_run), tmp_path / "export"
    warm = photo_run.contract.temperature
    run.contract = replace(photo_run.contract, temperature=warm / 1e6)  # probabilities are 0 or 1
    shutil.copytree(photo_export, folder)
    heat_by(1e6)(folder)
    facts = json.loads((folder / "export.json").read_text())
    evidence = evidence_of(run)
    assert prove(folder, run, evidence, facts).tells
    scale_of("network.3", 1.01)(folder)
    loose = measure(
        *(folder, evidence.cases, run.contract, run.logits),
        real=0,
        facts=facts,
        tolerance=Tolerance(logits=1e6),
    )
    assert loose.holds
    assert loose.largest_difference == 0
    with pytest.raises(CheckpointError, match=r"of a logit .* stage"):
        prove(folder, run, evidence, facts)


@pytest.mark.long
def test_a_run_that_says_the_same_of_all_images_is_exported_with_a_note(
    photo_run: Run, tmp_path: Path
) -> None:
    run = copy.copy(photo_run)
    run.model = copy.deepcopy(photo_run.model)
    last = [module for module in run.model.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        last.weight.zero_()
    folder = export_run(run, to="pt2", out=tmp_path / "export", files=4)
    facts = json.loads((folder / "export.json").read_text())
    assert facts["parity"]["agreement"] == 1.0
    assert facts["parity"]["tells"] is False
    assert facts["notes"] == [NO_PROOF]
    assert "nearly the same logits" in (folder / "README.md").read_text()


def test_what_is_no_number_never_agrees(photo_run: Run, photo_export: Path) -> None:
    facts = json.loads((photo_export / "export.json").read_text())

    def give_nothing(pixels: NDArray[Any]) -> NDArray[np.float32]:
        return np.full((len(pixels), 3), np.nan, dtype=np.float32)

    cases = evidence_of(photo_run).cases[:2]
    found = measure(photo_export, cases, photo_run.contract, give_nothing, real=0, facts=facts)
    assert not found.holds
