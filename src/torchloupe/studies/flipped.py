"""Thumbnails of the images that some runs have right and others wrong."""

from collections.abc import Sequence
from pathlib import Path

from torchloupe.config.settings import read_settings
from torchloupe.errors import LoupeError
from torchloupe.report.colours import Pixels, to_pixels
from torchloupe.trained.outputs import open_run_data
from torchloupe.trained.run import read_contract

MOST_SHOWN = 48


def read_flipped(folder: Path, ids: Sequence[str], most: int = MOST_SHOWN) -> dict[str, Pixels]:
    """The first `most` images of `ids` as [H, W, 3], by id, from the data of the run in `folder`.

    Images that can't be opened any more are left out; all of them for a stream, for data that
    were handed over as objects, and for data that need code of the user.
    """
    try:
        config, contract = read_settings(folder / "config.json").config, read_contract(folder)
        run_data = open_run_data(folder, config, contract)
    except (LoupeError, OSError):
        return {}
    wanted = set(ids[:most])
    places = {
        name: row for row, name in enumerate(map(str, run_data.samples.ids)) if name in wanted
    }
    found: dict[str, Pixels] = {}
    for name, row in places.items():
        try:
            found[name] = to_pixels(contract.decode(run_data.source.reader.read(row)))
        except (LoupeError, OSError):
            continue
    return {name: found[name] for name in ids[:most] if name in found}
