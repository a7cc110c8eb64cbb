"""Trackers: the events of a run sent to TensorBoard, MLflow or Weights & Biases.

Each is a Listener. Their packages come with the `track` extra and are imported when a tracker is
made, never before. A tracker that fails later is dropped with a warning: the run itself has every
event on disk.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from torchloupe.display.tracked import (
    SystemMetrics,
    TrackedRun,
    numbers_of,
    outcome_of,
    parse_track,
    results_of,
)
from torchloupe.display.tracking_errors import drop_when_failing, refusal, refuse_when_failing
from torchloupe.errors import UsageError, did_you_mean, printable
from torchloupe.run.listener import Listener

_MOST_AT_ONCE = 100  # parameters, tags or metrics in one request to MLflow


def make_trackers(words: Sequence[str], run_folder: Path) -> list[Listener]:
    """A listener for each tracker that the setting `track` names; see `parse_track`.

    Raises UsageError if a tracker can't be made, as its `start` does.

    All of them write below `run_folder`, unless the environment names a server of the user's
    (MLFLOW_TRACKING_URI, WANDB_MODE and WANDB_BASE_URL).
    """
    refuse_unknown_trackers(words)
    run = TrackedRun(run_folder, parse_track(words))
    return [_make(name, run) for name in run.wanted.trackers]


def refuse_unknown_trackers(words: Sequence[str]) -> None:
    """UsageError for a tracker that does not exist, or that can't keep what is asked for."""
    wanted = parse_track(words)
    unknown = [name for name in wanted.trackers if name not in _TRACKERS]
    if unknown:
        raise UsageError(
            f"there is no tracker {', '.join(printable(name) for name in unknown)}",
            did_you_mean(unknown[0], _TRACKERS),
        )
    if wanted.model and wanted.trackers == ("tensorboard",):
        raise UsageError(
            "TensorBoard keeps no models, and track asks for the model",
            "leave model out of track: the run folder has it; or add mlflow or wandb",
        )


def _make(name: str, run: TrackedRun) -> Listener:
    try:
        return _TRACKERS[name](run)
    except ImportError as error:
        raise UsageError(
            f"tracking with {name} needs a package that is not installed ({printable(error)})",
            "pip install 'torchloupe[track]', or leave it out of --set track=...",
        ) from None
    except Exception as error:
        raise refusal(name, error) from error


class TensorBoard:
    """Scalars, images, parameters and text pages, below RUN/tensorboard."""

    def __init__(self, run: TrackedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter, summary

        self.failed = False
        self._make_hparams: Callable[..., Any] = summary.hparams
        self._make_writer: Callable[..., Any] = SummaryWriter
        self._tracked = run
        self._system = SystemMetrics()
        self._parameters: Mapping[str, str] = {}
        self._writer: Any = None

    @refuse_when_failing
    def start(self, facts: Mapping[str, Any]) -> None:
        """Open the log; events that a resumed run does again replace the old ones."""
        step = int(facts.get("start_step") or 0)
        folder = str(self._tracked.folder / "tensorboard")
        self._writer = self._make_writer(folder, purge_step=step + 1 if step else None)
        self._parameters = self._tracked.parameters(facts)
        for name, values in (
            ("run", facts),
            ("settings", self._parameters),
            ("environment", self._tracked.environment()),
            ("tags", self._tracked.tags(facts)),
        ):
            self._writer.add_text(name, _as_text_block(values), global_step=step)

    @drop_when_failing
    def record(self, event: Mapping[str, Any]) -> None:
        """Write the numbers of an event at its step, and the results of the run."""
        if self._writer is None:
            return
        if "results" in event:
            self._write_results(event)
        for name, value in _measured(event, self._system):
            self._writer.add_scalar(name, value, global_step=event["step"])

    @drop_when_failing
    def close(self) -> None:
        """Flush and close the log."""
        if self._writer is not None:
            self._writer.close()

    def _write_results(self, event: Mapping[str, Any]) -> None:
        step, results = _last_step(event), results_of(event["results"])
        for name, value in results.items():
            self._writer.add_scalar(name, value, global_step=step)
        for name, pixels in event["images"].items():
            self._writer.add_image(name, np.asarray(pixels), step, dataformats="HWC")
        for summary in self._make_hparams(dict(self._parameters), results):
            self._writer.file_writer.add_summary(summary)


class MLflow:
    """One MLflow run, through its client and no process-wide state; a resume goes on in it.

    Written to a database in RUN/mlflow, or to the server that MLFLOW_TRACKING_URI names. MLflow's
    own usage statistics are turned off unless the environment says otherwise.
    """

    def __init__(self, run: TrackedRun) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param, RunTag

        self.failed = False
        self._metric, self._parameter, self._tag = Metric, Param, RunTag
        self._tracked = run
        self._system = SystemMetrics()
        folder = run.folder / "mlflow"
        server = os.environ.get("MLFLOW_TRACKING_URI")
        if not server:
            folder.mkdir(exist_ok=True)
        self._client = MlflowClient(server or f"sqlite:///{folder.absolute() / 'mlflow.db'}")
        found = self._client.get_experiment_by_name("torchloupe")
        self._experiment = (
            found.experiment_id
            if found is not None
            else self._client.create_experiment(
                "torchloupe",
                artifact_location=None if server else (folder / "artifacts").absolute().as_uri(),
            )
        )
        self._run = ""
        self._is_finished = False

    @refuse_when_failing
    def start(self, facts: Mapping[str, Any]) -> None:
        """Begin the MLflow run, or go on with it: settings and facts as parameters, and tags."""
        parameters, tags = self._tracked.parameters(facts), self._tracked.tags(facts)
        known = self._find_run()
        if known is None:
            made = self._client.create_run(self._experiment, run_name=self._tracked.folder.name)
            self._run, before = made.info.run_id, {}
            self._tracked.write_id("mlflow", self._run)
        else:
            self._run, before = known.info.run_id, dict(known.data.params)
            self._client.update_run(self._run, status="RUNNING")
        for name, value in parameters.items():
            if before.get(name, value) != value:  # MLflow's parameters can't change
                tags[f"resumed.{name}"] = value
        new = [self._parameter(*item) for item in parameters.items() if item[0] not in before]
        for some in _parts(new):
            self._client.log_batch(self._run, params=some)
        commit = tags.get("git.commit")
        tags |= {"mlflow.source.git.commit": commit} if commit else {}
        self._client.log_batch(self._run, tags=[self._tag(*item) for item in tags.items()])
        for name in ("config.json", "environment.json"):
            if (self._tracked.folder / name).is_file():
                self._client.log_artifact(self._run, str(self._tracked.folder / name))

    @drop_when_failing
    def record(self, event: Mapping[str, Any]) -> None:
        """Send the numbers of an event at its step, and the results of the run."""
        if not self._run:
            return
        if "results" in event:
            self._send_numbers(results_of(event["results"]), _last_step(event))
            with _image_files(event["images"]) as files:
                for file in files:
                    self._client.log_artifact(self._run, str(file))
            for file in self._tracked.model_files():
                self._client.log_artifact(self._run, str(file), "model")
            self._is_finished = True
        numbers = dict(_measured(event, self._system))
        if numbers:
            self._send_numbers(numbers, int(event["step"]))

    @drop_when_failing
    def close(self) -> None:
        """End the MLflow run as FINISHED, FAILED or KILLED."""
        if self._run:
            self._client.set_terminated(self._run, outcome_of(self._is_finished))

    def _find_run(self) -> Any:
        """The MLflow run of this folder, if there is one already."""
        known = self._tracked.read_id("mlflow")
        if not known:
            return None
        try:
            found = self._client.get_run(known)
        except Exception:  # another server, or a database that was removed
            return None
        return found if found.info.lifecycle_stage == "active" else None

    def _send_numbers(self, numbers: Mapping[str, float], step: int) -> None:
        moment = round(1000 * time.time())
        metrics = [self._metric(name, value, moment, step) for name, value in numbers.items()]
        for some in _parts(metrics):
            self._client.log_batch(self._run, metrics=some)


class WeightsAndBiases:
    """One W&B run, its files below RUN/wandb; WANDB_MODE=offline keeps all of it there."""

    def __init__(self, run: TrackedRun) -> None:
        import wandb

        self.failed = False
        self._wandb: Any = wandb
        self._tracked = run
        self._system = SystemMetrics()
        self._run: Any = None
        self._is_finished = False

    @refuse_when_failing
    def start(self, facts: Mapping[str, Any]) -> None:
        """Begin the W&B run, or go on with it: settings, facts and environment as its config."""
        known = self._tracked.read_id("wandb")
        tags = [f"{name}={value}" if value else name for name, value in self._tags(facts).items()]
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", "torchloupe"),
            name=self._tracked.folder.name,
            dir=str(self._tracked.folder),
            id=known or None,
            resume="allow" if known else None,
            tags=[tag[:64] for tag in tags],  # W&B takes no longer ones
            settings=self._wandb.Settings(silent=True, console="off"),  # the terminal is ours
        )
        self._tracked.write_id("wandb", str(self._run.id))
        self._run.config.update(
            {**self._tracked.parameters(facts), "environment": self._tracked.environment()},
            allow_val_change=True,
        )

    @drop_when_failing
    def record(self, event: Mapping[str, Any]) -> None:
        """Send the numbers of an event at its step, and the results of the run."""
        if self._run is None:
            return
        if "results" in event:
            self._send_results(event)
        numbers = dict(_measured(event, self._system))
        if numbers:
            self._run.log(numbers, step=int(event["step"]))

    @drop_when_failing
    def close(self) -> None:
        """End the W&B run, as failed unless the run was completed."""
        if self._run is not None:
            self._run.finish(exit_code=0 if self._is_finished else 1)

    def _tags(self, facts: Mapping[str, Any]) -> dict[str, str]:
        """The tags that runs are filtered by; the rest is in the config."""
        kept = ("data", "model", *self._tracked.wanted.tags)
        return {name: value for name, value in self._tracked.tags(facts).items() if name in kept}

    def _send_results(self, event: Mapping[str, Any]) -> None:
        self._run.summary.update(results_of(event["results"]))
        for name, pixels in event["images"].items():
            self._run.log({name: self._wandb.Image(Image.fromarray(pixels))})
        files = self._tracked.model_files()
        if files:
            artifact = self._wandb.Artifact(f"model-{self._run.id}", type="model")
            for file in files:
                artifact.add_file(str(file))
            self._run.log_artifact(artifact)
        self._is_finished = True


_TRACKERS: dict[str, Callable[[TrackedRun], Listener]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WeightsAndBiases,
}


def _measured(event: Mapping[str, Any], system: SystemMetrics) -> Iterator[tuple[str, float]]:
    """The numbers of an event; with a log line of training those of the machine too."""
    yield from numbers_of(event)
    if "train_loss" in event and "step" in event:
        yield from system.read().items()


def _parts(items: list[Any]) -> Iterator[list[Any]]:
    """The items in lists that fit into one request."""
    for start in range(0, len(items), _MOST_AT_ONCE):
        yield items[start : start + _MOST_AT_ONCE]


def _last_step(event: Mapping[str, Any]) -> int:
    return int(event["results"].get("train", {}).get("steps") or 0)


@contextmanager
def _image_files(images: Mapping[str, Any]) -> Iterator[list[Path]]:
    """The images as PNG files of their names, for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="torchloupe-") as folder:
        files = []
        for name, pixels in images.items():
            files.append(Path(folder) / f"{name}.png")
            Image.fromarray(pixels).save(files[-1])
        yield files


def _as_text_block(facts: Mapping[str, Any]) -> str:
    """Facts as an indented block, which Markdown shows as it is: names can't become markup."""
    return "\n".join(f"    {name}: {printable(value, limit=500)}" for name, value in facts.items())
