"""The journal of a pack: what was noted is read back, what is spoilt is not."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from torchloupe.data.pack.decoding import BadImage, Chunk
from torchloupe.data.pack.journal import Journal


def chunk(number):
    bad = (BadImage(number, f"ö\n{number}\udcff", "not an image"),) if number % 2 else ()
    return Chunk(4 * number, np.arange(4, dtype=np.uint64) * 2**62 + number, bad)


def test_journal_gives_back_what_was_noted_by_any_thread(tmp_path):
    journal = Journal(tmp_path / "journal")
    assert journal.read() == []
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda k: journal.add(chunk(k), bytes([k] * 16)), range(100)))
    found = sorted(journal.read(), key=lambda entry: entry[0].start)
    assert [entry.start for entry, _ in found] == list(range(0, 400, 4))
    for number, (entry, digests) in enumerate(found):
        assert digests == bytes([number] * 16)
        assert (entry.content == chunk(number).content).all() and entry.bad == chunk(number).bad


@pytest.mark.parametrize("spoil", [b"", b"x", b"{}\n", b"0123456789abcdef {}\n", b"\0" * 100])
def test_journal_ends_where_it_is_spoilt_and_goes_on_from_there(tmp_path, spoil):
    journal = Journal(tmp_path / "journal")
    for number in range(3):
        journal.add(chunk(number), b"d")
    with journal.path.open("ab") as file:
        file.write(spoil)
    for count in range(3, 5):
        assert [entry.start for entry, _ in journal.read()] == [4 * k for k in range(count)]
        journal.add(chunk(count), b"d")
