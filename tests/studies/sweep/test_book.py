"""The record of trials: whole after any kill, in a journal and in a real PostgreSQL."""

import json

import pytest
from postgresql import serving

from torchloupe.config.schema import Config
from torchloupe.errors import CheckpointError, ResourceError
from torchloupe.studies.sweep.book import (
    COMPLETE,
    FAILED,
    JOURNAL,
    PRUNED,
    Book,
    distribution_of,
    remove_torn_line,
)
from torchloupe.studies.sweep.plan import Plan
from torchloupe.studies.sweep.space import make_space

SPACE = make_space(
    {
        "optimizer.lr": "1e-4..1e-2:log",
        "train.batch_total": "16..256:log",
        "augment.translate": "0..0.3:step=0.1",
        "model.name": "cnn,net",
    },
    Config(),
)
VALUES = {
    "optimizer.lr": 0.001,
    "train.batch_total": 32,
    "augment.translate": 0.1,
    "model.name": "net",
}


def make_plan(storage=""):
    """A plan with a study of its own."""
    return Plan("study", SPACE, 0, "val_accuracy", 5, 0.0, 0, "asha", storage)


def check_book(plan, folder):
    """What is recorded is read by another process's book as it was written."""
    book = Book(plan, folder)
    assert [book.begin({**VALUES, "train.batch_total": n}).number for n in (16, 32, 64)] == [
        0,
        1,
        2,
    ]
    book.report(0, 1, 0.25, {"completed_rung_0": 0.25})
    book.report(0, 2, 0.5, {})
    book.finish(0, COMPLETE, 0.5, "", 3.5)
    book.report(1, 1, 0.125, {})
    book.finish(1, PRUNED, None, "after evaluation 1", 1.5)
    book.note_spent(10)
    book.note_spent(4)
    other = Book(plan, folder)
    first, second, third = other.trials()
    assert (first.state, first.value, first.seconds) == (COMPLETE, 0.5, 3.5)
    assert first.values == {**VALUES, "train.batch_total": 16}
    assert first.points == {1: 0.25, 2: 0.5}
    assert (second.state, second.value, second.reason) == (PRUNED, None, "after evaluation 1")
    assert third.is_running and third.folder == "trial-002"
    assert other.frozen()[0].system_attrs == {"completed_rung_0": 0.25}
    assert other.spent_seconds() == 10
    other.finish(2, FAILED, None, "no", 0)
    assert book.trials()[2].state == FAILED


def test_a_journal_holds_what_was_recorded(tmp_path):
    check_book(make_plan(), tmp_path)


def test_a_line_that_a_killed_process_left_half_written_is_removed(tmp_path):
    book = Book(make_plan(), tmp_path)
    book.begin(VALUES)
    journal = tmp_path / JOURNAL
    whole = journal.read_bytes()
    for torn in (b'{"op_code":', b"x" * 10_000):
        journal.write_bytes(whole + torn)
        after = Book(make_plan(), tmp_path)
        assert [trial.number for trial in after.trials()] == [0]
        after.report(0, 1, 0.5, {})
        lines = journal.read_bytes().splitlines()
        assert all(json.loads(line) for line in lines)
        assert Book(make_plan(), tmp_path).trials()[0].points == {1: 0.5}
    remove_torn_line(journal)
    assert journal.read_bytes().endswith(b"\n")


def test_a_file_without_a_line_end_is_emptied(tmp_path):
    path = tmp_path / "file"
    for content, kept in ((b"", b""), (b"abc", b""), (b"a\nb", b"a\n"), (b"a\n", b"a\n")):
        path.write_bytes(content)
        remove_torn_line(path)
        assert path.read_bytes() == kept


def test_a_damaged_journal_is_refused(tmp_path):
    Book(make_plan(), tmp_path).begin(VALUES)
    journal = tmp_path / JOURNAL
    lines = journal.read_bytes().splitlines()
    journal.write_bytes(b"\n".join([lines[0], b"{]", *lines[1:], b""]))
    with pytest.raises(CheckpointError, match=r"trials\.journal of the sweep is damaged"):
        Book(make_plan(), tmp_path).trials()


def test_a_database_that_is_not_there_is_said(tmp_path):
    pytest.importorskip("psycopg")
    with pytest.raises(ResourceError, match="the database of the sweep does not answer") as caught:
        Book(make_plan("postgresql://nobody@127.0.0.1:1/none"), tmp_path)
    assert "loupe resume" in caught.value.hint


def test_distributions_have_the_ends_and_the_kind(tmp_path):
    kinds = [str(distribution_of(dimension)) for dimension in SPACE]
    assert kinds == [
        "FloatDistribution(high=0.01, log=True, low=0.0001, step=None)",
        "IntDistribution(high=256, log=True, low=16, step=1)",
        "FloatDistribution(high=0.3, log=False, low=0.0, step=0.1)",
        "CategoricalDistribution(choices=('cnn', 'net'))",
    ]


@pytest.fixture(scope="session")
def database():
    """The address of a PostgreSQL server that lives as long as the tests."""
    with serving() as address:
        yield address


def test_postgresql_holds_what_was_recorded(database, tmp_path):
    check_book(make_plan(database), tmp_path)
