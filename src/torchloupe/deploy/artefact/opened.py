"""An exported folder, opened: predictions and metrics of the artefact, as a run gives them."""

import sys
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from torchloupe.config.schema import DataConfig
from torchloupe.data.contract import Contract
from torchloupe.data.inputs import is_one_image
from torchloupe.deploy.artefact.evidence import pixels_of
from torchloupe.deploy.artefact.folder import is_export, read_facts
from torchloupe.deploy.artefact.sessions import Session, open_session
from torchloupe.deploy.folded import FoldedRun, can_fold, fold_run
from torchloupe.errors import UsageError, printable
from torchloupe.evaluation.scoring import collect, measure
from torchloupe.prepare.data import prepare_evaluation_data
from torchloupe.trained.prediction import Prediction, predict_images
from torchloupe.trained.run import Run, open_run, read_contract
from torchloupe.trained.seen import score_unseen

Floats = NDArray[np.float32]


class Exported:
    """An exported folder opened for use; `facts` are those of its export.json."""

    def __init__(
        self, folder: Path, contract: Contract, facts: dict[str, Any], session: Session
    ) -> None:
        self.folder = folder
        self.contract = contract
        self.facts = facts
        self._session = session

    def __repr__(self) -> str:
        return f"Exported({str(self.folder)!r}, {self.facts['to']}, {self.facts['precision']})"

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names, in the order of the outputs."""
        return self.contract.class_names

    @property
    def temperature(self) -> float:
        """What the logits are divided by before they become probabilities."""
        return self.contract.temperature

    @property
    def threshold(self) -> float | None:
        """The confidence below which a prediction is unsure; None: none was set."""
        return self.contract.threshold

    def probabilities(self, pixels: NDArray[Any]) -> Floats:
        """Class probabilities [B, K] of decoded images [B, H, W, C], calibrated."""
        return self._session(np.ascontiguousarray(pixels))[0]

    def logits(self, pixels: NDArray[Any]) -> Floats:
        """Logits [B, K] for decoded images [B, H, W, C], not divided by the temperature."""
        return self._session(np.ascontiguousarray(pixels))[1]

    @overload
    def predict(
        self, images: list[Any], *, top: int = 5, raw: bool = False
    ) -> list[Prediction]: ...

    @overload
    def predict(
        self, images: Any, *more: Any, top: int = 5, raw: bool = False
    ) -> Prediction | list[Prediction]: ...

    def predict(
        self, images: Any, *more: Any, top: int = 5, raw: bool = False
    ) -> Prediction | list[Prediction]:
        """The prediction of one image, or a list of those of several, as `Run.predict` gives them:
        of paths, encoded bytes, PIL images, arrays, folders, lists, datasets.

        `raw` leaves out the temperature and the threshold of the contract.
        """
        is_one = not more and is_one_image(images, self.contract)
        source = [images, *more] if more else images
        found = predict_images(source, self.contract, self.logits, top, raw=raw)
        return found[0] if is_one else found

    def evaluate(self, data: Any = None) -> dict[str, Any]:
        """All metrics on `data` (anything `open_data` takes), classes aligned by name.

        UsageError without data: an exported folder has none. Images that trained its run are
        noted, as `Run.evaluate` does, while the folder lies in that of the run.
        """
        if data is None:
            raise UsageError(
                "an exported folder has no data of its own to evaluate on",
                "give labelled data: loupe eval FOLDER DATA",
            )
        run_data = prepare_evaluation_data(DataConfig(), data, self.contract)
        outputs = collect(
            _Logits(self), run_data.scan("test"), multi_label=self.contract.multi_label
        )
        metrics = measure(outputs, self.class_names, self.temperature)
        run = self.folder.resolve().parent  # where an export is put that is given no --out
        is_own = run.name == self.facts["run"] and (run / "config.json").is_file()
        seen = score_unseen(run, data, run_data, outputs) if is_own else {}
        notes = [*run_data.notes, *seen.pop("notes", ())]
        return {"split": "all", **metrics, **seen, "notes": notes}


class _Logits(nn.Module):
    """An exported model where a network is wanted: it takes normalised images [B, C, H, W]."""

    def __init__(self, exported: Exported) -> None:
        super().__init__()
        self.exported = exported
        self.place = nn.Parameter(torch.zeros(0), requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, K]; the pixels are those that `normalise` made these images of."""
        pixels = pixels_of(images, self.exported.contract)
        return torch.from_numpy(self.exported.logits(pixels))


def open_export(folder: str | Path) -> Exported:
    """Open a folder that `loupe export` wrote, its hashes verified.

    CheckpointError where a file is damaged, UsageError where the library that runs it is missing.
    """
    path = Path(folder)
    facts = read_facts(path)
    return Exported(path, read_contract(path), facts, open_session(path, facts))


def open_trained(
    folder: str | Path,
    *,
    model: str | None = None,
    trust_code: bool = False,
    device: str | None = None,
    views: str = "one",
) -> Run | Exported:
    """Open a run folder or an exported one; UsageError for options that an artefact lacks."""
    if not is_export(folder):
        return open_run(folder, model=model, trust_code=trust_code, device=device or "auto")
    given = {"--model": model, "--trust-code": trust_code, "--device": device}
    given["--views"] = views != "one"
    wrong = [name for name, value in given.items() if value]
    if wrong:
        raise UsageError(
            f"{wrong[0]} is for a run, and {printable(folder)} is an exported folder",
            "leave it out: the artefact has its model inside and runs on the CPU",
        )
    return open_export(folder)


def open_labeller(
    folder: str | Path, *, fast: bool = False, views: str = "one", **options: Any
) -> Run | Exported | FoldedRun:
    """As `open_trained`; with `fast` a run is folded, and what can't be is told on stderr."""
    if fast and views != "one":
        raise UsageError("--fast looks at an image once", "leave --views or --fast out")
    opened = open_trained(folder, views=views, **options)
    if not fast:
        return opened
    if not isinstance(opened, Run):
        sys.stderr.write("note: --fast changes nothing for an exported folder: it is for runs\n")
        return opened
    folded = fold_run(opened)
    if folded is None:
        sys.stderr.write(
            "note: --fast changes nothing for this run: it is for convolutions in float32 on a "
            "CPU, and images that are not very large\n"
        )
    return folded or opened


def could_be_fast(opened: Run | Exported | FoldedRun) -> bool:
    """Whether `fast` might do something for it that was left out."""
    return isinstance(opened, Run) and can_fold(opened)


def refuse_decision(folder: str | Path) -> None:
    """UsageError for what a run alone decides on its validation split."""
    raise UsageError(
        f"{printable(folder)} is an exported folder, which has no val split to decide on",
        "decide with the run (loupe eval RUN --threshold T), and export it again",
    )
