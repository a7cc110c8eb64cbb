"""What a run on many ranks needs, from unit costs measured here: memory, start-up, checkpoints.

    python benchmarks/scaling.py                 # all tables, about two minutes
    python benchmarks/scaling.py --ranks 1,64    # other numbers of ranks

Ranks are simulated: the part of every batch that each would read is computed as a run computes it,
and so many clients meet at one store, as they do when a run starts. What follows from it for more
images is calculated, and the tables say so.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
from shards import ROOT, make_index, resident, say

BATCH_OF_RANK, SHARDS, IMAGES = 32, 4_000, 1_000_000
SHARD_BYTES, IMAGE_BYTES = 256e6, 99e3  # of the calculated sets: JPEGs of 500 x 375
AHEAD = 64  # batches whose shards a rank fetches


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


def measure_checkpoint() -> float:
    """Processor seconds a gigabyte of a checkpoint, written and hashed, median of 3."""
    import torch

    from torchloupe.run.checkpoint import write_checkpoint

    weights = {str(k): torch.randn(2**20) for k in range(64)}
    size, found = 4 * 64 * 2**20, []
    with tempfile.TemporaryDirectory() as scratch:
        for step in range(3):
            clock = time.process_time()
            write_checkpoint(Path(scratch), step, {"model": weights, "state": {"step": step}})
            found.append(time.process_time() - clock)
    each = float(np.median(found)) / size * 1e9
    say("checkpoint", f"{each:.2f} s of processor time a GB, SHA-256 included, the disk not")
    return each


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
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def main() -> None:
    """Measure, simulate, and calculate."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--ranks", default="1,8,64,256,1000")
    asked = [int(word) for word in options.parse_args().ranks.split(",")]
    os.environ["TORCH_CPP_LOG_LEVEL"] = "ERROR"  # a line for each name that has no address
    print("measured")
    table_bytes, table_seconds = measure_table()
    start, checkpoint = measure_start(), measure_checkpoint()
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
    print("\ncalculated: a checkpoint with Adam (12 bytes a parameter), for any number of ranks")
    for millions in (25, 100, 1000):
        size = 12e6 * millions
        say(f"{millions}M parameters", f"{size / 1e9:.1f} GB, {words(size / 1e9 * checkpoint)}")


if __name__ == "__main__":
    main()
