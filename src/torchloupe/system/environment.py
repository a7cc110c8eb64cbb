"""Where a run came from: versions, machine, code state and data identity, for environment.json.

Environment variables are never written: they hold secrets.
"""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

_PACKAGES = (
    *("torchloupe", "torch", "torchvision", "timm", "numpy", "pillow", "simplejpeg"),
    *("safetensors", "scikit-learn"),
)


def describe_environment(
    device: torch.device, data: Mapping[str, Any], ranks: int = 1
) -> dict[str, Any]:
    """The content of environment.json; `data` holds the fingerprint and the sizes of the splits."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "folder": str(Path.cwd()),
        "versions": {"python": platform.python_version(), **package_versions()},
        "hardware": {**describe_hardware(device), "ranks": ranks},
        "git": read_git_state(),
        "data": dict(data),
    }


def package_versions() -> dict[str, str]:
    """Versions of the packages that decide a run's numbers."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def describe_hardware(device: torch.device) -> dict[str, Any]:
    """The machine as far as results and speed depend on it."""
    return {
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "machine": platform.machine(),
        "system": platform.system(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def read_git_state() -> dict[str, Any] | None:
    """The commit of the current folder and whether files were changed since; None outside git."""
    git = shutil.which("git")
    if git is None:
        return None

    def ask(*words: str) -> str | None:
        try:
            done = subprocess.run(
                [git, *words], capture_output=True, text=True, timeout=5, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = ask("rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "changed": bool(ask("status", "--porcelain", "--untracked-files=no"))}
