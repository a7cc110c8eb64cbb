"""`loupe shard`: a data set written as tar shards with an index, to be trained on from anywhere."""

import time
from typing import Annotated, Any

import typer

from torchloupe.cli.options import Json, Quiet, Set, amount, results_only
from torchloupe.cli.train import collect_settings
from torchloupe.errors import printable

MEGABYTE = 10**6


def shard(
    data: Annotated[str, typer.Argument(metavar="DATA", help="Anything that `loupe train` takes.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="The folder for the shards.")],
    megabytes: Annotated[
        float,
        typer.Option("--megabytes", metavar="N", parser=amount, help="About so large is a shard."),
    ] = 256.0,
    settings: Set = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write a data set as tar shards that can be streamed from anywhere.

    The layout is that of WebDataset, NAME.jpg beside NAME.cls. Training, validation and test images
    get shards of their own, each split is shuffled, and index.safetensors holds names, labels,
    offsets, sizes and the SHA-256 of each shard. Images that can't be read are left out and
    listed in set-aside.csv. A writing that was stopped goes on where it was; the same command in
    several processes shares the work.

    loupe shard photos/ shards/

    loupe shard photos/ shards/ --megabytes 64 --set data.val_fraction=0.05

    loupe train shards/ --set data.pack=stream
    """
    from torchloupe.display.terminal import make_display

    with results_only(quiet=quiet) as line:
        from torchloupe.prepare.sharding import write_set
        from torchloupe.train.start import decide

        config = decide(collect_settings({"data.source": data}, settings), None).config
        line.say(f"reading {data}")
        display = make_display(quiet=quiet)
        began = time.perf_counter()
        try:
            written = write_set(
                data,
                config.data,
                config.train.seed,
                out,
                round(megabytes * MEGABYTE),
                display.record,
            )
        finally:
            display.close()
    tell(written, time.perf_counter() - began, as_json)


def tell(written: Any, seconds: float, as_json: bool) -> None:
    """Print what was written."""
    from torchloupe.cli.text import align, print_text, to_json
    from torchloupe.data.pack.set_aside import count_kinds
    from torchloupe.data.split import SPLIT_NAMES
    from torchloupe.units import format_bytes, format_seconds, plural

    index = written.index
    images = dict.fromkeys(SPLIT_NAMES, 0)
    for number in index.places[:, 0].tolist():
        images[SPLIT_NAMES[index.shards[number].part]] += 1
    if as_json:
        facts = {
            "data": written.name,
            "folder": str(written.folder),
            "images": images,
            "shards": [
                {"name": one.name, "bytes": one.bytes, "sha256": one.sha256} for one in index.shards
            ],
            "bytes": index.total_bytes,
            "written": not written.was_there,
            "seconds": seconds,
            "set_aside": [{"id": bad.id, "reason": bad.reason} for bad in written.bad],
        }
        print(to_json(facts))
        return
    counts = ", ".join(f"{name} {count:,}" for name, count in images.items() if count)
    how = "there already" if written.was_there else f"written in {format_seconds(seconds)}"
    total = format_bytes(index.total_bytes)
    rows = [
        ["data", f"{printable(written.name)}: {plural(len(index), 'image')} ({counts})"],
        ["shards", f"{len(index.shards):,} of {total} in all, {how}"],
        ["folder", printable(written.folder, 4000)],
    ]
    if written.bad:
        left_out = f"{plural(len(written.bad), 'image')}: {count_kinds(written.bad)}"
        rows.append(["set aside", f"{left_out} (set-aside.csv)"])
    print_text(align(rows))
