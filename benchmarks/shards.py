"""Streaming shards from a slow and unreliable web server, against the same shards on disk.

    python benchmarks/shards.py                  # 20,000 images, 40 shards, 2 ranks: 3 minutes
    python benchmarks/shards.py --images 100000  # the row of the docs
    python benchmarks/shards.py --shuffle        # how good the two-level shuffle is
    python benchmarks/shards.py --scale          # index and order at larger sizes

Prints a table. Images are JPEGs of noise and shapes, 64 x 64; each rank is a process that decodes
and normalises its part of every batch, as training does, without a model.

Rates are compared in slices: the ranks that read the disk and those that read HTTP (and the server)
are all started, and every fifth of a second the ones are stopped and the others go on. On a virtual
machine the same work takes up to twice the processor time from one minute to the next, so that
turns of a whole epoch compare the minutes. The time of a rate is that in which its ranks went on.
"""

import argparse
import ctypes
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "data")]

BATCH, LANES, MIXED = 64, 4, 2
EPOCHS = 34  # whose orders are compared
SLICE_SECONDS = 0.2  # in which one way goes on and the other stands still


def write_images(folder: Path, images: int, shards: int) -> None:
    """A set of JPEGs, 64 x 64, in shards, with its index."""
    import simplejpeg

    from torchloupe.data.samples import Samples
    from torchloupe.data.shards.sharding import plan_shards, write_shards
    from torchloupe.data.sources.source import Data
    from torchloupe.data.split import Splits

    class Drawn:
        """JPEGs drawn when they are asked for, of 64 backgrounds."""

        def __init__(self):
            drawn = np.random.default_rng(0)
            coarse = drawn.integers(0, 255, (64, 8, 8, 3), dtype=np.uint8)
            self.backgrounds = coarse.repeat(8, 1).repeat(8, 2)

        def read(self, row):
            pixels = self.backgrounds[row % 64].copy()
            for place, digit in enumerate(f"{row:08d}"):
                pixels[8:24, 8 * place : 8 * place + 8] = 25 * int(digit)
            return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=92)

    ids = np.array([f"{k:08d}.jpg" for k in range(images)], dtype=np.dtypes.StringDType())
    samples = Samples(ids, np.arange(images) % 10, tuple("abcdefghij"))
    data = Data("drawn", "files", samples, None, Drawn())
    rows, none = np.arange(images), np.arange(0)
    size = -(-len(Drawn().read(12345)) // 512) * 512 + 3 * 512  # with headers and label
    planned = plan_shards(data, Splits(rows, none, none), images * size // shards, 0)
    write_shards(data, planned, folder)


def read_rank(case: dict) -> dict:
    """What one rank reads: its rate, its memory over time, and a digest of every step."""
    import torch

    from torchloupe.config.schema import DataConfig
    from torchloupe.data.contract import Contract
    from torchloupe.data.feeds.rank_share import RankShare
    from torchloupe.prepare.data import prepare_data
    from torchloupe.system.heap import keep_freed_blocks

    threading.Thread(target=end_with_parent, daemon=True).start()
    keep_freed_blocks()  # as every run does
    torch.set_num_threads(1)
    config = DataConfig(
        pack="stream",
        lanes=LANES,
        mixed_shards=MIXED,
        val_fraction=0,
        test_fraction=0,
        shard_cache_gb=case["cache_gb"],
    )
    began = time.perf_counter()
    spent = 0.0
    known = Contract.from_json(case["contract"]) if case["contract"] else None
    data = prepare_data(case["source"], config, contract=known)
    feed = data.feed(BATCH, 0)
    feed.rank_share = RankShare(case["rank"], case["ranks"])
    opened = time.perf_counter()
    batches = feed.batches(case["start"])
    rows, digests, memory = [], [], []
    first = began
    clock = opened
    held = 0
    for number in range(case["steps"]):
        batch = next(batches)
        if number == 0:
            first = time.perf_counter()
        if number == case["warm"]:
            clock, spent = time.monotonic(), time.process_time()
        rows.append(batch.rows)
        if case["digests"]:
            digests.append(hashlib.sha256(batch.images.numpy().tobytes()).hexdigest()[:16])
        if number % 20 == 0:
            memory.append((resident(), in_use()))
            held = max(held, cached_bytes())
    seconds, spent = time.monotonic() - clock, time.process_time() - spent
    read = sum(map(len, rows[case["warm"] :]))
    store = data.pixels.reader.store
    return {
        "opened": opened - began,
        "first": first - opened,
        "read": read,
        "between": [clock, clock + seconds],
        "memory": memory,
        "held": held,
        "rows": np.concatenate(rows).tolist() if case["rows"] else [],
        "digests": digests,
        "contract": data.contract.to_json(),
        "repeats": 0 if store is None else store.network.repeats,
        "fetched": 0 if store is None else store.fetched,
        "late": 0 if store is None else store.late,
        "cpu": spent,
        "fetching": fetching_seconds(),
    }


def end_with_parent() -> None:
    """End this rank when the process that started it is gone, however it ended."""
    os.read(0, 1)  # the parent holds the other end, and writes nothing
    os._exit(1)


def fetching_seconds() -> float:
    """Processor time of all threads but those that decode and make batches: fetching, hashing."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    others = 0.0
    for task in Path("/proc/self/task").iterdir():
        if names.get(int(task.name), "native").startswith(("MainThread", "decode", "native")):
            others += processor_seconds(f"self/task/{task.name}")
    return time.process_time() - others  # fetchers that have ended are part of it


def resident() -> int:
    """Bytes of memory that this process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class _Heap(ctypes.Structure):
    """What glibc's mallinfo2 gives."""

    _names = (
        *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
        *("usmblks", "fsmblks", "used", "free", "top"),
    )
    _fields_ = tuple((name, ctypes.c_size_t) for name in _names)


def in_use() -> int:
    """Bytes of the C library's heap that are in use, without the freed blocks that it keeps."""
    ask = ctypes.CDLL(None).mallinfo2
    ask.restype = _Heap
    found = ask()
    return found.used + found.hblkhd


def cached_bytes() -> int:
    """Bytes of shards in the cache."""
    folder = Path(os.environ["XDG_CACHE_HOME"]) / "torchloupe" / "shards"
    total = 0
    for path in folder.glob("*.tar"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def run_ranks(source: str, cache: Path, ranks: int, **case) -> list[dict]:
    """The answers of all ranks, each of its own process."""
    return hear(*start_ranks(source, cache, ranks, **case))


def start_ranks(source: str, cache: Path, ranks: int, **case) -> tuple[list, int]:
    """The processes of all ranks, which end when what is given beside them is closed."""
    facts = {
        "start": 0,
        "warm": 20,
        "rows": False,
        "digests": False,
        "cache_gb": 20.0,
        "contract": "",
        **case,
    }
    children, (seen, held) = [], os.pipe()
    for rank in range(ranks):
        text = json.dumps({**facts, "source": source, "rank": rank, "ranks": ranks})
        environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
        environment |= {
            "RANK": str(rank),
            "WORLD_SIZE": str(ranks),
            "LOCAL_RANK": str(rank),
            "LOCAL_WORLD_SIZE": str(ranks),
            "MASTER_ADDR": "localhost",
        }
        command = [sys.executable, __file__, "--rank", text]
        child = subprocess.Popen(command, stdin=seen, stdout=subprocess.PIPE, env=environment)
        children.append(child)
    os.close(seen)
    return children, held


def hear(children: list, held: int) -> list[dict]:
    """The answers of ranks that were started."""
    answers = []
    for child in children:
        found, _ = child.communicate()
        if child.returncode:
            raise SystemExit(f"a rank ended with {child.returncode}")
        answers.append(json.loads(found.decode().strip().splitlines()[-1]))
    os.close(held)
    return answers


def start_server(folder: Path, delay: float, failing: float):
    """A web server in a process of its own, and its address."""
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from web_server import serving\n"
        "delay, failing = map(float, sys.argv[3:])\n"
        "with serving(sys.argv[2], delay=delay, failing=failing) as server:\n"
        "    print(server.url, flush=True)\n"
        "    sys.stdin.read()\n"
        "    print(server.requests, server.failures, server.bytes_sent, flush=True)\n"
    )
    words = [str(ROOT / "tests" / "data"), str(folder), str(delay), str(failing)]
    child = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return child, child.stdout.readline().strip()


def stream(images: int, shards: int, ranks: int, rounds: int, kept: str) -> None:
    """The rows on streaming."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("SHARDS_TMP")) as scratch:
        folder, cache = Path(kept or Path(scratch) / "set"), Path(scratch) / "cache"
        cache.mkdir()
        if not folder.exists():
            write_images(folder, images, shards)
        files = list(folder.glob("*.tar"))
        total = sum(path.stat().st_size for path in files)
        steps = -(-images // BATCH)
        say("set", f"{images:,} images, {len(files)} shards, {total / 1e6:.0f} MB, {ranks} ranks")
        limit = 0.75 * total / 1e9
        server, url = start_server(folder, 0.02, 0.01)
        rates((str(folder), f"{url}/"), cache, steps, ranks, limit, server.pid, rounds)
        forget(cache)
        whole = {"steps": steps, "rows": True, "digests": True, "cache_gb": limit}
        far = run_ranks(f"{url}/", cache, ranks, **whole)
        rows = np.sort(np.concatenate([one["rows"] for one in far]))
        lost = images - len(np.unique(rows))
        say("lost, doubled", f"{lost}, {len(rows) - len(np.unique(rows))}")
        for number, one in enumerate(far):
            memory = np.array(one["memory"][1:]) / 1e6
            half = len(memory) // 2
            for column, what in enumerate(("memory", "heap in use")):
                seen = memory[:, column]
                say(
                    f"{what}, rank {number}",
                    f"{seen[:half].mean():.0f} MB in the first half, {seen[half:].mean():.0f} MB "
                    f"in the second, {seen.max():.0f} MB at most",
                )
        held = max(one["held"] for one in far)
        say("cache", f"{held / 1e6:.0f} MB at most, of {limit * 1e3:.0f} MB allowed")
        say("repeated requests", f"{sum(one['repeats'] for one in far)}")
        resume(url, cache, steps, far)
        server.stdin.close()
        asked, failed, sent = map(int, server.stdout.read().split())
        say("server", f"{asked:,} requests, {failed} failed on purpose, {sent / 1e6:.0f} MB sent")


def rates(
    places: tuple[str, str],
    cache: Path,
    steps: int,
    ranks: int,
    limit: float,
    server: int,
    rounds: int,
) -> None:
    """The rate on disk and over HTTP, slice by slice, with an empty cache; and what each costs."""
    found: dict[str, list[list[dict]]] = {"on disk": [], "over HTTP": []}
    reached: dict[str, list[float]] = {"on disk": [], "over HTTP": []}
    case = {"steps": steps, "cache_gb": limit, "contract": ""}
    case["contract"] = run_ranks(places[0], cache, 1, **{**case, "steps": 25})[0]["contract"]
    served, stolen = processor_seconds(server), stolen_part()
    for _ in range(rounds):
        forget(cache)
        started = {
            title: start_ranks(place, cache, ranks, **case)
            for title, place in zip(found, places, strict=True)
        }
        groups = [[child.pid for child in children] for children, _ in started.values()]
        went_on = take_turns(started["on disk"][0], started["over HTTP"][0], groups, server)
        for number, (title, way) in enumerate(started.items()):
            answers = hear(*way)
            found[title].append(answers)
            reached[title].append(
                sum(one["read"] / overlap(went_on[number], one["between"]) for one in answers)
            )
    served = (processor_seconds(server) - served) / rounds
    for title, runs in found.items():
        cost = np.median([sum(one["cpu"] for one in ranks) for ranks in runs])
        each = reached[title]
        say(
            f"rate {title}",
            f"{np.median(each):,.0f} images/s ({min(each):,.0f} to {max(each):,.0f}), "
            f"{cost / steps / BATCH * 1e6:.0f} us of processor time an image",
        )
    fetching = [sum(one["fetching"] for one in ranks) for ranks in found["over HTTP"]]
    say("fetching, hashing", f"{np.median(fetching) / steps / BATCH * 1e6:.1f} us of it an image")
    ratio = np.array(reached["over HTTP"]) / np.array(reached["on disk"])
    say(
        "rate, HTTP by disk",
        f"{np.median(ratio):.1%} ({ratio.min():.1%} to {ratio.max():.1%}, {rounds} rounds, in "
        f"slices of {SLICE_SECONDS} s); the server took {served / steps / BATCH * 1e6:.1f} us an "
        f"image of the same cores, and the host {stolen_part(stolen):.1%} of all their time",
    )


def take_turns(near: list, far: list, groups: list[list[int]], server: int) -> list[list]:
    """Let `near` and `far` go on by turns until all have ended; when each went on, from and to."""
    groups[1].append(server)
    ways, went_on = (near, far), [[], []]
    turn = 0
    while any(child.poll() is None for child in (*near, *far)):
        if all(child.poll() is not None for child in ways[turn]):
            turn = 1 - turn
        for number, meant in ((1 - turn, signal.SIGSTOP), (turn, signal.SIGCONT)):
            for process in groups[number]:
                signal_process(process, meant)
        began = time.monotonic()
        time.sleep(SLICE_SECONDS)
        went_on[turn].append((began, time.monotonic()))
        turn = 1 - turn
    signal_process(server, signal.SIGCONT)
    return went_on


def signal_process(process: int, meant: signal.Signals) -> None:
    """Send a signal to a process, which may have ended."""
    with suppress(ProcessLookupError):
        os.kill(process, meant)


def overlap(spans: list[tuple[float, float]], between: list[float]) -> float:
    """Seconds of `spans` that lie between two moments."""
    first, last = between
    return sum(max(0.0, min(end, last) - max(begin, first)) for begin, end in spans)


def stolen_part(before: tuple[int, int] = (0, 0)) -> float | tuple[int, int]:
    """Processor time that the host gave to others: ticks so far and of all, or its part since."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    now = ticks[7], sum(ticks[:8])
    if before == (0, 0):
        return now
    return (now[0] - before[0]) / max(1, now[1] - before[1])


def processor_seconds(process: int | str) -> float:
    """Processor time that a process, or a task of one, has used."""
    words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def forget(cache: Path) -> None:
    """Empty the cache of shards."""
    for path in (cache / "torchloupe" / "shards").glob("*.tar"):
        path.unlink()


def resume(url: str, cache: Path, steps: int, whole: list[dict]) -> None:
    """Starts at random steps, as a resume does, with an empty cache and with one that is there."""
    drawn = np.random.default_rng(int(time.time()))
    case = {"steps": 10, "warm": 0, "digests": True, "contract": whole[0]["contract"]}
    for title, empties in (("resume, empty cache", True), ("resume, cache there", False)):
        equal, firsts, opened = True, [], []
        for _ in range(3):
            if empties:
                forget(cache)
            start = int(drawn.integers(1, steps - 12))
            found = run_ranks(f"{url}/", cache, len(whole), start=start, **case)
            equal &= all(
                one["digests"] == there["digests"][start : start + 10]
                for one, there in zip(found, whole, strict=True)
            )
            firsts.append(max(one["first"] for one in found))
            opened.append(max(one["opened"] for one in found))
        say(
            title,
            f"{'bit-equal' if equal else 'DIFFERENT'} at 3 random steps; first batch after "
            f"{max(firsts):.2f} s at most (data opened in {max(opened):.2f} s before)",
        )


def shuffle() -> None:
    """Correlation of positions between epochs, and the class mix of batches."""
    for shards in (40, 64, 400):
        judge_orders(shards)


def judge_orders(shards: int) -> None:
    """The same for one number of shards."""
    from torchloupe.data.feeds.order import Order
    from torchloupe.data.feeds.shard_order import ShardOrder
    from torchloupe.system.counter_rng import make_keys

    count, classes = 100_000, 10
    keys = make_keys(f"{k}.jpg" for k in range(count))
    shard_keys = make_keys(f"{k}.tar" for k in range(shards))
    place = np.arange(count)
    shard_of = place * shards // count
    labels = {
        "written by loupe shard": np.random.default_rng(0).permutation(place) % classes,
        "sorted by class": place * classes // count,
    }
    orders = {"full shuffle": Order(place, keys, BATCH, 0)}
    for lanes, mixed in ((8, 1), (8, 2), (8, 4), (8, 8), (8, 16), (32, 1), (8, shards // 8)):
        in_use = min(shards, lanes * (mixed + 1))
        if in_use == shards and (lanes, mixed) != (8, shards // 8):
            continue  # where all are in use, all are mixed
        orders[f"{lanes} lanes x {mixed} shards, {in_use} in use"] = ShardOrder(
            place, keys, BATCH, 0, shard_of, shard_keys, (lanes, mixed)
        )
    say(
        f"{shards} shards",
        "correlation of positions: spread between an epoch and the next, and between any two of "
        "16 | chi2 of the classes of a batch per degree of freedom (1 is chance): "
        + " | ".join(labels)
        + " | of two samples of a batch, how often they are within 1 % in the next epoch",
    )
    for name, order in orders.items():
        found = []
        for epoch in range(EPOCHS):
            position = np.empty(count)
            position[order.epoch_rows(epoch)] = place
            found.append(position)
        near = [correlate(found[k], found[k + 1]) for k in range(EPOCHS - 1)]
        any_two = [correlate(found[k], found[j]) for k in range(16) for j in range(k)]
        mixes = []
        for label in labels.values():
            rows = order.epoch_rows(0)
            batches = label[rows[: count // BATCH * BATCH]].reshape(-1, BATCH)
            counts = np.stack([np.bincount(batch, minlength=classes) for batch in batches])
            expected = BATCH / classes
            mixes.append(((counts - expected) ** 2 / expected).sum(1).mean() / (classes - 1))
        say(
            name,
            f"{np.mean(near):+.4f}, {rms(near):.4f}, {rms(any_two):.4f} | "
            + " | ".join(f"{mix:.3f}" for mix in mixes)
            + f" | {meet_again(order, found[1]):.1%}",
        )


def correlate(one: np.ndarray, other: np.ndarray) -> float:
    """Of two lists of positions."""
    return float(np.corrcoef(one, other)[0, 1])


def rms(numbers: list[float]) -> float:
    """The root of the mean square: how far from 0 they are."""
    return float(np.sqrt(np.square(numbers).mean()))


def meet_again(order, position: np.ndarray) -> float:
    """Of two samples in one batch of the first epoch, how often `position` has them within 1 %."""
    rows = order.epoch_rows(0)
    whole = len(rows) // BATCH * BATCH
    later = position[rows[:whole]].reshape(-1, BATCH)[::5]
    gaps = np.abs(later[:, :, None] - later[:, None, :])
    return float(((gaps <= len(rows) / 100).sum() - later.size) / (gaps.size - later.size))


def make_index(count: int, shards: int):
    """The index of a made-up set of `count` samples with names such as ImageNet's."""
    from torchloupe.data.shards.index import Shard, ShardIndex

    names = [f"n{k % 1000:08d}/n{k:08d}.JPEG" for k in range(count)]
    number = np.arange(count) * shards // count
    return ShardIndex(
        tuple(Shard(f"{k:06d}.tar", 10**8, "0" * 64, 0) for k in range(shards)),
        ("a", "b"),
        np.array(names, dtype=np.dtypes.StringDType()),
        number % 2,
        np.column_stack([number, np.full(count, 512), np.full(count, 100)]),
        np.arange(count, dtype=np.uint64),
    )


def scale() -> None:
    """Memory and processor time of index and order, for a million samples; and of decoding."""
    from torchloupe.data.feeds.shard_order import ShardOrder
    from torchloupe.data.shards.index import read_index, write_index
    from torchloupe.system.counter_rng import make_keys

    count = 1_000_000
    index = make_index(count, 1_000)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "index"
        write_index(path, index)
        size, before, clock = path.stat().st_size, resident(), time.process_time()
        again = read_index(path)
        seconds, held = time.process_time() - clock, resident() - before
    say("a million samples", "processor time of one core")
    say("index", f"{size / count:.0f} bytes a sample on disk, {held / count:.0f} in memory")
    say("index read", f"{seconds:.2f} s")
    clock = time.process_time()
    keys = make_keys(again.ids)
    say("keys of samples", f"{time.process_time() - clock:.2f} s")
    shard_keys = make_keys(one.name for one in again.shards)
    places = again.places[:, 0]
    order = ShardOrder(np.arange(count), keys, 1024, 0, places, shard_keys, (8, 4))
    clock = time.process_time()
    order.batch(500)
    say("order of an epoch", f"{time.process_time() - clock:.2f} s")
    time_decoding()


def time_decoding() -> None:
    """Images that one core decodes in a second, and what it reads for them."""
    import simplejpeg

    from torchloupe.data.contract import Contract
    from torchloupe.system.counter_rng import make_key

    drawn = np.random.default_rng(0)
    for height, width, target in ((64, 64, 64), (375, 500, 224), (768, 1024, 224)):
        coarse = drawn.integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
        pixels = coarse.repeat(8, 0).repeat(8, 1)[:height, :width]
        pixels = np.clip(pixels + drawn.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)
        whole = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=92)
        contract = Contract("RGB", 3, (target, target))
        contract.decode(whole)
        clock, rounds = time.process_time(), 100
        for _ in range(rounds):
            contract.decode(whole)
        each = (time.process_time() - clock) / rounds
        clock = time.process_time()
        for _ in range(rounds):
            make_key(whole)
        checked = (time.process_time() - clock) / rounds
        say(
            f"{width} x {height} to {target}",
            f"{1 / each:,.0f} images/s a core, {len(whole) / 1e3:.0f} kB each: "
            f"{len(whole) / each / 1e6:.0f} MB/s a core; verifying takes {checked / each:.1%}",
        )


def say(title: str, text: str) -> None:
    """Print a row."""
    print(f"{title:22}  {text}", flush=True)


def main() -> None:
    """Run what was asked for."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--images", type=int, default=20_000)
    options.add_argument("--shards", type=int, default=40)
    options.add_argument("--ranks", type=int, default=2)
    options.add_argument("--rounds", type=int, default=3, help="turns of disk and HTTP")
    options.add_argument("--set", default="", help="folder that the set stays in for other runs")
    options.add_argument("--shuffle", action="store_true")
    options.add_argument("--scale", action="store_true")
    options.add_argument("--rank", help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.rank:
        print(json.dumps(read_rank(json.loads(asked.rank))))
    elif asked.shuffle:
        shuffle()
    elif asked.scale:
        scale()
    else:
        stream(asked.images, asked.shards, asked.ranks, asked.rounds, asked.set)


if __name__ == "__main__":
    main()
