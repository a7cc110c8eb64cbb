"""A file layer that fails: the n-th call of a process is refused, or is the last it ever does."""

import builtins
import errno
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

# What a save does to the disk; `open` and `write` of Python's own file objects below.
_CALLS = ("fsync", "rename", "replace", "mkdir", "symlink", "unlink", "rmdir", "open")


class FileLayer:
    """Counts file calls below a folder from when it is put in, and strikes at number `at`."""

    def __init__(self, folder: os.PathLike[str], at: int, strike: Callable[[str], None]) -> None:
        self.folder = os.fspath(folder)
        self.at = at
        self.count = 0
        self.struck = ""
        self._strike = strike
        self._real: dict[tuple[Any, str], Any] = {}

    def __enter__(self) -> "FileLayer":
        for name in _CALLS:
            self._replace(os, name, self._counted(name, getattr(os, name)))
        opened = self._counting_open(io.open)
        self._replace(io, "open", opened)
        self._replace(builtins, "open", opened)
        return self

    def __exit__(self, *_: object) -> None:
        for (module, name), real in self._real.items():
            setattr(module, name, real)

    def _replace(self, module: Any, name: str, new: Any) -> None:
        self._real[module, name] = getattr(module, name)
        setattr(module, name, new)

    def _is_ours(self, where: Any) -> bool:
        if isinstance(where, int):
            try:
                where = Path(f"/proc/self/fd/{where}").readlink()
            except OSError:
                return False
        return os.fsdecode(os.path.abspath(where)).startswith(self.folder)  # noqa: PTH100

    def _tick(self, what: str, where: Any) -> None:
        if not self._is_ours(where):
            return
        self.count += 1
        if self.count == self.at:
            self.struck = f"{what} {where}"
            self._strike(self.struck)

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            where = arguments[1] if name == "symlink" else arguments[0]
            # rmtree works with names below an open folder.
            folder = options.get("dir_fd")
            self._tick(name, folder if folder is not None else where)
            return real(*arguments, **options)

        return call

    def _counting_open(self, real: Callable[..., Any]) -> Callable[..., Any]:
        layer = self

        def opened(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if not set(mode) & set("wxa+"):
                return real(file, mode, *arguments, **options)
            layer._tick(f"open({mode})", file)
            found = real(file, mode, *arguments, **options)
            return _Counted(found, layer, file) if layer._is_ours(file) else found

        return opened


class _Counted:
    """Stands before a file object and counts its writes."""

    def __init__(self, file: Any, layer: FileLayer, name: Any) -> None:
        self._file, self._layer, self._name = file, layer, name

    def write(self, content: Any) -> int:
        """Write, or strike after half of the content has landed."""
        layer = self._layer
        if layer.count + 1 == layer.at:
            self._file.write(content[: len(content) // 2])
            self._file.flush()
        layer._tick("write", self._name)
        return int(self._file.write(content))

    def __enter__(self) -> "_Counted":
        self._file.__enter__()
        return self

    def __exit__(self, *problem: object) -> Any:
        return self._file.__exit__(*problem)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def fail_with(number: int) -> Callable[[str], None]:
    """A strike that refuses the call: EIO, ENOSPC."""

    def strike(what: str) -> None:
        raise OSError(number, os.strerror(number), what.rpartition(" ")[2])

    return strike


def die(_what: str) -> None:
    """A strike after which there is nothing: SIGKILL of this process."""
    os.kill(os.getpid(), signal.SIGKILL)


FAULTS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC}
