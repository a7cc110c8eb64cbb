"""Writing tar files whose bytes depend on nothing but the names and contents of their members."""

import hashlib
import tarfile
from typing import BinaryIO

BLOCK = 512
END_BLOCKS = 2


class TarWriter:
    """A tar file (ustar) written member by member: no times, no owners, no padding to records."""

    def __init__(self, file: BinaryIO) -> None:
        self.size = 0  # bytes written so far
        self._file = file
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """SHA-256 of what was written so far, in hexadecimal digits."""
        return self._digest.hexdigest()

    def add(self, name: str, content: bytes) -> int:
        """Write a member; the offset at which its content begins."""
        info = tarfile.TarInfo(name)
        info.size = len(content)
        info.mode = 0o644
        self._write(info.tobuf(tarfile.USTAR_FORMAT))
        offset = self.size
        self._write(content)
        self._write(bytes(-len(content) % BLOCK))
        return offset

    def finish(self) -> None:
        """Write the end of the archive."""
        self._write(bytes(END_BLOCKS * BLOCK))

    def _write(self, content: bytes) -> None:
        self._file.write(content)
        self._digest.update(content)
        self.size += len(content)
