"""What trackers get besides the events of a run: settings, environment, tags, results.

It reads the run folder and knows no tracker.
"""

import math
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from torchloupe.errors import CheckpointError, Interrupted, Terminated, UsageError, printable
from torchloupe.run.json_files import read_json, write_json
from torchloupe.system.limits import available_memory_bytes, read_status

IDS = "tracking.json"  # the id of this run in each tracker, for a resume
_ODD = re.compile(r"[^\w.\- ]")  # what MLflow refuses in a name
_LONGEST_VALUE = 500


@dataclass(frozen=True)
class Wanted:
    """The content of the setting `track`."""

    trackers: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    model: bool = False  # whether the best weights are uploaded, where a tracker keeps files


def parse_track(words: Sequence[str]) -> Wanted:
    """The parsed words of `mlflow,model,tag:team=vision`; tracker names are not checked here."""
    trackers, tags, model = [], {}, False
    for word in words:
        if word.startswith("tag:"):
            name, _, value = word.removeprefix("tag:").partition("=")
            tags[name.strip()] = value.strip()
        elif word == "model":
            model = True
        else:
            trackers.append(word)
    if "" in tags:
        raise UsageError("track has a tag without a name", "for example track=mlflow,tag:baseline")
    if (tags or model) and not trackers:
        raise UsageError(
            f"track={printable(','.join(words))} names no tracker",
            "add tensorboard, mlflow or wandb",
        )
    return Wanted(tuple(dict.fromkeys(trackers)), tags, model)


@dataclass(frozen=True)
class TrackedRun:
    """A run folder as a tracker sees it."""

    folder: Path
    wanted: Wanted = field(default_factory=Wanted)

    def parameters(self, facts: Mapping[str, Any]) -> dict[str, str]:
        """Every setting by its dotted name, and the facts that are known at the start, as text."""
        settings = self._read("config.json").get("settings", {})
        values = {name: entry["value"] for name, entry in settings.items()}
        return {
            _ODD.sub("_", name): printable(value, limit=_LONGEST_VALUE)
            for name, value in {**values, **facts}.items()
        }

    def environment(self) -> dict[str, Any]:
        """The content of environment.json: versions, command, hardware, git state, data."""
        return self._read("environment.json")

    def tags(self, facts: Mapping[str, Any]) -> dict[str, str]:
        """The user's tags, and data, model, version, command and git state."""
        environment = self.environment()
        git = environment.get("git") or {}
        found = {
            "data": facts.get("data"),
            "model": facts.get("model"),
            "torchloupe": environment.get("versions", {}).get("torchloupe"),
            "command": " ".join(environment.get("command") or ()) or None,
            "git.commit": git.get("commit"),
            "git.changed": git.get("changed"),
            **self.wanted.tags,
        }
        return {
            _ODD.sub("_", name): printable(value, limit=_LONGEST_VALUE)
            for name, value in found.items()
            if value is not None
        }

    def model_files(self) -> list[Path]:
        """The best weights and the files needed to use them, if `track` has `model`."""
        if not self.wanted.model:
            return []
        best = self.folder / "best"
        weights = [best / name for name in ("model.safetensors", "average.safetensors")]
        facts = [self.folder / name for name in ("contract.json", "config.json")]
        return [file for file in (*weights, *facts) if file.is_file()]

    def read_id(self, tracker: str) -> str:
        """The id of this run in `tracker`; "" for a new one."""
        return str(self._read(IDS).get(tracker) or "")

    def write_id(self, tracker: str, value: str) -> None:
        """Store the id for a resume."""
        write_json(self.folder / IDS, {**self._read(IDS), tracker: value})

    def _read(self, name: str) -> dict[str, Any]:
        try:
            content = read_json(self.folder / name)
        except CheckpointError:  # it is optional
            return {}
        return content if isinstance(content, dict) else {}


class SystemMetrics:
    """Processor time and memory of this process, and of the GPU if torch uses one."""

    def __init__(self) -> None:
        self._wall, self._busy = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """The numbers since the last call; costs a few file reads and never waits for the GPU."""
        wall, busy = time.perf_counter(), time.process_time()
        used = (busy - self._busy) / max(wall - self._wall, 1e-9)
        self._wall, self._busy = wall, busy
        found = {
            "system/cpu_percent": 100 * used,  # of one core
            "system/memory_bytes": float(read_status("VmRSS")),
            "system/free_memory_bytes": float(available_memory_bytes()),
        }
        if hasattr(os, "getloadavg"):
            found["system/load"] = os.getloadavg()[0]
        if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            found["system/gpu_memory_bytes"] = float(torch.cuda.memory_allocated())
            found["system/gpu_free_bytes"] = float(torch.cuda.mem_get_info()[0])
        return found


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
        if _is_finite(value) and name not in ("step", "seconds"):
            yield name, float(value)


def results_of(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of metrics.json: `test/accuracy`, `best_val/loss`, `train/seconds` and others."""
    found = {}
    for split, values in metrics.items():
        if not isinstance(values, Mapping):  # verdicts
            continue
        prefix = "best_val" if split == "val" else split
        for name, value in values.items():
            if _is_finite(value):
                found[f"{prefix}/{name}"] = float(value)
        for end, value in zip(("low", "high"), values.get("accuracy_ci95") or (), strict=False):
            found[f"{prefix}/accuracy_{end}"] = float(value)
    return found


def outcome_of(finished: bool) -> str:
    """FINISHED, KILLED (by Ctrl-C or SIGTERM) or FAILED, for a run that is being closed."""
    if finished:
        return "FINISHED"
    error = sys.exc_info()[1]
    stopped = isinstance(error, (KeyboardInterrupt, Interrupted, Terminated))
    return "KILLED" if stopped or not isinstance(error, Exception) else "FAILED"


def _is_finite(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value)
