"""`loupe report`."""

import pytest

from torchloupe.cli import main
from torchloupe.train.start import train

pytestmark = [pytest.mark.usefixtures("own_cache"), pytest.mark.reports]
QUICK = {"model.name": "net", "train.epochs": 1, "train.report": False}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train("digits", QUICK, out=tmp_path_factory.mktemp("runs") / "one").folder


def test_the_page_is_written_and_named(run, capsys):
    assert main.run(["report", str(run)]) == 0
    assert capsys.readouterr().out == f"{run}/report.html\n"
    assert (run / "report.html").stat().st_size > 50_000


def test_a_run_that_has_ended_is_not_followed(run, capsys):
    assert main.run(["report", str(run), "--live"]) == 2
    said = capsys.readouterr().err
    assert f"no process trains {run} now" in said
    assert f"loupe report {run}" in said


def test_training_names_its_page_last(tmp_path, capsys):
    words = ["train", "digits", "--model", "net", "--epochs", "1", "--quiet"]
    assert main.run([*words, "--out", str(tmp_path / "run")]) == 0
    last = capsys.readouterr().out.rstrip().splitlines()[-1]
    assert last.split() == ["report", str(tmp_path / "run" / "report.html")]
