"""What a run on many ranks needs, from unit costs measured here: memory, start-up, checkpoints.

    python benchmarks/scaling.py                 # all tables, about two minutes
    python benchmarks/scaling.py --ranks 1,64    # other numbers of ranks

Ranks are simulated: the part of every batch that each would read is computed as a run computes it,
and so many clients meet at one store, as they do when a run starts. What follows from it for more
images is calculated, and the tables say so.
"""

import argparse
import multiprocessing
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
from shards import ROOT, make_index, resident, say

BATCH_OF_RANK, SHARDS, IMAGES = 32, 4_000, 1_000_000
SHARD_BYTES, IMAGE_BYTES = 256e6, 99e3  # of the calculated sets: JPEGs of 500 x 375
AHEAD = 64  # batches whose shards a rank fetches
GATHERED = 2**27  # bytes of the tensor that ranks gather


def measure_table() -> tuple[float, float]:
    """Bytes and processor seconds a sample of what every rank holds of a set."""
    from torchloupe.data.feeds.shard_order import ShardOrder
    from torchloupe.data.shards.index import read_index, write_index
    from torchloupe.system.counter_rng import make_keys

    index = make_index(IMAGES, SHARDS)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "index"
        write_index(path, index)
        size = path.stat().st_size
        before, clock = resident(), time.process_time()
        again = read_index(path)
        keys = make_keys(again.ids)
        shard_keys = make_keys(one.name for one in again.shards)
        places = again.places[:, 0]
        order = ShardOrder(np.arange(IMAGES), keys, 1024, 0, places, shard_keys, (8, 4))
        order.batch(0)
        seconds, held = time.process_time() - clock, resident() - before
    say(
        "index, keys, order",
        f"{size / IMAGES:.0f} bytes a sample on disk, {held / IMAGES:.0f} in memory, "
        f"{seconds / IMAGES * 1e6:.2f} us of processor time",
    )
    return held / IMAGES, seconds / IMAGES


def measure_start() -> float:
    """Processor seconds of a process that imports the package with torch, median of 3."""
    found = []
    code = "import torch, torchloupe; torchloupe.fit"
    environment = {"PYTHONPATH": str(ROOT / "src")}
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    say("imports", f"{np.median(found):.2f} s of processor time")
    return float(np.median(found))


def measure_meeting(ranks: int) -> float:
    """Seconds until `ranks` clients of one store have met: each says it is here, and waits.

    They are connected before: looking up names takes what the network's resolver takes.
    """
    import torch.distributed as dist

    limit = timedelta(seconds=120)
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=limit)
    connected = threading.Barrier(ranks + 1)

    def meet() -> None:
        own = dist.TCPStore("127.0.0.1", store.port, is_master=False, timeout=limit)
        connected.wait()
        if own.add("here", 1) == ranks:
            own.set("all", "1")
        own.wait(["all"])

    threads = [threading.Thread(target=meet) for _ in range(ranks)]
    for thread in threads:
        thread.start()
    connected.wait()
    clock = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - clock


class Costs(NamedTuple):
    """Seconds that a gigabyte of a checkpoint takes, by the clock."""

    snapshot: float  # copied, so that later steps can't change it
    build: float  # put in files in memory, with their SHA-256
    disk: float  # written and flushed


def measure_checkpoint() -> Costs:
    """What a checkpoint costs rank 0, median of 3."""
    import torch

    from torchloupe.distributed.parallel import snapshot
    from torchloupe.run.checkpoint import write_checkpoint

    weights = {str(k): torch.randn(2**20) for k in range(64)}
    size, found = 4 * 64 * 2**20, []
    blob = os.urandom(size)
    with tempfile.TemporaryDirectory(dir=os.environ.get("SHARDS_TMP")) as scratch:
        for step in range(3):
            clocks = [time.perf_counter()]
            copied = snapshot(weights)
            clocks.append(time.perf_counter())
            write_checkpoint(Path(scratch), step, {"model": copied, "state": {"step": step}})
            clocks.append(time.perf_counter())
            with (Path(scratch) / "blob").open("wb") as file:
                file.write(blob)
                file.flush()
                os.fsync(file.fileno())
            clocks.append(time.perf_counter())
            found.append(np.diff(clocks) / size * 1e9)
    snapshot, written, disk = np.median(found, axis=0).tolist()
    say(
        "checkpoint",
        f"a GB: copied in {snapshot:.2f} s, written with its SHA-256 in {written:.2f} s, of which "
        f"the disk takes about {disk:.2f} s",
    )
    return Costs(snapshot, max(0.0, written - disk), disk)


def gather_as_one_of(ranks: int, rank: int, port: int, answers) -> None:
    """One rank: what gathering sharded tensors takes, as a checkpoint of FSDP2 gathers them."""
    import torch
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    from torchloupe.distributed.parallel import whole

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks
    )
    mesh = init_device_mesh("cpu", (ranks,))
    found = []
    for count, rounds in ((GATHERED // 4, 3), (ranks, 20)):
        sharded = distribute_tensor(torch.zeros(count), mesh, [Shard(0)])
        whole(sharded)
        took = []
        for _ in range(rounds):
            dist.barrier()
            clock = time.perf_counter()
            whole(sharded)
            took.append(time.perf_counter() - clock)
        found.append(float(np.median(took)))
    if rank == 0:
        answers.put(found)
    dist.barrier()
    dist.destroy_process_group()


def measure_gather() -> tuple[float, float, float]:
    """Seconds a GB that a rank receives; of a tensor: seconds, and seconds more for each rank."""
    context = multiprocessing.get_context("spawn")
    sizes, latencies, rates = (2, 4, 8), [], []
    for ranks in sizes:
        answers = context.SimpleQueue()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        children = [
            context.Process(target=gather_as_one_of, args=(ranks, rank, port, answers))
            for rank in range(ranks)
        ]
        for child in children:
            child.start()
        large, small = answers.get()
        for child in children:
            child.join()
        received = GATHERED * (ranks - 1) / ranks
        share = min(1, (os.cpu_count() or 1) / ranks)  # as if each rank had a core of its own
        rates.append((large - small) / received * 1e9 * share)
        latencies.append(small * share)
        say(
            f"gathering, {ranks} ranks",
            f"{GATHERED / 1e6:.0f} MB in {large:.3f} s, a small tensor in {small * 1e3:.2f} ms, "
            f"all ranks on {os.cpu_count()} cores",
        )
    more, once = np.polyfit(sizes, latencies, 1).tolist()
    return float(np.median(rates)), max(0.0, once), max(0.0, more)


def calculate_checkpoints(
    asked: list[int], costs: Costs, gather: tuple[float, float, float]
) -> None:
    """How long training stands still for a checkpoint, and when it is on disk."""
    each, once, more = gather
    print(
        "\ncalculated: a checkpoint with Adam, 12 bytes a parameter; training stands still while "
        "it is gathered and copied, and rank 0 then writes it beside training"
    )
    for millions, tensors in ((25, 161), (100, 300), (1000, 500)):
        size = 12e6 * millions / 1e9
        writing = size * (costs.build + costs.disk)
        say(
            f"{millions}M parameters, ddp",
            f"{size:.1f} GB: still for {words(size * costs.snapshot)}, on disk {words(writing)} "
            "later, for any number of ranks",
        )
        pauses = [
            size * each * (n - 1) / n + 3 * tensors * (once + more * n) + size * costs.snapshot
            for n in asked
            if n > 1
        ]
        listed = ", ".join(
            f"{n:,}: {words(pause)}"
            for n, pause in zip([n for n in asked if n > 1], pauses, strict=True)
        )
        say(f"{millions}M parameters, fsdp", f"still, by ranks: {listed}")


def simulate_reading(ranks: int, lanes: int) -> tuple[float, float, bool]:
    """Of an epoch: how often a shard is fetched, how many a rank holds, and if nothing is lost."""
    from torchloupe.data.feeds.rank_share import RankShare
    from torchloupe.data.feeds.shard_order import ShardOrder
    from torchloupe.system.counter_rng import make_keys

    shard_of = np.arange(IMAGES) * SHARDS // IMAGES
    keys = np.random.default_rng(0).integers(0, 2**63, IMAGES, dtype=np.uint64)
    shard_keys = make_keys(f"{k}.tar" for k in range(SHARDS))
    batch = BATCH_OF_RANK * ranks
    order = ShardOrder(np.arange(IMAGES), keys, batch, 0, shard_of, shard_keys, (lanes, 4))
    rows = order.epoch_rows(0)
    steps = len(rows) // batch
    parts = rows[: steps * batch].reshape(steps, batch)
    shares = [RankShare(rank, ranks).span(batch) for rank in range(ranks)]
    seen = np.zeros(IMAGES, dtype=np.int64)
    fetched, held = 0, []
    for share in shares:
        own = parts[:, share]
        seen[own.ravel()] += 1
        shards = shard_of[own]
        fetched += len(np.unique(shards))
        held.append(len(np.unique(shards[: min(steps, AHEAD)])))
    seen[rows[steps * batch :]] += 1  # the last, smaller batch
    return fetched / SHARDS, float(np.mean(held)), bool((seen == 1).all())


def words(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def main() -> None:
    """Measure, simulate, and calculate."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--ranks", default="1,8,64,256,1000")
    asked = [int(word) for word in options.parse_args().ranks.split(",")]
    os.environ["TORCH_CPP_LOG_LEVEL"] = "ERROR"  # a line for each name that has no address
    print("measured")
    table_bytes, table_seconds = measure_table()
    start, checkpoint, gather = measure_start(), measure_checkpoint(), measure_gather()
    meetings = {ranks: measure_meeting(ranks) for ranks in asked}
    print(
        f"\nsimulated: {IMAGES:,} images, {SHARDS:,} shards, {BATCH_OF_RANK} images a rank a step"
    )
    for ranks in asked:
        for lanes in sorted({8, max(8, ranks)}):
            often, held, whole = simulate_reading(ranks, lanes)
            say(
                f"{ranks:,} ranks, {lanes:,} lanes",
                f"a shard is fetched {often:.1f} times an epoch, a rank uses {held:.0f} shards in "
                f"{AHEAD} steps, each image {'once' if whole else 'NOT once'}; "
                f"they met in {meetings[ranks]:.2f} s",
            )
    print("\ncalculated: memory of a rank, and start of a run to its first order, by ranks")
    for power in (6, 7, 8, 9):
        images = 10**power
        memory = table_bytes * images
        shards = images * IMAGE_BYTES / SHARD_BYTES
        starts = [start + meetings[n] + table_seconds * images for n in asked]
        listed = ", ".join(f"{n:,}: {words(one)}" for n, one in zip(asked, starts, strict=True))
        say(f"10^{power} images", f"{shards:,.0f} shards, {memory / 1e9:.2f} GB; {listed}")
    calculate_checkpoints(asked, checkpoint, gather)


if __name__ == "__main__":
    main()
