"""An exported folder: the names of its files, what export.json says, and the hashes of all."""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torchloupe.errors import CheckpointError, ResourceError, UsageError, printable
from torchloupe.run.json_files import read_json
from torchloupe.system import files

FORMAT = 1
FACTS, CONTRACT, SUMS = "export.json", "contract.json", "SHA256SUMS"
PREDICT, CARD = "predict.py", "README.md"
MODEL_FILES = {  # the files of the model in each kind of export
    "onnx": ("model.onnx",),
    "pt2": ("model.pt2",),
    "openvino": ("model.xml", "model.bin"),
    "safetensors": ("model.safetensors",),
}
_OWN = {FACTS, CONTRACT, SUMS, PREDICT, CARD, "__pycache__"}.union(*MODEL_FILES.values())


def is_export(folder: str | Path) -> bool:
    """Whether this folder was written by an export."""
    return (Path(folder) / FACTS).is_file()


def read_facts(folder: Path) -> dict[str, Any]:
    """What export.json says, once every file has the hash that SHA256SUMS gives it.

    CheckpointError names a file that is missing, changed or damaged.
    """
    if not is_export(folder):
        raise CheckpointError(
            f"{printable(folder)} is no exported folder: it has no {FACTS}",
            "give a folder that `loupe export` wrote",
        )
    _check_sums(folder)
    facts: dict[str, Any] = read_json(folder / FACTS)
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise CheckpointError(
            f"{printable(folder / FACTS)} has another format than {FORMAT}",
            "export the run again with this version of torchloupe",
        )
    if facts.get("to") not in MODEL_FILES:
        raise CheckpointError(
            f"{printable(folder / FACTS)} names no kind of export that is known",
            "export the run again with this version of torchloupe",
        )
    return facts


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS of all files, in the form that `sha256sum --check` reads."""
    lines = [f"{_hash(path)}  {path.name}\n" for path in sorted(folder.iterdir()) if _counts(path)]
    files.replace_file(folder / SUMS, "".join(lines).encode())


def _check_sums(folder: Path) -> None:
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
        known = {name: seen for seen, name in (line.split("  ", 1) for line in lines)}
        wrong = [name for name, seen in known.items() if _hash(folder / Path(name).name) != seen]
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"the exported folder {printable(folder)} can't be read ({printable(error)})",
            "copy the whole folder again, or export the run again",
        ) from None
    if wrong or FACTS not in known:
        raise CheckpointError(
            f"{printable((wrong or [FACTS])[0])} in {printable(folder)} is not the file that was "
            "exported: its SHA-256 differs",
            "copy the whole folder again, or export the run again",
        )


def _counts(path: Path) -> bool:
    return path.is_file() and path.name != SUMS


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to write in, which takes the place of `folder` once all went well.

    An older export there is replaced; UsageError for a folder that holds anything else.
    """
    refuse_foreign(folder)
    folder = folder.resolve()  # a link to a folder stays, and `..` gets a name
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        files.remove(beside)
        beside.mkdir()
    except OSError as error:
        raise ResourceError(
            f"can't write {printable(folder)}: {error.strerror or error}",
            "give a folder that can be written with --out",
        ) from None
    try:
        yield beside
        write_sums(beside)
        files.remove(folder)
        beside.replace(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def refuse_foreign(folder: Path) -> None:
    """UsageError where `folder` holds anything but an older export, which is to be replaced."""
    hint = "give a new folder as --out"
    try:
        names = sorted(path.name for path in folder.iterdir())
        is_here = folder.samefile(".")
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise UsageError(f"{printable(folder)} is a file", hint) from None
    except OSError as error:
        raise ResourceError(
            f"can't read {printable(folder)}: {error.strerror or error}", hint
        ) from None
    if is_here:
        raise UsageError("an export takes the place of its folder, and this is where you are", hint)
    if names and not {FACTS, SUMS} <= {*names}:
        raise UsageError(f"{printable(folder)} is not empty and holds no export", hint)
    if foreign := [name for name in names if name not in _OWN]:
        raise UsageError(
            f"{printable(folder)} holds an older export, and {printable(foreign[0])}, which would "
            "be lost",
            f"move that away, or {hint}",
        )


def texts_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that the metadata of a graph repeat, so that the file alone says what it is."""
    kept = ("torchloupe", "run", "model", "input", "precision", "class_names", "temperature")
    return {name: facts[name] for name in (*kept, "threshold", "contract")}
