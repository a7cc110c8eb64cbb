"""The training in curves: losses, metrics, rates and the signals of the layers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.trained.history import collect_columns
from torchloupe.units import format_bytes, format_count, format_seconds

MOST_POINTS = 300  # of one curve
MOST_LAYERS = 40  # whose signals are shown
Events = Sequence[Mapping[str, Any]]
Chart = dict[str, Any]
SIGNALS = {
    "mean": "mean of the output",
    "std": "standard deviation of the output",
    "dead_fraction": "dead units",
    "gradient_norm": "norm of the gradient",
    "update_ratio": "update over weights",
}


def describe_training(
    events: Events, metrics: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Chart]] | None:
    """The section on the training and its charts by name; None before the first log line."""
    charts = training_charts(events)
    if not charts:
        return None
    signals, layers = _signal_charts(events)
    titles = {name: chart["title"] for name, chart in charts.items()}
    return {
        "facts": _facts(events, metrics.get("train") or {}),
        "charts": list(titles.items()),
        "signals": bool(layers),
        "layers": layers[:MOST_LAYERS],
        "more_layers": max(0, len(layers) - MOST_LAYERS),
    }, charts | signals


def training_charts(events: Events) -> dict[str, Chart]:
    """Loss, metrics, learning rate and speed over epochs; what was never measured is left out."""
    columns = collect_columns(events)
    best = columns["epoch"][columns["best"]]
    marks = [{"x": float(best[-1]), "label": "best"}] if len(best) else []
    monitored = [
        name
        for name in columns
        if name.startswith("val_") and name != "val_loss" and np.isfinite(columns[name]).any()
    ]
    units = {name: "%" for name in monitored if _is_share(columns[name])}
    wanted: dict[str, tuple[str, str, str, dict[str, str]]] = {
        "loss": ("loss", "loss", "", {"train_loss": "train", "val_loss": "val"}),
        **{
            f"curve-{name}": (spell(name), spell(name), units.get(name, ""), {name: "val"})
            for name in monitored
        },
        "lr": ("learning rate", "learning rate", "", {"lr": "learning rate"}),
        "speed": ("images per second", "images/s", "", {"images_per_second": "images/s"}),
    }
    charts = {}
    for key, (title, label, unit, lines) in wanted.items():
        series = [
            line
            for number, (column, name) in enumerate(lines.items())
            if (line := _series(name, columns["epoch"], columns.get(column), number))
        ]
        if series:
            charts[key] = {
                "kind": "lines",
                "title": title,
                "x": {"label": "epoch"},
                "y": {"label": label, "unit": unit, **({"from": 0} if key == "speed" else {})},
                "series": series,
                "marks": marks if key == "loss" or key.startswith("curve-") else [],
            }
    return charts


def spell(name: str) -> str:
    """`val_accuracy` as words."""
    return name.replace("_", " ")


def _is_share(values: NDArray[Any]) -> bool:
    known = values[np.isfinite(values)]
    return bool(len(known) and known.min() >= 0 and known.max() <= 1)


def _series(
    name: str, x: NDArray[Any], y: NDArray[Any] | None, colour: int = 0
) -> dict[str, Any] | None:
    """The points that were measured, thinned; None for no point."""
    if y is None:
        return None
    places = np.flatnonzero(np.isfinite(y) & np.isfinite(x))
    if not len(places):
        return None
    if len(places) > MOST_POINTS:
        places = places[np.linspace(0, len(places) - 1, MOST_POINTS).round().astype(int)]
    return {"name": name, "x": x[places].tolist(), "y": y[places].tolist(), "colour": colour}


def _signal_charts(events: Events) -> tuple[dict[str, Chart], list[dict[str, Any]]]:
    """Small charts of the signals of each layer, and the layers with the names of theirs."""
    known = [event for event in events if event.get("signals")]
    names = list(dict.fromkeys(layer for event in known for layer in event["signals"]))
    charts: dict[str, Chart] = {}
    layers = []
    for number, layer in enumerate(names):
        own = []
        for signal, title in SIGNALS.items() if number < MOST_LAYERS else ():
            points = [
                (event["epoch"], event["signals"][layer].get(signal))
                for event in known
                if layer in event["signals"]
            ]
            measured = [(x, y) for x, y in points if isinstance(y, (int, float))]
            x, y = (
                (np.array(part, dtype=np.float64) for part in zip(*measured, strict=True))
                if (measured)
                else (np.zeros(0), np.zeros(0))
            )
            line = _series(signal, x, y)
            if line:
                key = f"signal-{number}-{signal}"
                own.append((key, title))
                charts[key] = {
                    "kind": "lines",
                    "small": True,
                    "title": f"{title}, layer {layer}",
                    "x": {"label": "epoch"},
                    "y": {"label": "", "unit": "%" if signal == "dead_fraction" else ""},
                    "series": [line],
                }
        layers.append({"name": layer, "charts": own})
    return charts, layers


def _facts(events: Events, spent: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the training took, in words."""
    facts = []
    if spent.get("seconds") is not None:
        facts.append(("time", format_seconds(spent["seconds"])))
    if spent.get("steps") is not None:
        steps = f"{spent['steps']:,}"
        if spent.get("skipped_steps"):
            steps += f", {spent['skipped_steps']:,} of them not applied"
        facts.append(("steps", steps))
    if spent.get("images_per_second"):
        facts.append(("speed", f"{format_count(spent['images_per_second'])} images/s"))
    peaks = (spent.get("memory") or {}).get("peak_bytes") or {}
    if peaks:
        words = ", ".join(f"{name} {format_bytes(size)}" for name, size in peaks.items())
        facts.append(("memory at most", words))
    bad = sum(1 for event in events if event.get("bad_step"))
    if bad:
        facts.append(("steps without a finite loss", f"{bad:,}"))
    best = [event for event in events if event.get("best")]
    if best and isinstance(best[-1].get("epoch"), (int, float)):
        facts.append(("best checkpoint", f"after epoch {best[-1]['epoch']:.4g}"))
    return facts
