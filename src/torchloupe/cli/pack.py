"""`loupe pack`: decoded pixels built ahead of training, listed, and cleared away."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchloupe.cli.options import Json, Quiet, Set, amount, results_only
from torchloupe.cli.train import collect_settings
from torchloupe.errors import UsageError, did_you_mean, printable

if TYPE_CHECKING:
    from torchloupe.data.pack.inventory import Entry

_SECONDS_A_DAY = 86_400


def pack(
    data: Annotated[
        str | None,
        typer.Argument(metavar="[DATA]", help="Anything that `loupe train` takes."),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the packs and their sizes.")] = False,
    check: Annotated[bool, typer.Option("--check", help="With --list: verify every byte.")] = False,
    clear: Annotated[
        str | None,
        typer.Option(
            "--clear",
            metavar="NAME",
            help="Remove the packs of this name (or whose key begins so), or all.",
        ),
    ] = None,
    older_than: Annotated[
        float | None,
        typer.Option(
            "--older-than",
            metavar="DAYS",
            parser=amount,
            help="With --clear: only packs not used for DAYS days.",
        ),
    ] = None,
    settings: Set = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Decode a data set once, ahead of training; list and clear decoded data sets.

    The first training on a data set does the same. A build that was stopped is continued.
    Settings that change pixels (data.size, data.mode, data.fit) make another pack.

    loupe pack photos/

    loupe pack photos/ --set data.size=224

    loupe pack --list

    loupe pack --clear photos --older-than 30
    """
    ways = [data is not None, list_, clear is not None]
    if sum(ways) != 1:
        raise UsageError(
            "loupe pack needs DATA, --list or --clear" + (", and only one" if sum(ways) else ""),
            "loupe pack --help shows examples",
        )
    for flag, is_given, owner, fits in (
        ("--check", check, "--list", list_),
        ("--older-than", older_than is not None, "--clear", clear is not None),
        ("--set", bool(settings), "DATA", data is not None),
    ):
        if is_given and not fits:
            raise UsageError(f"{flag} goes with {owner} only", "leave it out")
    if data is not None:
        _build(data, collect_settings({"data.source": data}, settings), quiet, as_json)
    elif list_:
        _list(check, as_json)
    else:
        _clear(str(clear), older_than, as_json)


def _build(source: str, typed: dict[str, Any], quiet: bool, as_json: bool) -> None:
    from torchloupe.cli.text import align, print_text, to_json
    from torchloupe.display.terminal import make_display
    from torchloupe.units import format_bytes, format_seconds, plural

    with results_only(quiet=quiet) as line:
        from torchloupe.data.pack.pixels import sound_rows
        from torchloupe.data.pack.set_aside import count_kinds
        from torchloupe.prepare.data import describe_bad, open_ahead
        from torchloupe.run.events import Note
        from torchloupe.train.start import decide

        config = decide(typed, None).config
        line.say(f"reading {source}")
        display = make_display(quiet=quiet)
        started = time.perf_counter()
        try:
            name, pixels = open_ahead(config.data, source, display.record)
            for note in describe_bad(pixels.bad):
                display.record(Note(note))
        finally:
            display.close()
        seconds = time.perf_counter() - started
        if not as_json:
            sound_rows(pixels, config.data.bad_fraction)
    built = any(note.startswith("decoded") for note in pixels.notes)
    kept = pixels.pack
    shape = [pixels.contract.channels, *pixels.contract.size]
    facts = {
        "data": name,
        "folder": str(kept.folder) if kept else None,
        "images": len(pixels),
        "shape": shape,
        "bytes": kept.pixels.nbytes if kept else 0,
        "built": built,
        "seconds": seconds,
        "set_aside": [{"id": bad.id, "reason": bad.reason, "kind": bad.kind} for bad in pixels.bad],
    }
    if as_json:
        print(to_json(facts))
        sound_rows(pixels, config.data.bad_fraction)  # too many are an error, once all are listed
        return
    words = f"{plural(len(pixels), 'image')} of {' x '.join(map(str, shape))}"
    rows = [["data", f"{printable(name)}: {words}"]]
    if kept is None:
        rows.append(["pack", "none is needed: the images are an array, used where it is"])
    else:
        how = f"built in {format_seconds(seconds)}" if built else "there already, and whole"
        rows.append(["pack", f"{format_bytes(kept.pixels.nbytes)}, {how}"])
        rows.append(["folder", printable(kept.folder, 4000)])
    if pixels.bad:
        rows.append(["set aside", f"{plural(len(pixels.bad), 'image')}: {count_kinds(pixels.bad)}"])
    print_text(align(rows))


def _list(check: bool, as_json: bool) -> None:
    from torchloupe.cli.text import align, print_text, to_json
    from torchloupe.data.pack.inventory import list_packs
    from torchloupe.system.cache import require_cache
    from torchloupe.units import format_bytes

    cache = require_cache()
    entries = []
    for entry in list_packs(cache, check=check):
        entries.append(entry)
        if check:
            print(f"{entry.key[:8]}: {entry.state}", file=sys.stderr, flush=True)
    entries.sort(key=lambda entry: -entry.last_used)
    if as_json:
        print(to_json({"folder": str(cache / "packs"), "packs": [_facts(e) for e in entries]}))
        return
    total = format_bytes(sum(entry.size_bytes for entry in entries))
    if entries:
        titles = ["data", "images", "shape", "size", "last used", "key", "state"]
        rows = [titles, *(_row(entry) for entry in entries)]
        print_text(align(rows, right=(1, 3), header=True))
    print(f"{_count(entries)}, {total} in {printable(cache / 'packs', 4000)}")


def _clear(what: str, older_than: float | None, as_json: bool) -> None:
    from torchloupe.cli.text import to_json
    from torchloupe.data.pack.inventory import clear_packs, list_packs
    from torchloupe.system.cache import require_cache
    from torchloupe.units import format_bytes

    cache = require_cache()
    is_named = _name_filter(what)
    names = {entry.name for entry in list_packs(cache) if entry.name}
    if what != "all" and not any(map(is_named, list_packs(cache))):
        raise UsageError(
            f"there is no pack of the name or key {printable(what)!r}",
            did_you_mean(what, names, otherwise="loupe pack --list shows all packs"),
        )
    before = time.time() - (older_than or 0) * _SECONDS_A_DAY
    done = list(clear_packs(cache, lambda e: is_named(e) and e.last_used <= before))
    removed = [entry for entry, reason in done if not reason]
    kept = [(entry, reason) for entry, reason in done if reason]
    size = sum(entry.size_bytes for entry in removed)
    if as_json:
        print(
            to_json(
                {
                    "removed": [_facts(entry) for entry in removed],
                    "kept": [{**_facts(entry), "reason": reason} for entry, reason in kept],
                    "bytes": size,
                }
            )
        )
        return
    for entry, reason in kept:
        print(f"note: {printable(entry.folder, 4000)} is kept: {reason}", file=sys.stderr)
    print(f"removed {_count(removed)}, {format_bytes(size)}")


def _count(entries: "Sequence[Entry]") -> str:
    """`2 packs`, or `2 packs and 1 index`."""
    from torchloupe.data.pack.inventory import INDEX
    from torchloupe.units import plural

    indexes = sum(entry.state == INDEX for entry in entries)
    also = f" and {plural(indexes, 'index', 'indexes')}" if indexes else ""
    return plural(len(entries) - indexes, "pack") + also


def _name_filter(what: str) -> "Callable[[Entry], bool]":
    is_key = len(what) >= 4 and all(letter in "0123456789abcdef" for letter in what)
    return lambda e: what in ("all", e.name) or (is_key and e.key.startswith(what))


def _facts(entry: "Entry") -> dict[str, Any]:
    return {
        "data": entry.name,
        "key": entry.key,
        "folder": str(entry.folder),
        "images": entry.shape[0] if entry.shape else None,
        "shape": [entry.shape[3], *entry.shape[1:3]] if len(entry.shape) == 4 else None,
        "bytes": entry.size_bytes,
        "last_used": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(entry.last_used)),
        "state": entry.state,
        "reason": entry.reason,
    }


def _row(entry: "Entry") -> list[str]:
    from torchloupe.units import format_bytes

    count, shape = f"{entry.shape[0]:,}" if entry.shape else "-", "-"
    if len(entry.shape) == 4:
        _, height, width, channels = entry.shape
        shape = f"{channels} x {height} x {width}"
    return [
        printable(entry.name, 40) or "-",
        count,
        shape,
        format_bytes(entry.size_bytes),
        time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.last_used)),
        entry.key[:8],
        entry.state + (f": {printable(entry.reason)}" if entry.reason else ""),
    ]
