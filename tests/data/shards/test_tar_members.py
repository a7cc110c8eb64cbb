"""Tar files as they are written: what tarfile reads of them, and always the same bytes."""

import hashlib
import io
import tarfile

from torchloupe.data.shards.tar_members import TarWriter


def write(members):
    file = io.BytesIO()
    tar = TarWriter(file)
    offsets = [tar.add(name, content) for name, content in members]
    tar.finish()
    return file.getvalue(), offsets, tar


def test_members_are_read_by_tarfile_at_the_offsets_that_were_given():
    members = [("1.jpg", b"x" * 513), ("1.cls", b"cat"), ("2.jpg", b""), ("2.cls", b"dog")]
    whole, offsets, tar = write(members)
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        found = [(one.name, archive.extractfile(one).read()) for one in archive.getmembers()]
        assert [one.offset_data for one in archive.getmembers()] == offsets
        assert {one.mtime for one in archive.getmembers()} == {0}
    assert found == members
    assert tar.size == len(whole)
    assert tar.sha256 == hashlib.sha256(whole).hexdigest()
    assert write(members)[0] == whole
