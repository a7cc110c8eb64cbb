"""Tar files for tests, with the members that are asked for."""

import io
import tarfile
from pathlib import Path


def put(path, members):
    """Write a tar of (name, bytes) members; a TarInfo stands for itself."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def pairs(start, stop, classes=("cat", "dog")):
    for k in range(start, stop):
        yield f"{k:05d}.jpg", b"image %d" % k
        yield f"{k:05d}.cls", classes[k % len(classes)].encode()


def put_foreign(folder):
    """Four shards of five pairs each, without an index."""
    for number in range(4):
        put(folder / f"{number:03d}.tar", pairs(number * 5, number * 5 + 5))
    return folder


def facts(data):
    """What two ways to open one set have to agree on."""
    samples = data.samples
    return samples.ids.tolist(), samples.labels.tolist(), samples.class_names, data.stamp
