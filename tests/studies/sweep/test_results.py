"""What a sweep leaves at its end, and what it says where nothing was trained to its end."""

import json
from dataclasses import replace

import pytest
from test_sampling import fill, make_plan

from torchloupe.config.settings import Settings
from torchloupe.errors import UsageError
from torchloupe.studies.sweep.book import PRUNED, Book
from torchloupe.studies.sweep.results import finish_sweep, measure_importance, sum_up


def test_importance_is_that_of_the_setting_that_matters(tmp_path):
    plan = make_plan()
    shares = measure_importance(plan, fill(plan, tmp_path, 30))
    assert list(shares) == ["optimizer.lr", "augment.translate"]
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["optimizer.lr"] > 0.6
    assert measure_importance(plan, Book(plan, tmp_path)) == shares


def test_of_few_trials_nothing_is_said(tmp_path):
    plan = make_plan()
    assert measure_importance(plan, fill(plan, tmp_path, 3)) is None


def test_without_a_complete_trial_there_is_no_winner(tmp_path):
    plan = replace(make_plan(), repeat=0)
    book = Book(plan, tmp_path)
    with pytest.raises(UsageError, match="the time was over before the first trial"):
        finish_sweep(tmp_path, plan, Settings(), book, None, trust_code=False)
    book.begin({"optimizer.lr": 0.01, "augment.translate": 0.1})
    book.finish(0, PRUNED, None, "the minutes of the sweep were over", 1.0)
    with pytest.raises(UsageError, match="none of 1 trials was trained to its end; the last: the"):
        finish_sweep(tmp_path, plan, Settings(), book, None, trust_code=False)
    assert sum_up(tmp_path, plan, book, None)["cut_short"] == 1
    assert list(tmp_path.glob("results.json")) == []


def test_results_are_those_of_the_runs(whole):
    found, _ = whole
    results = json.loads((found.folder / "results.json").read_text(encoding="utf-8"))
    assert results == found.results
    assert set(results["winner"]["settings"]) == {"optimizer.lr", "train.batch_total"}
    best = max(t.value for t in found.trials if t.value is not None)
    repeated = {each["trial"] for each in results["repeated"]}
    assert results["winner"]["value"] == best or len(repeated) > 1
