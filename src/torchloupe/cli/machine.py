"""The facts of `loupe info`: versions, devices, number formats, threads, cache."""

import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.text import Text

from torchloupe.cli.text import align
from torchloupe.errors import printable
from torchloupe.hardware.device import choose_device
from torchloupe.hardware.precision import choose_precision, formats_of
from torchloupe.recipes.machine import STEP_IMAGES, STEP_PIXELS, WIDTH, MachineProfile
from torchloupe.speed.machine import profile_path, read_profile
from torchloupe.system.cache import find_cache
from torchloupe.system.environment import package_versions
from torchloupe.system.limits import (
    available_memory_bytes,
    memory_limit_bytes,
    processor_facts,
    usable_cores,
)
from torchloupe.units import format_bytes, plural


def look_at_machine() -> dict[str, Any]:
    """The facts, as `loupe info --json` prints them."""
    choice = choose_device("auto")
    precision, why = choose_precision("auto", choice.device)
    cache, path = find_cache(), profile_path()
    profile = None if path is None else read_profile(path)
    return {
        "versions": {"python": platform.python_version(), **package_versions()},
        "devices": list(_devices()),
        "auto": {
            "device": str(choice.device),
            "device_reason": choice.reason,
            "precision": precision,
            "precision_reason": why,
        },
        "threads": {"torch": torch.get_num_threads(), "cores": usable_cores()},
        "profile": None if profile is None else profile.to_facts(),
        "cache": {
            "folder": None if cache is None else str(cache),
            "bytes": 0 if cache is None else sum(_sizes(cache)),
        },
    }


def describe_machine(facts: dict[str, Any]) -> Text:
    """The facts as text."""
    versions, auto = facts["versions"], facts["auto"]
    words = [f"{name} {version}" for name, version in versions.items()]
    rows = [
        ["versions" if start == 0 else "", "  ".join(words[start : start + 5])]
        for start in range(0, len(words), 5)
    ]
    for device in facts["devices"]:
        words = [
            device["name"],
            f"{format_bytes(device['memory_bytes'])} of memory, "
            f"{format_bytes(device['free_bytes'])} free",
        ]
        words.append(", ".join(device["formats"]))
        rows.append([device["device"], "; ".join(printable(word) for word in words if word)])
    rows += [
        ["auto", f"{auto['device']} ({auto['device_reason']})"],
        ["", f"{auto['precision']} ({auto['precision_reason']})"],
        ["threads", f"{facts['threads']['torch']} of {facts['threads']['cores']} cores"],
        ["profile", describe_profile(facts["profile"])],
        [
            "cache",
            "none: this user has no home folder"
            if facts["cache"]["folder"] is None
            else f"{printable(facts['cache']['folder'])}, {format_bytes(facts['cache']['bytes'])}",
        ],
    ]
    return align(rows)


def describe_profile(facts: dict[str, Any] | None) -> str:
    """One line on the profile of this machine (`loupe probe --refresh` measures it anew)."""
    if facts is None:
        return "not measured yet: the first training on the CPU does, or loupe probe --refresh"
    profile = MachineProfile.from_facts(facts)
    step = profile.best_step()
    words = [f"{STEP_IMAGES / step.seconds:,.0f} images/s with {plural(step.threads, 'thread')}"]
    words.append("channels_last" if step.channels_last else "contiguous images")
    words.append(f"Muon {100 * profile.muon_fraction(STEP_PIXELS, WIDTH):.0f} % of a step")
    return ", ".join(words) + f" (64 digits of 8x8, residual net of width {WIDTH})"


def _devices() -> Iterator[dict[str, Any]]:
    cpu = torch.device("cpu")
    yield {
        "device": "cpu",
        "name": _processor_name(),
        "memory_bytes": memory_limit_bytes(),
        "free_bytes": available_memory_bytes(),
        "formats": _spell_formats(cpu),
    }
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        device = torch.device("cuda", index)
        free, total = torch.cuda.mem_get_info(device)
        yield {
            "device": f"cuda:{index}",
            "name": torch.cuda.get_device_name(device),
            "memory_bytes": total,
            "free_bytes": free,
            "formats": _spell_formats(device),
        }
    if torch.backends.mps.is_available():
        total = torch.mps.recommended_max_memory()
        yield {
            "device": "mps",
            "name": "Apple GPU",
            "memory_bytes": total,
            "free_bytes": total - torch.mps.driver_allocated_memory(),
            "formats": _spell_formats(torch.device("mps")),
        }


def _spell_formats(device: torch.device) -> list[str]:
    return [f"{name} ({word})" if word else name for name, word in formats_of(device).items()]


def _processor_name() -> str:
    return processor_facts().get("model name") or platform.processor() or platform.machine()


def _sizes(folder: Path) -> Iterator[int]:
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                yield (Path(parent) / name).lstat().st_size
            except OSError:
                continue
