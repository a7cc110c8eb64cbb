"""Checkpoints of FSDP2 in parts beside gathered ones: memory of rank 0, pause, time to the disk.

    python benchmarks/parts.py                          # 300 MB of weights with Adam, 2 to 4 ranks
    python benchmarks/parts.py --megabytes 30 --ranks 2

All ranks are processes of this machine (CPU, gloo), new ones for each line. A peak is the resident
memory above that before the checkpoint; a gathered one is what ranks without a common disk write.
"""

import argparse
import multiprocessing
import os
import re
import socket
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from shards import say

WIDTH = 2048  # of each layer: 16.8 MB of weights


class Costs(NamedTuple):
    """What one checkpoint took."""

    peak: float  # rank 0's memory above that before, as a share of all weights and moments
    pause: float  # seconds that training stood still
    disk: float  # seconds from the start until it counted
    resume: float  # seconds to read it on as many ranks
    resume_peak: float  # rank 0's memory above that before, while reading, as a share


def memory(name: str) -> int:
    """Bytes of a line of this process's memory."""
    text = Path("/proc/self/status").read_text()
    found = re.search(rf"{name}:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1]) * 1024


def forget_peak() -> int:
    """The resident memory now, from which the peak counts."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def be_rank(
    rank: int, ranks: int, port: int, folder: Path, layers: int, in_parts: bool, answers
) -> None:
    """One rank: a step, a checkpoint, and a state read from it."""
    import torch

    from torchloupe.distributed.parallel import make_parallel
    from torchloupe.distributed.world import join
    from torchloupe.hardware.precision import Precision
    from torchloupe.run.folder import RunFolder
    from torchloupe.run.parts import make_parts, read_newest
    from torchloupe.run.state import State

    torch.set_num_threads(1)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank)}
    os.environ.update(place, RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_WORLD_SIZE=str(ranks))
    with join(torch.device("cpu")) as world:
        model = torch.nn.Sequential(*(torch.nn.Linear(WIDTH, WIDTH) for _ in range(layers)))
        total = 12 * sum(parameter.numel() for parameter in model.parameters())
        parallel = make_parallel(model, world, "fsdp")
        optimizer = torch.optim.Adam(model.parameters())
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        optimizer.zero_grad()
        state = State(model, optimizer, Precision("fp32", torch.device("cpu")))
        with RunFolder(folder, ranks=world.size, writes=world.leads) as run:
            run.parts = make_parts(folder, parallel)[0] if in_parts else None
            world.wait()
            before, clock = forget_peak(), time.perf_counter()
            run.save(state)
            pause = time.perf_counter() - clock
            run.finish_saving()
            disk, peak = time.perf_counter() - clock, memory("VmHWM") - before
            world.wait()
            before, clock = forget_peak(), time.perf_counter()
            state.load(read_newest(run.checkpoints, world, run.parts)[0])
            resume = time.perf_counter() - clock
            resume_peak = memory("VmHWM") - before
        if world.leads:
            answers.put(Costs(peak / total, pause, disk, resume, resume_peak / total))


def measure(ranks: int, layers: int, in_parts: bool) -> Costs:
    """What a checkpoint of so many layers takes."""
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(dir=os.environ.get("SHARDS_TMP")) as folder:
        facts = (ranks, port, Path(folder), layers, in_parts, answers)
        children = [context.Process(target=be_rank, args=(rank, *facts)) for rank in range(ranks)]
        for child in children:
            child.start()
        found: Costs = answers.get()
        for child in children:
            child.join()
    return found


def main() -> None:
    """Measure each number of ranks, gathered and in parts."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--megabytes", type=float, default=300, help="of weights")
    options.add_argument("--ranks", default="2,3,4")
    asked = options.parse_args()
    os.environ["TORCH_CPP_LOG_LEVEL"] = "ERROR"  # a line for each name that has no address
    layers = max(1, round(asked.megabytes * 1e6 / (4 * WIDTH * (WIDTH + 1))))
    size = 12 * layers * WIDTH * (WIDTH + 1)
    print(f"weights and moments of {size / 1e6:,.0f} MB, {os.cpu_count()} cores")
    for ranks in (int(word) for word in asked.ranks.split(",")):
        for in_parts in (False, True):
            costs = measure(ranks, layers, in_parts)
            say(
                f"{ranks} ranks, {'in parts' if in_parts else 'gathered'}",
                f"rank 0 needs {100 * costs.peak:.0f} % of them more, training stands still for "
                f"{costs.pause:.2f} s, on disk after {costs.disk:.2f} s; read in "
                f"{costs.resume:.2f} s with {100 * costs.resume_peak:.0f} % more",
            )


if __name__ == "__main__":
    main()
