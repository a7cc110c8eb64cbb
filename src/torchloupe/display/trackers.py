"""Trackers: the events of a run sent to TensorBoard, MLflow or Weights & Biases.

Each has the shape of a Listener. Their packages come with the `track` extra and are imported
when a tracker is made, never before. A tracker that fails later is dropped with a warning:
the run itself has every event on disk.
"""

import functools
import math
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from torchloupe.errors import UsageError, did_you_mean, printable
from torchloupe.run.listener import Listener

Method = TypeVar("Method", bound=Callable[..., None])


def make_trackers(names: Sequence[str], run_folder: Path) -> list[Listener]:
    """A listener for each of "tensorboard", "mlflow", "wandb".

    Raises UsageError where one can't be had, as its `start` does.

    All of them write below `run_folder`, unless the environment names a server of the user's
    (MLFLOW_TRACKING_URI, WANDB_MODE and WANDB_BASE_URL).
    """
    unknown = [name for name in names if name not in _TRACKERS]
    if unknown:
        raise UsageError(
            f"there is no tracker {', '.join(printable(name) for name in unknown)}",
            did_you_mean(unknown[0], _TRACKERS),
        )
    return [_make(name, run_folder) for name in dict.fromkeys(names)]


def _make(name: str, run_folder: Path) -> Listener:
    try:
        return _TRACKERS[name](run_folder)
    except ImportError as error:
        raise UsageError(
            f"tracking with {name} needs a package that is not here ({printable(error)})",
            "pip install 'torchloupe[track]', or leave it out of --set track=...",
        ) from None
    except Exception as error:
        raise _refusal(name, error) from error


def _refusal(name: str, error: Exception) -> UsageError:
    return UsageError(
        f"{name} can't track this run: {printable(error)}",
        "check its settings and environment variables, or leave it out of --set track=...",
    )


def _refuse_when_failing(method: Method) -> Method:
    """`method`, before the first step, with the tracker's own errors as a UsageError."""

    @functools.wraps(method)
    def carefully(self: Any, *arguments: Any) -> None:
        try:
            method(self, *arguments)
        except Exception as error:
            self.failed = True
            raise _refusal(type(self).__name__, error) from error

    return carefully  # type: ignore[return-value]


def _drop_when_failing(method: Method) -> Method:
    """`method`, with the first error of a tracker as a warning and silence afterwards."""

    @functools.wraps(method)
    def carefully(self: Any, *arguments: Any) -> None:
        if self.failed:
            return
        try:
            method(self, *arguments)
        except Exception as error:
            self.failed = True
            warnings.warn(
                f"{type(self).__name__} stopped tracking: {printable(error)}; "
                "events.jsonl has everything",
                RuntimeWarning,
                stacklevel=2,
            )

    return carefully  # type: ignore[return-value]


class TensorBoard:
    """Scalars and a text page of facts, below RUN/tensorboard."""

    def __init__(self, run_folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.failed = False
        self._make_writer: Callable[..., Any] = SummaryWriter
        self._folder = str(run_folder / "tensorboard")
        self._writer: Any = None

    @_refuse_when_failing
    def start(self, facts: Mapping[str, Any]) -> None:
        """Open the log; events that a resumed run does again replace the old ones."""
        step = int(facts.get("start_step") or 0)
        self._writer = self._make_writer(self._folder, purge_step=step + 1 if step else None)
        self._writer.add_text("run", _as_text_block(facts), global_step=step)

    @_drop_when_failing
    def record(self, event: Mapping[str, Any]) -> None:
        """Write the numbers of an event at its step."""
        if self._writer is None:
            return
        for name, value in numbers_of(event):
            self._writer.add_scalar(name, value, global_step=event["step"])

    @_drop_when_failing
    def close(self) -> None:
        """Flush and close the log."""
        if self._writer is not None:
            self._writer.close()


class MLflow:
    """Metrics and parameters of one MLflow run, through its client and no process-wide state.

    Written to a database in RUN/mlflow, or to the server that MLFLOW_TRACKING_URI names. MLflow's
    own usage statistics are turned off unless the environment says otherwise.
    """

    def __init__(self, run_folder: Path) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self.failed = False
        self._metric, self._parameter = Metric, Param
        self._name = run_folder.name
        folder = run_folder / "mlflow"
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

    @_refuse_when_failing
    def start(self, facts: Mapping[str, Any]) -> None:
        """Begin the MLflow run with the facts as parameters."""
        self._run = self._client.create_run(self._experiment, run_name=self._name).info.run_id
        self._client.log_batch(
            self._run,
            params=[
                self._parameter(name, printable(value, limit=500)) for name, value in facts.items()
            ],
        )

    @_drop_when_failing
    def record(self, event: Mapping[str, Any]) -> None:
        """Send the numbers of an event at its step."""
        numbers = list(numbers_of(event))
        if self._run and numbers:
            moment = round(1000 * time.time())
            self._client.log_batch(
                self._run,
                metrics=[
                    self._metric(name, value, moment, int(event["step"])) for name, value in numbers
                ],
            )

    @_drop_when_failing
    def close(self) -> None:
        """End the MLflow run."""
        if self._run:
            self._client.set_terminated(self._run)


class WeightsAndBiases:
    """One W&B run, its files below RUN/wandb; WANDB_MODE=offline keeps all of it there."""

    def __init__(self, run_folder: Path) -> None:
        import wandb

        self.failed = False
        self._wandb: Any = wandb
        self._folder = run_folder
        self._run: Any = None

    @_refuse_when_failing
    def start(self, facts: Mapping[str, Any]) -> None:
        """Begin the W&B run with the facts as its config."""
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", "torchloupe"),
            name=self._folder.name,
            dir=str(self._folder),
            settings=self._wandb.Settings(silent=True, console="off"),  # the terminal is ours
            config={name: printable(value, limit=500) for name, value in facts.items()},
        )

    @_drop_when_failing
    def record(self, event: Mapping[str, Any]) -> None:
        """Send the numbers of an event at its step."""
        numbers = dict(numbers_of(event))
        if self._run is not None and numbers:
            self._run.log(numbers, step=int(event["step"]))

    @_drop_when_failing
    def close(self) -> None:
        """End the W&B run."""
        if self._run is not None:
            self._run.finish()


_ODD = re.compile(r"[^\w.\- ]")  # what MLflow refuses in a name

_TRACKERS: dict[str, Callable[[Path], Listener]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WeightsAndBiases,
}


def numbers_of(event: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The finite numbers of an event that has a step, by name; notes and phases have none.

    Signals of layers are named `mean/conv1`, `std/conv1` and so on.
    """
    if "step" not in event or "phase" in event:
        return
    signals = {
        f"{name}/{_ODD.sub('_', layer)}": value
        for layer, values in (event.get("signals") or {}).items()
        for name, value in values.items()
    }
    for name, value in {**event, **signals}.items():
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if is_number and name not in ("step", "seconds") and math.isfinite(value):
            yield name, float(value)


def _as_text_block(facts: Mapping[str, Any]) -> str:
    """Facts as an indented block, which Markdown shows as it is: names can't become markup."""
    return "\n".join(f"    {name}: {printable(value, limit=500)}" for name, value in facts.items())
