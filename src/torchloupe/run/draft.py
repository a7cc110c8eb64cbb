"""A checkpoint while it is written: beside its name, and seen by nobody before it is whole.

Where ranks write it in parts, each has a draft of the same checkpoint: one of them begins and
finishes it, and all add to it in between.
"""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from torchloupe.run.tensor_files import (
    Detached,
    Written,
    count_bytes,
    detach,
    write_blob,
    write_tensors,
)
from torchloupe.system.files import disk_error, remove, sync
from torchloupe.system.sealed import seal

FORMAT = 1
FORMAT_IN_PARTS = 2  # a tree may be in several files, one of each rank
PART = re.compile(r"(.+)-\d{5,}-of-\d{5,}\.safetensors")  # the file of one rank


def checkpoint_name(step: int) -> str:
    """The folder name of the checkpoint after `step` steps."""
    return f"step-{step:08d}"


class Draft:
    """The checkpoint of `step` in `folder`, which is not there before `finish`.

    Each method raises ResourceError if the disk is full or broken, and then leaves nothing.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.folder, self.step = folder, step
        self.target = folder / checkpoint_name(step)
        self.temporary = folder / f".{self.target.name}.writing"

    def begin(self, needed_bytes: int = 0) -> None:
        """Make the folder that the files are written to; what was left there is removed."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove(self.temporary)
            self.temporary.mkdir()
        except OSError as error:
            raise disk_error(error, self.target, needed_bytes) from error

    def add(self, trees: Mapping[str, Any], number: int = 0, count: int = 1) -> dict[str, Written]:
        """Write the files of `trees`, flushed to the disk, as part `number` of `count`.

        The part with the number 0 has whatever is not in parts, the others nothing besides.
        """
        try:
            found = {}
            for name, tree in trees.items():
                file, written = self._add(name, detach(tree), number, count)
                if written is not None:
                    found[file] = written
        except BaseException as error:
            if not number:  # others write to the same folder
                self.discard()
            if isinstance(error, OSError):
                raise disk_error(error, self.target, count_bytes(trees)) from error
            raise
        return found

    def _add(
        self, name: str, tree: Detached, number: int, count: int
    ) -> tuple[str, Written | None]:
        plain = json.dumps(tree.plain)
        if tree.starts:
            file = f"{name}-{number + 1:05d}-of-{count:05d}.safetensors"
            facts = {"starts": json.dumps(tree.starts)} | ({} if number else {"tree": plain})
        elif number:
            return "", None
        elif tree.tensors:
            file, facts = f"{name}.safetensors", {"tree": plain}
        else:
            file, blob = f"{name}.json", json.dumps(tree.plain, indent=1).encode()
            return file, write_blob(self.temporary / file, blob)
        return file, write_tensors(self.temporary / file, tree.tensors, facts)

    def finish(self, added: Sequence[Mapping[str, Written]]) -> Path:
        """Write the manifest of all files, those of each `add`, and give the folder its name.

        A checkpoint of that name gives way to it.
        """
        files = {name: written for part in added for name, written in part.items()}
        replaced = self.folder / f".{self.target.name}.replaced"
        try:
            write_blob(self.temporary / "manifest.json", make_manifest(self.step, files))
            sync(self.temporary)
            remove(replaced)
            if self.target.exists() or self.target.is_symlink():
                # The same step written again, after a resume. It is moved aside, not removed:
                # where the next rename never happens, `clear_unfinished` moves it back.
                self.target.rename(replaced)
            self.temporary.rename(self.target)
            sync(self.folder)
            with suppress(OSError):
                remove(replaced)
        except OSError as error:
            with suppress(OSError):
                put_back(replaced, self.target)
            self.discard()
            needed_bytes = sum(written.size_bytes for written in files.values())
            raise disk_error(error, self.target, needed_bytes) from error
        return self.target

    def discard(self) -> None:
        """Remove what was written."""
        shutil.rmtree(self.temporary, ignore_errors=True)


def make_manifest(step: int, files: Mapping[str, Written]) -> bytes:
    """The text of a manifest: step, files and their hashes; of trees in parts which are theirs."""
    parts: dict[str, list[str]] = {}
    for name in files:
        if match := PART.fullmatch(name):
            parts.setdefault(match[1], []).append(name)
    content: dict[str, Any] = {"format": FORMAT_IN_PARTS if parts else FORMAT, "step": step}
    content["files"] = {name: written.sha256 for name, written in files.items()}
    if parts:
        content |= {"bytes": {name: written.size_bytes for name, written in files.items()}}
        content |= {"parts": parts}
    return seal(content, indent=1)


def put_back(replaced: Path, target: Path) -> None:
    """Undo the move of a checkpoint that was to be replaced, unless another took its place."""
    if replaced.is_dir() and not replaced.is_symlink() and not target.exists():
        replaced.rename(target)
