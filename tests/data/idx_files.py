"""IDX files for tests: what MNIST is shipped in."""

import gzip
import struct
from pathlib import Path

import numpy as np

TYPES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def put(path, array):
    """Write an IDX file, gzipped where its name says so."""
    array = np.asarray(array)
    code = TYPES[array.dtype.str[1:]]
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    content = head + array.astype(array.dtype.newbyteorder(">")).tobytes()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(gzip.compress(content) if str(path).endswith(".gz") else content)
