"""A trained run: its metrics, its model, and predictions for new images.

Everything here reads the run folder and nothing else. For a run with a model from user code that
model must be given again, or `trust_code` set: a run folder alone never causes code to be run.
"""

from functools import partial
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import torchloupe
from torchloupe.config.schema import Config
from torchloupe.config.settings import read_settings
from torchloupe.data.contract import Contract
from torchloupe.data.inputs import is_one_image, list_images
from torchloupe.errors import CheckpointError, DataError, UsageError, did_you_mean, printable
from torchloupe.evaluation.distinct import score_distinct
from torchloupe.evaluation.inference import eval_mode, to_probabilities
from torchloupe.evaluation.scoring import measure
from torchloupe.evaluation.views import check_views, forward_views
from torchloupe.hardware.device import choose_device
from torchloupe.hardware.layout import set_memory_format
from torchloupe.lens.saliency import look_inside
from torchloupe.lens.selection import Which
from torchloupe.prepare.objects import make_for_contract
from torchloupe.prepare.run_data import RunData
from torchloupe.report.colours import to_pixels
from torchloupe.report.look import Look, make_look
from torchloupe.report.page import save_look
from torchloupe.run import checkpoint
from torchloupe.run.events import read_events
from torchloupe.run.json_files import read_json
from torchloupe.run.places import find_run
from torchloupe.run.state import check_parts, evaluated_weights
from torchloupe.run.weights import load_weights
from torchloupe.system.heap import keep_freed_blocks
from torchloupe.system.trust import trusted_name
from torchloupe.trained.audit import Audit
from torchloupe.trained.history import collect_columns
from torchloupe.trained.opened_models import remember
from torchloupe.trained.outputs import (
    collect_outputs,
    held_out,
    laid_out,
    open_other_data,
    open_run_data,
    precision_of,
)
from torchloupe.trained.prediction import Prediction, decode_one, predict_images
from torchloupe.trained.report import PAGE, audit_for_page, describe_run, reopen_data, write_report
from torchloupe.trained.samples import SampleTable, read_samples
from torchloupe.trained.seen import score_unseen
from torchloupe.trained.suspects import list_suspects


def _samples_of(run: "Run") -> SampleTable:
    """The training samples with their loss, margin and correctness in every epoch.

    CheckpointError for a run that wrote none: of a stream, or that only fitted a head.
    """
    return read_samples(run.folder)


def _suspects_of(run: "Run") -> list[dict[str, Any]]:
    """Labels that are probably wrong, the likeliest first: id, split, label, proposed, score.

    Those of images that were not trained on come first; of training images nothing is proposed.
    """
    return list_suspects(run.folder)


class Run:
    """A run folder opened for use. `model` is in eval mode on `device`."""

    samples = property(_samples_of)
    suspected_labels = property(_suspects_of)

    def __init__(
        self, folder: Path, model: nn.Module, contract: Contract, config: Config, step: int
    ) -> None:
        self.folder = folder
        self.model = model
        model.eval()  # what an eval or train of the model's own returns is not used
        self.contract = contract
        self.config = config
        self.step = step
        self.equal_sizes: tuple[int, ...] = ()  # of small batches with the bits of large ones

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, step={self.step}, classes={len(self.class_names)})"

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names, in the order of the model's outputs."""
        return self.contract.class_names

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return next(self.model.parameters()).device

    @property
    def metrics(self) -> dict[str, Any]:
        """metrics.json: `"test"` (if there is one), `"val"`, `"train"`, and `"verdicts"`."""
        return dict(read_json(self.folder / "metrics.json"))

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of the run, oldest first: losses, rates, validation results, notes."""
        return read_events(self.folder)

    @property
    def history(self) -> dict[str, NDArray[Any]]:
        """The numbers of the run as columns: `step`, `epoch`, `train_loss`, `lr`, `val_loss`,
        `val_accuracy` and others, one row for each step that was logged or evaluated.

        NaN where a number was not measured at a step; `best` marks the best evaluation so far.
        """
        return collect_columns(self.events)

    @overload
    def predict(
        self, images: list[Any], *, top: int = 5, raw: bool = False, views: str = "one"
    ) -> list[Prediction]: ...

    @overload
    def predict(
        self, images: Any, *more: Any, top: int = 5, raw: bool = False, views: str = "one"
    ) -> Prediction | list[Prediction]: ...

    def predict(
        self, images: Any, *more: Any, top: int = 5, raw: bool = False, views: str = "one"
    ) -> Prediction | list[Prediction]:
        """The prediction of one image, or a list of those of several.

        One image is a path, encoded bytes, a PIL image, or an array or tensor ([H, W], [H, W, C]
        or [C, H, W]). Several are a folder (all images below it), a list, a batch, a Dataset or a
        DataLoader, whose labels are passed over. `top` classes have their probability.

        `raw` leaves out the temperature and the threshold of the contract. `views` is "one",
        "flip", "five" or "ten": logits are means over so many views of each image.

        A file that can't be read gives a Prediction with `error` set, never an exception; a path
        that does not exist raises DataError, and so does an array of another kind than the model
        was trained on.
        """
        is_one = not more and is_one_image(images, self.contract)
        source = [images, *more] if more else images
        check_views(views)
        found = predict_images(
            source, self.contract, partial(self.logits, views=views), top, raw=raw
        )
        return found[0] if is_one else found

    def look(
        self, image: Any, *, layers: Which | None = None, out: str | Path | None = None
    ) -> Look:
        """What the model sees in one image (anything `predict` takes): its most likely classes,
        Grad-CAM heat maps of them, and the feature maps of `layers` (a pattern such as "conv*";
        a few layers by default). With `out`, it is written to OUT.png and OUT.html too.

        Raises DataError for an image that can't be read, UsageError for a model without feature
        maps.
        """
        items = list(list_images(image, self.contract))
        if len(items) != 1:
            raise DataError(f"look takes one image, and these are {len(items)}", "give one file")
        name, pixels = items[0][0], decode_one(items[0], self.contract)
        multi_label = self.contract.multi_label
        batch = self.contract.normalise(torch.from_numpy(np.stack([pixels])).to(self.device))
        with laid_out(self.model, self.config):
            insight = look_inside(self.model, batch, which=layers, multi_label=multi_label)
        temperature = self.contract.temperature
        shares = to_probabilities(insight.logits[None], multi_label, temperature)[0].tolist()
        ranking = sorted(zip(self.class_names, shares, strict=True), key=lambda pair: -pair[1])
        names = (Path(name).name, self.config.model.name)
        look = make_look(insight, to_pixels(pixels), ranking, self.class_names, names)
        if out is not None:
            save_look(look, Path(out))
        return look

    def report(
        self, out: str | Path | None = None, *, data: Any = None, trust_code: bool = False
    ) -> Path:
        """Write the run's page, RUN/report.html or `out`, and return its path.

        The data are opened where they were; `data` stand in for what was a Python object. Without
        them there are no images in the page, and a RUN/report.html that has some is not replaced:
        that is a UsageError.
        """
        run_data, why = reopen_data(
            self.folder, self.config, self.contract, data, trust_code=trust_code
        )
        page = Path(out) if out is not None else self.folder / PAGE
        if run_data is None and out is None and page.exists():
            raise UsageError(
                f"{why}; a page without images would replace {printable(page)}",
                "give the data again, or another file for the page",
            )
        return write_page(self, run_data, page, why)

    def _repr_html_(self) -> str:
        """The head of the page, for notebooks."""
        return describe_run(self.folder, self.contract, self.model)

    def probabilities(self, pixels: NDArray[Any], *, raw: bool = False) -> NDArray[np.float32]:
        """Class probabilities [B, K] for decoded images [B, H, W, C]; `raw` as in `predict`."""
        logits, temperature = self.logits(pixels), 1.0 if raw else self.contract.temperature
        found: NDArray[np.float32] = to_probabilities(
            torch.from_numpy(logits), self.contract.multi_label, temperature
        ).numpy()
        return found

    def logits(self, pixels: NDArray[Any], views: str = "one") -> NDArray[np.float32]:
        """Logits [B, K] for decoded images [B, H, W, C], not divided by the temperature."""
        precision = precision_of(self.config, self.device)
        with eval_mode(self.model), laid_out(self.model, self.config):
            images = self.contract.normalise(torch.from_numpy(pixels).to(self.device))
            found: NDArray[np.float32] = (
                forward_views(self.model, images, views, precision, sizes=self.equal_sizes)
                .cpu()
                .numpy()
            )
        return found

    def evaluate(
        self, data: Any = None, *, trust_code: bool = False, views: str = "one"
    ) -> dict[str, Any]:
        """All metrics on `data` (anything `open_data` takes), classes aligned by name.

        Without `data`: on the test split of the run, or on val if there is none. `"split"` and
        `"notes"` say what was evaluated, and which of `data` were trained on. `views`: `predict`.
        """
        check_views(views)
        if data is None:
            run_data = open_run_data(self.folder, self.config, self.contract, trust_code=trust_code)
            part = held_out(run_data)
        else:
            run_data, part = open_other_data(self.config, data, self.contract), "test"
        outputs = collect_outputs(self.model, run_data, part, self.config, views)
        metrics = measure(outputs, self.class_names, self.contract.temperature)
        metrics |= score_distinct(outputs, run_data.pixels.content if run_data.pixels else None)
        seen = score_unseen(self.folder, data, run_data, outputs)
        notes = [*run_data.notes, *seen.pop("notes", ())]
        return {"split": part if data is None else "all", **metrics, **seen, "notes": notes}

    def export(self, **options: Any) -> Path:
        """Write this run as an artefact that is proved equal to it; returns its folder.

        `options` are those of `torchloupe.export_run`: to, precision, input, out, max_drop, files.
        """
        folder: Path = torchloupe.export_run(self, **options)
        return folder


def write_page(
    run: Run, run_data: RunData | None, page: Path, why: str = "", *, is_brief: bool = False
) -> Path:
    """Write a run's page with the images of these data; `why` there are none. Returns `page`.

    `is_brief` leaves out what takes seconds: the map, heat maps and the audit of the labels.
    """
    audit = Audit(note=f"no images are shown: {why}") if why else Audit()
    if run_data is not None and not is_brief:
        audit = audit_for_page(run.model, run_data, run.config, run.device)
    precision = precision_of(run.config, run.device)
    with laid_out(run.model, run.config):
        return write_report(
            page, run.folder, run.contract, run.model, precision, run_data, audit, is_brief
        )


def open_run(
    folder: str | Path,
    *,
    model: nn.Module | str | None = None,
    trust_code: bool = False,
    device: str = "auto",
    which: str = "best",
) -> Run:
    """Open a run folder: its checkpoint `which` ("best", "last" or a name), hashes verified.

    `model` is needed if the model of the run is not from the zoo, torchvision or timm: the module
    or its `file.py:Class`. `trust_code` allows to run the code that the run folder names.
    """
    run = open_untrained(folder, model=model, trust_code=trust_code, device=device)
    start = _find_checkpoint(run.folder, which)
    trees, found, passed_over = checkpoint.read_newest(run.folder / "checkpoints", start)
    if start is not None and found != start:
        raise CheckpointError(
            f"the checkpoint {printable(which)} is damaged: {passed_over[0]}",
            f"`loupe resume {printable(run.folder)}` continues from {found.name}, which is sound",
        )
    check_parts(trees)
    load_weights(run.model, evaluated_weights(trees))
    if run.config.hardware.channels_last:
        set_memory_format(run.model, channels_last=True)  # the last bits hang on it
    run.step = int(trees["state"]["step"])
    return run


def open_untrained(
    folder: str | Path,
    *,
    model: nn.Module | str | None = None,
    trust_code: bool = False,
    device: str = "auto",
) -> Run:
    """The run in a folder with the first weights of its model, before it has any checkpoint."""
    keep_freed_blocks()
    path = find_run(Path(folder))
    config = read_settings(path / "config.json").config
    contract = read_contract(path)
    place = choose_device(device).device
    if not isinstance(model, nn.Module):
        model = model or trusted_name(config.model.name, "model", path, trust_code)
    module = make_for_contract(model, config, contract)
    return remember(Run(path, module.to(place), contract, config, 0))


def _find_checkpoint(run: Path, which: str) -> Path | None:
    """The folder of a checkpoint; None for the best one of a run without any evaluation."""
    if which in ("best", "last"):
        link = run / which
        return link.resolve() if link.is_symlink() or link.exists() else None
    known = [path.name for path in checkpoint.list_checkpoints(run / "checkpoints")]
    if which not in known:
        raise CheckpointError(
            f"{printable(run)} has no checkpoint {printable(which)}",
            did_you_mean(which, ["best", "last", *known]),
        )
    return run / "checkpoints" / which


def read_contract(run: Path) -> Contract:
    """The contract of a run folder; CheckpointError if it is missing or damaged."""
    path = run / "contract.json"
    try:
        return Contract.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{printable(path)} can't be read ({printable(error)})",
            "copy the run folder again: the contract says how its images are preprocessed",
        ) from None
