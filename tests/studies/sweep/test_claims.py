"""Work that is claimed by one process at a time, and free when that process is dead."""

import multiprocessing
import os
import signal
import stat
from pathlib import Path

import pytest

from torchloupe.errors import ResourceError
from torchloupe.studies.sweep.claims import Claims


def hold(folder: Path, pipe) -> None:
    """Claim a piece of work, say so, and keep it until killed."""
    lock = Claims(folder).take("trial-000")
    pipe.send(lock is not None)
    signal.pause()


def test_work_is_claimed_once_and_free_after_a_kill(tmp_path):
    ours, theirs = multiprocessing.get_context("forkserver").Pipe()
    process = multiprocessing.get_context("forkserver").Process(
        target=hold, args=(tmp_path, theirs)
    )
    process.start()
    assert ours.poll(60) and ours.recv() is True
    claims = Claims(tmp_path)
    assert claims.take("trial-000") is None
    other = claims.take("trial-001")
    assert other is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    lock = claims.take("trial-000")
    assert lock is not None
    lock.release()
    other.release()
    claims.clear()
    assert list(tmp_path.iterdir()) == []


def test_one_at_a_time_hands_out_work(tmp_path):
    claims = Claims(tmp_path)
    with claims.alone():
        assert claims.take("next") is None
    lock = claims.take("next")
    assert lock is not None
    lock.release()


@pytest.mark.skipif(os.name == "nt", reason="modes of folders are those of Unix")
def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    place = tmp_path / "file"
    place.write_text("")
    with pytest.raises(ResourceError, match="can't write in"):
        Claims(place)
    assert stat.S_ISREG(place.stat().st_mode)
