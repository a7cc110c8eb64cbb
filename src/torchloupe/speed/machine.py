"""The profile of this machine: times of a small training step on its CPU, measured once and kept.

It takes half a second, and is kept in the cache folder under everything that the times depend on:
the processor with its instructions, the cores, torch and this package. A profile that can't be kept
is not used: two equal commands would measure twice, and might choose differently. What one thread
takes is its own processor time, so that a busy machine has the same profile; several threads only
look slower there.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import torchloupe
from torchloupe.errors import ResourceError
from torchloupe.hardware.layout import release, set_memory_format
from torchloupe.hardware.precision import Precision
from torchloupe.hardware.step import forward_backward
from torchloupe.model.optimizers import make_optimizer
from torchloupe.model.zoo import ResidualNet
from torchloupe.recipes.machine import STEP_IMAGES, STEP_SIDE, WIDTH, MachineProfile, StepTime
from torchloupe.speed.trial import as_it_was
from torchloupe.system import files
from torchloupe.system.cache import find_cache
from torchloupe.system.limits import processor_facts, usable_cores
from torchloupe.system.sealed import seal, unseal

ROUNDS = 6  # of all steps in turns, the first of which sets things up; the least time counts
LEAST_ROUNDS = 3
HOPELESS = 4.0  # times as slow as one thread, when set up: other processes have the cores
MEASURING_SECONDS = 0.5  # in all; later rounds are left out
CPU = torch.device("cpu")
CLASSES = 10
# They limit the instructions or the threads that torch and its libraries use.
_VARIABLES = (
    *("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS"),
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS"),
)


def known_profile(*, refresh: bool = False) -> MachineProfile | None:
    """The profile of this machine: the one that is kept, or with `refresh` and where there is
    none a new one; None where it can't be kept.
    """
    path = profile_path()
    if path is None:
        return None
    found = None if refresh else read_profile(path)
    if found is not None:
        return found
    content = {"machine": describe_processor(), "times": measure_profile().to_facts()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace_file(path, seal(content, indent=1))
    except (ResourceError, OSError):
        return None
    return read_profile(path)  # of two processes that measured, both take what was kept last


def profile_path() -> Path | None:
    """The file of this machine's profile, whether it is there or not; None without a cache."""
    cache = find_cache()
    text = json.dumps(describe_processor(), sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    return None if cache is None else cache / "machine" / f"{name}.json"


def read_profile(path: Path) -> MachineProfile | None:
    """The profile in this file; None for a missing, damaged or foreign one."""
    try:
        content, is_whole = unseal(path.read_bytes(), indent=1)
        if not is_whole or content["machine"] != describe_processor():
            return None
        return MachineProfile.from_facts(content["times"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def describe_processor() -> dict[str, Any]:
    """Everything that the times of a step on the CPU depend on, as far as it is known."""
    return {
        "processor": _processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": usable_cores(),
        "limits": {name: os.environ[name] for name in _VARIABLES if os.environ.get(name)},
        "torch": str(torch.__version__),
        "torchloupe": torchloupe.__version__,
    }


def _processor() -> str:
    """The model and the instructions of the first core, as the kernel tells them."""
    fields = processor_facts()
    if not fields:
        return os.uname().machine if hasattr(os, "uname") else ""
    flags = fields.get("flags", fields.get("Features", ""))
    digest = hashlib.sha256(" ".join(sorted(flags.split())).encode()).hexdigest()[:16]
    return f"{fields.get('model name', '')} {digest}".strip()


def thread_numbers(environment: Mapping[str, str]) -> list[int]:
    """The numbers of threads to try: one, half of the cores (each may count twice) and all."""
    asked = environment.get("OMP_NUM_THREADS", "")
    most = min(usable_cores(), int(asked)) if asked.isdigit() and int(asked) else usable_cores()
    return sorted({1, max(1, most // 2), most})


def measure_profile() -> MachineProfile:
    """Time the step in each way, in turns; neither threads nor random numbers stay changed."""
    began = time.perf_counter()
    with as_it_was(CPU):
        torch.default_generator.manual_seed(0)
        images = torch.rand(STEP_IMAGES, STEP_SIDE, STEP_SIDE, 1).permute(0, 3, 1, 2)
        labels = torch.arange(STEP_IMAGES) % CLASSES
        models = {last: _make_net(last) for last in (True, False)}
        cases = [(n, last) for n in thread_numbers(os.environ) for last in models]
        took: dict[tuple[int, bool], list[float]] = {case: [] for case in cases}
        for number in range(ROUNDS):
            for case in cases:
                took[case].append(_time_step(models[case[1]], images, labels, case[0]))
            if not number:
                most = HOPELESS * max(took[1, last][0] for last in models)
                cases = [case for case in cases if case[0] == 1 or took[case][0] < most]
            is_late = time.perf_counter() - began > MEASURING_SECONDS
            if number + 1 >= LEAST_ROUNDS and is_late:
                break
        torch.set_num_threads(1)
        updates = {name: _time_update(name, models[True], images, labels) for name in _UPDATES}
    steps = tuple(StepTime(*case, min(took[case][1:])) for case in cases)
    return MachineProfile(steps, updates["muon"], updates["adamw"])


_UPDATES = ("muon", "adamw")


def _make_net(channels_last: bool) -> nn.Module:
    net = ResidualNet(in_channels=1, classes=CLASSES, width=WIDTH).train()
    set_memory_format(net, channels_last)
    return net


def _time_step(net: nn.Module, images: torch.Tensor, labels: torch.Tensor, threads: int) -> float:
    """Seconds of one forward and backward; of one thread those that it had the processor."""
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    clock = time.thread_time if threads == 1 else time.perf_counter
    start = clock()
    forward_backward(net, images, labels, F.cross_entropy, Precision("fp32", CPU))
    took = clock() - start
    net.zero_grad(set_to_none=True)
    return took


def _time_update(name: str, net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Seconds of one update of all weights by the optimizer of that name; the least of some."""
    options = {"fused": True} if name == "adamw" else {}
    optimizer = make_optimizer(name, net, lr=1e-6, options=options)
    precision = Precision("fp32", CPU)
    forward_backward(net, images, labels, F.cross_entropy, precision)
    took = []
    for _ in range(LEAST_ROUNDS + 1):
        start = time.thread_time()
        optimizer.step()
        took.append(time.thread_time() - start)
    net.zero_grad(set_to_none=True)
    release(net)
    return min(took)
