"""Images for an ejected file that no few lines can read: decoded, with their split, in a .npz.

For shards, archives, HDF5, Parquet, tables with rules of their own and Datasets of pictures; also
for splits by rules that take more than a few lines.
"""

import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.split import SPLIT_NAMES
from torchloupe.deploy.ejection.facts import Facts
from torchloupe.deploy.ejection.text import Part, quote
from torchloupe.errors import UsageError, printable
from torchloupe.prepare.run_data import RunData
from torchloupe.system.files import replacing
from torchloupe.trained.outputs import open_run_data

CHUNK = 256  # images that are written at once


def open_stored(facts: Facts, *, trust_code: bool) -> tuple[Facts, RunData]:
    """The facts with the samples and the split as the run has them, and its images.

    UsageError for data that are not pictures of one size: streams, and Datasets that give tensors.
    """
    data = open_run_data(facts.folder, facts.config, facts.contract, trust_code=trust_code)
    if data.pixels is None:
        raise UsageError(
            f"{printable(facts.data.name)} gives its images through code of its own "
            f"({facts.data.kind}), whose transforms may draw anew each time",
            "keep that code: take the loop of an ejected run on a folder, and put your DataLoader "
            "in the place of batches()",
        )
    parts = np.full(len(data.samples), -1, dtype=np.int8)
    for number, name in enumerate(SPLIT_NAMES):
        parts[data.rows(name)] = number
    return replace(facts, data=data.source, parts=parts), data


def describe_stored(facts: Facts, file: Path) -> Part:
    """The lines that read such a file."""
    part = Part({"stored"})
    part.settings.append(f"DATA = Path({quote(str(file))})")
    if facts.data.samples.is_multi_label:
        part.flags.add("multi")
    part.remarks.append(
        f"{file.name} has the images of {printable(facts.data.name, 60)} as the run decoded "
        "them, with their labels, split, and the hashes of their names."
    )
    return part


def write_stored(facts: Facts, data: RunData, file: Path) -> None:
    """Write pixels, labels, keys and parts of all images that have a part; whole or not at all."""
    rows = np.flatnonzero(facts.parts >= 0)
    samples = facts.data.samples
    others = {
        "labels": samples.labels[rows],
        "keys": samples.keys[rows],
        "parts": facts.parts[rows],
    }
    hint = "give a file in a folder with room for the decoded images"
    with replacing(file, hint=hint) as raw, zipfile.ZipFile(raw, "w") as archive:
        for key, array in others.items():
            _write_member(archive, key, array.shape, array.dtype, iter([array]))
        _write_pixels(archive, data, rows)


def _write_pixels(archive: zipfile.ZipFile, data: RunData, rows: NDArray[np.int64]) -> None:
    assert data.pixels is not None
    contract, pixels = data.contract, data.pixels
    shape = (len(rows), *contract.size, contract.channels)
    dtype = np.dtype(np.float32 if contract.is_float else np.uint8)
    parts = (
        pixels.gather(rows[start : start + CHUNK]).numpy() for start in range(0, len(rows), CHUNK)
    )
    _write_member(archive, "pixels", shape, dtype, parts)


def _write_member(
    archive: zipfile.ZipFile,
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    parts: Iterator[NDArray[Any]],
) -> None:
    """One array of a .npz, piece by piece."""
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        header = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": shape,
        }
        np.lib.format.write_array_header_1_0(member, header)
        for part in parts:
            member.write(np.ascontiguousarray(part, dtype=dtype).tobytes())
