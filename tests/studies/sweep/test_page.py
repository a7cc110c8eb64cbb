"""The page of a sweep: what it draws, and that every name on it is text."""

import json
import re

import pytest
from small_sweep import told_of

from torchloupe.cli.main import run
from torchloupe.config.schema import Config
from torchloupe.studies.sweep.book import COMPLETE, FAILED, PRUNED, RUNNING, Trial
from torchloupe.studies.sweep.page import make_sweep_page, parallel_chart, trials_chart
from torchloupe.studies.sweep.plan import Plan
from torchloupe.studies.sweep.space import Dimension, make_space

LR = make_space({"optimizer.lr": "1e-4..1e-2:log"}, Config())
HOSTILE = Dimension("model.name", ("<script>alert(1)</script>", "cnn"))


def make_trials():
    """One trial of each kind."""
    values = [{"optimizer.lr": r, "model.name": n} for r, n in ((1e-4, "cnn"), (1e-3, "cnn"))]
    hostile = {"optimizer.lr": 1e-2, "model.name": HOSTILE.choices[0]}
    return [
        Trial(0, COMPLETE, values[0], {1: 0.4, 2: 0.5}, 0.5, "", 1.0),
        Trial(1, PRUNED, values[1], {1: 0.2}, None, "after evaluation 1", 0.5),
        Trial(2, COMPLETE, hostile, {1: 0.7}, 0.7, "", 2.0),
        Trial(3, FAILED, values[0], {}, None, "<b>no</b>", 0.0),
        Trial(4, RUNNING, values[1], {}, None, "", 0.0),
    ]


def make_plan(monitor="val_accuracy"):
    """A plan with a name that tries to be markup."""
    return Plan("s", (*LR, HOSTILE), 0, monitor, 5, 0.0, 0, "asha", "")


UNFINISHED = {
    **{"trials": 5, "complete": 2, "cut_short": 1, "failed": 1, "running": 1, "notes": []},
    **{"monitor": "val_accuracy", "seconds": 3.5, "importance": {"optimizer.lr": 0.75}},
    **{"repeated": [], "winner": None},
}


def facts_of(page):
    """The data that the page hands to its script."""
    return json.loads(re.search(r'id="facts">(.*?)</script>', page, re.DOTALL)[1])


def test_the_page_of_a_sweep_that_is_not_finished(tmp_path):
    page = make_sweep_page(tmp_path, make_plan(), make_trials(), UNFINISHED)
    assert "the sweep is not finished" in page
    assert "2 of 5" in page
    assert "<script>alert(1)" not in page and "&lt;script&gt;alert(1)" in page
    assert "&lt;b&gt;no&lt;/b&gt;" in page
    charts = facts_of(page)["charts"]
    assert charts["importance"]["rows"] == [{"name": "optimizer.lr", "parts": [0.75]}]
    assert set(charts) == {"trials", "parallel", "importance"}


def test_lines_of_trials_have_their_places_and_the_best_comes_first():
    chart = parallel_chart(make_plan(), make_trials())
    assert [line["name"] for line in chart["lines"]] == ["trial-002", "trial-000", "trial-001"]
    assert [line["at"] for line in chart["lines"]] == [
        pytest.approx([1, 0, 1]),
        pytest.approx([0, 1, 0.6]),
        pytest.approx([0.5, 1, 0]),
    ]
    assert [line["isCut"] for line in chart["lines"]] == [False, False, True]
    assert [axis["label"] for axis in chart["axes"]][-1] == "validation accuracy"
    by_loss = parallel_chart(make_plan("val_loss"), make_trials())
    assert [line["name"] for line in by_loss["lines"]] == ["trial-001", "trial-000", "trial-002"]
    assert [line["shade"] for line in by_loss["lines"]] == pytest.approx([1, 0.4, 0])


def test_the_best_so_far_never_falls():
    series = {line["name"]: line for line in trials_chart(make_plan(), make_trials())["series"]}
    assert series["best so far"]["y"] == [0.5, 0.7]
    assert series["cut short"]["x"] == [1]


@pytest.mark.reports
def test_report_writes_the_page_of_a_finished_sweep(whole, tmp_path, capsys):
    found, _ = whole
    page = tmp_path / "page.html"
    assert run(["report", str(found.folder), "--out", str(page)]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    text = page.read_text(encoding="utf-8")
    test = told_of(found.folder)[1]["winner"]["test"]
    assert f"{100 * test['accuracy']:.2f}\u00a0%" in text
    assert "tested once" in text and "The best with other seeds" in text
    assert 'src="http' not in text
    assert text.count('<th scope="row">') >= 6
