"""A folder of photographs at 224 pixels, loader alone: the first pass, and all later ones.

    python benchmarks/folder.py

4,000 JPEGs of 500x375 (photographs.py makes them). The first pass decodes them into the pack and
is set against what the cores could decode if they did nothing else; later passes give batches
of 64, normalised, as torchvision's ImageFolder and timm's loader do with the number of worker
processes that is fastest for each. About 25 minutes for 5 repeats.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from photographs import COUNT, make_photographs
from table import Table, core_count, ratio
from torch.utils.data import DataLoader
from turns import (
    Answer,
    Case,
    Failure,
    answer,
    ask_with_threads,
    best_case,
    describe,
    in_turns,
    spread_of,
)

from torchloupe.config.schema import DataConfig
from torchloupe.data.augmentation.augment import Augment
from torchloupe.data.contract import Contract
from torchloupe.data.contract_choice import choose_contract
from torchloupe.data.pack.pixels import open_pixels
from torchloupe.data.sources import open_data
from torchloupe.prepare.data import prepare_data
from torchloupe.system.heap import keep_freed_blocks

SIZE, BATCH = 224, 64
FIRST_GOAL, LATER_GOAL = 0.90, 10.0
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SMALLEST_CROP = 0.35  # share of the area, of the random crops
ONE_CORE, ALL_CORES = "decoding from memory, one core", "decoding from memory, a process a core"
FIRST, AGAIN = "torchloupe, first pass into the pack", "torchloupe, opening the pack again"
OURS, OURS_CHANGED = "torchloupe", "torchloupe, random crop and flip"
RIVALS = ("torchvision", "timm")


def make_table(repeats: int = 5, *, quick: bool = False) -> Table:
    """Decoding rates, then passes over the pack beside the peers'."""
    root = make_photographs(200 if quick else COUNT)
    cases: dict[str, Case] = {
        what: {"what": what, "root": str(root)}
        for what in (ONE_CORE, ALL_CORES, FIRST, AGAIN, OURS, OURS_CHANGED)
    }
    for rival in RIVALS:
        for changed in (False, True):
            name = f"{rival}, random crop and flip" if changed else rival
            cases[name] = best_loader(rival, root, changed=changed, quick=quick)
    asked = {name: _asker(case) for name, case in cases.items()}
    table = Table(
        "folder",
        f"A folder of JPEGs of 500x375 at {SIZE}, loader alone",
        ("", "images/s", "settings"),
    )
    rates = {}
    for name, given in in_turns(asked, repeats).items():
        if isinstance(given, Failure):
            table.add(name, f"failed: {given.reason}", "")
            continue
        rates[name] = spread_of(given, "images_per_second")
        kept = {k: v for k, v in cases[name].items() if k in ("workers", "variant")}
        table.add(name, rates[name].show(), describe(kept))
    if {ONE_CORE, ALL_CORES, FIRST} <= rates.keys():
        share = ratio(rates[FIRST], rates[ONE_CORE]) / core_count()
        table.expect(
            f"first pass, of {core_count()} cores x the rate of one",
            f">= {FIRST_GOAL:.0%}",
            f"{share:.0%} ({ratio(rates[FIRST], rates[ALL_CORES]):.0%} of what all cores reach)",
            share >= FIRST_GOAL,
        )
    for ours, ending in ((OURS, ""), (OURS_CHANGED, ", random crop and flip")):
        for rival in RIVALS:
            if {ours, rival + ending} <= rates.keys():
                lead = ratio(rates[ours], rates[rival + ending])
                table.expect(
                    f"later passes{ending}, over {rival}",
                    f">= {LATER_GOAL:.0f}x",
                    f"{lead:.1f}x",
                    lead >= LATER_GOAL,
                )
    files = [path.stat().st_size for path in root.glob("*/*.jpg")]
    table.notes.append(f"{len(files):,} files of {sum(files) / len(files) / 1e3:.0f} kB on average")
    table.notes.append(
        f"n = {repeats}, in turns; median (range). Passes: the second of a loader, batch {BATCH}; "
        "decoding counts resizing; opening again reads and checks every byte of the pack"
    )
    return table


def _asker(case: Case) -> Callable[[], Answer | Failure]:
    return lambda: ask_with_threads(__file__, case)


def best_loader(rival: str, root: Path, *, changed: bool, quick: bool) -> Case:
    """The fastest of a rival's variants and worker counts."""
    variants = {"torchvision": ("pil", "tensor"), "timm": ("prefetcher", "plain")}[rival]
    counts = (0,) if quick else range(core_count() + 2)
    cases = [
        {"what": rival, "root": str(root), "changed": changed, "workers": workers, **more}
        for workers in counts
        for more in ({"variant": variant, "threads": 0 if workers else 1} for variant in variants)
    ]
    return best_case(__file__, cases, "images_per_second")


def measure(
    what: str, root: str, *, changed: bool = False, workers: int = 0, variant: str = ""
) -> Answer:
    """Images a second of one of the rows."""
    if what in (ONE_CORE, ALL_CORES):
        return {
            "images_per_second": measure_decoding(root, core_count() if what == ALL_CORES else 1)
        }
    if what in (FIRST, AGAIN):
        return {"images_per_second": measure_pack(root, is_built=what == AGAIN)}
    if what == "torchvision":
        return {"images_per_second": rate_of(make_torchvision(root, changed, workers, variant))}
    if what == "timm":
        return {"images_per_second": rate_of(make_timm(root, changed, workers, variant))}
    return {"images_per_second": measure_passes(root, is_changed=what == OURS_CHANGED)}


def photograph_contract(data: Any) -> Contract:
    """How the photographs are decoded here."""
    return choose_contract(data, mode="RGB", size=str(SIZE), fit="crop", kernel="bilinear")


def measure_decoding(root: str, processes: int) -> float:
    """Images a second of this decoder over files in memory, in processes of one thread each."""
    torch.set_num_threads(1)
    if processes == 1:
        return decode_from_memory((root, 0, 1))
    shares = [(root, number, processes) for number in range(processes)]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        list(pool.map(_warm, range(processes)))
        return sum(pool.map(decode_from_memory, shares))


def _warm(_number: int) -> None:
    """Keep a process busy for long enough that the next task starts the next process."""
    time.sleep(0.5)


def decode_from_memory(share: tuple[str, int, int]) -> float:
    """Images a second over every so-manieth file of a folder."""
    root, first, step = share
    data = open_data(root)
    contract = photograph_contract(data)
    files = [data.reader.read(row) for row in range(first, len(data.samples), step)]
    begin = time.perf_counter()
    for file in files:
        contract.decode(file)
    return len(files) / (time.perf_counter() - begin)


def measure_pack(root: str, *, is_built: bool) -> float:
    """Images a second of building a pack, or of opening one that is there."""
    data = open_data(root)
    contract = photograph_contract(data)
    with tempfile.TemporaryDirectory() as cache:
        if is_built:
            open_pixels(data, contract, pack="disk", cache_folder=Path(cache))
        begin = time.perf_counter()
        open_pixels(data, contract, pack="disk", cache_folder=Path(cache))
        return len(data.samples) / (time.perf_counter() - begin)


def measure_passes(root: str, *, is_changed: bool) -> float:
    """Images a second of the second pass over a pack in the usual cache folder, as fit reads it."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        keep_freed_blocks()
        config = DataConfig(mode="RGB", size=str(SIZE), val_fraction=0, test_fraction=0)
        run_data = prepare_data(root, config, seed=0)
        augment = Augment(resized_crop=SMALLEST_CROP, flip=True) if is_changed else Augment()
        feed = run_data.feed(BATCH, 0, augment, torch.device("cpu"))
        batches = feed.batches()
        for _ in range(feed.steps_per_epoch):
            next(batches)
        begin = time.perf_counter()
        for _ in range(feed.steps_per_epoch):
            next(batches)
        return feed.count / (time.perf_counter() - begin)


def rate_of(loader: Iterable[Any]) -> float:
    """Images a second of the second pass: worker processes have started and files are cached."""
    for _ in loader:
        pass
    begin = time.perf_counter()
    count = sum(len(labels) for _, labels in loader)
    return count / (time.perf_counter() - begin)


def make_torchvision(root: str, changed: bool, workers: int, variant: str) -> DataLoader[Any]:
    """ImageFolder with torchvision's transforms, on PIL images or (v2) on uint8 tensors."""
    from torchvision import transforms
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    kind = v2 if variant == "tensor" else transforms
    change = (
        [kind.RandomResizedCrop(SIZE, scale=(SMALLEST_CROP, 1)), kind.RandomHorizontalFlip()]
        if changed
        else [kind.Resize(SIZE), kind.CenterCrop(SIZE)]
    )
    if variant == "tensor":
        steps = [v2.PILToTensor(), *change, v2.ToDtype(torch.float32, scale=True)]
    else:
        steps = [*change, transforms.ToTensor()]
    folder = ImageFolder(root, transforms.Compose([*steps, kind.Normalize(MEAN, STD)]))
    return DataLoader(
        folder, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )


def make_timm(root: str, changed: bool, workers: int, variant: str) -> Iterable[Any]:
    """timm's create_loader, with its prefetcher (which normalises whole batches) or without."""
    from timm.data import create_dataset, create_loader

    dataset = create_dataset("", root, is_training=changed)
    return create_loader(
        dataset,
        (3, SIZE, SIZE),
        BATCH,
        is_training=changed,
        scale=(SMALLEST_CROP, 1),
        color_jitter=0.0,
        crop_pct=1.0,
        interpolation="bilinear",
        num_workers=workers,
        persistent_workers=workers > 0,
        use_prefetcher=variant == "prefetcher",
        device=torch.device("cpu"),
        pin_memory=False,
    )


if __name__ == "__main__" and not answer(measure):
    print(make_table().to_markdown())
