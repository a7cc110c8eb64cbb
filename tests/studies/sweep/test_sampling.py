"""What is tried next and what is cut short: functions of the record alone."""

import optuna
import pytest

from torchloupe.config.schema import Config
from torchloupe.studies.sweep.book import COMPLETE, Book, distribution_of
from torchloupe.studies.sweep.plan import Plan
from torchloupe.studies.sweep.sampling import judge, propose
from torchloupe.studies.sweep.space import make_space

RANGES = make_space({"optimizer.lr": "1e-4..1e-1:log", "augment.translate": "0..0.3"}, Config())


def make_plan(space=RANGES, *, prune="asha", seed=0, monitor="val_accuracy"):
    """A plan of thirty trials."""
    return Plan("study", space, seed, monitor, 30, 0.0, 0, prune, "")


def value_of(values):
    """A made-up accuracy: highest at a rate of 1e-2 and without shifts."""
    return 1 / (1 + abs(values["optimizer.lr"] - 1e-2) * 50 + values["augment.translate"])


def fill(plan, folder, count):
    """A record with `count` finished trials, each proposed after the last."""
    book = Book(plan, folder)
    for _ in range(count):
        values = propose(plan, book.frozen())
        book.finish(book.begin(values).number, COMPLETE, value_of(values), "", 1.0)
    return book


def test_a_proposal_is_a_function_of_the_seed_and_the_trials(tmp_path):
    plan = make_plan()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, two = fill(plan, tmp_path / "a", 15), fill(plan, tmp_path / "b", 15)
    assert [t.values for t in one.trials()] == [t.values for t in two.trials()]
    assert propose(plan, one.frozen()) == propose(plan, two.frozen())
    assert propose(make_plan(seed=1), one.frozen()) != propose(plan, one.frozen())
    (tmp_path / "c").mkdir()
    assert propose(plan, Book(plan, tmp_path / "c").frozen()) == dict(one.trials()[0].values)


def test_the_search_finds_better_values_than_chance_does(tmp_path):
    trials = fill(make_plan(), tmp_path, 40).trials()
    values = [trial.value for trial in trials]
    assert sum(values[20:]) / 20 > sum(values[:10]) / 10 + 0.1


def test_no_combination_is_tried_twice_and_then_there_is_none(tmp_path):
    space = make_space({"model.name": "cnn,net", "augment.policy_count": "1..3"}, Config())
    plan, seen = make_plan(space), []
    book = Book(plan, tmp_path)
    while (values := propose(plan, book.frozen())) is not None:
        seen.append(tuple(values.values()))
        book.finish(book.begin(values).number, COMPLETE, 0.5, "", 1.0)
    assert len(seen) == len(set(seen)) == 6


CURVES = [[0.3, 0.5, 0.7], [0.2, 0.4, 0.6], [0.6, 0.7, 0.8], [0.1, 0.2, 0.3], [0.65, 0.75, 0.9]]


def follow_curves(plan, book, curves=CURVES):
    """Report each curve until its trial is cut short; how many points each one has."""
    lengths = []
    for number, curve in enumerate(curves):
        book.begin({"optimizer.lr": 0.001 + number / 1000, "augment.translate": 0.1})
        points = {}
        for point, value in enumerate(curve, start=1):
            points[point] = value
            is_cut, rungs = judge(plan, book.frozen(), number, points)
            assert judge(plan, book.frozen(), number, points) == (is_cut, rungs)
            book.report(number, point, value, rungs)
            assert judge(plan, book.frozen(), number, points) == (is_cut, rungs)  # as after a kill
            if is_cut:
                break
        lengths.append(len(points))
        book.finish(number, COMPLETE, points[max(points)], "", 1.0)
    return lengths


@pytest.mark.parametrize("monitor", ["val_accuracy", "val_loss"])
def test_asha_decides_as_in_optuna_itself(tmp_path, monitor):
    plan = make_plan(monitor=monitor)
    lengths = follow_curves(plan, Book(plan, tmp_path))
    study = optuna.create_study(
        direction="minimize" if plan.minimises else "maximize",
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
    )
    expected = []
    for curve in CURVES:
        trial = study.ask({d.name: distribution_of(d) for d in RANGES})
        for point, value in enumerate(curve, start=1):
            trial.report(value, point)
            if trial.should_prune():
                break
        expected.append(point)
        study.tell(trial, value)
    assert lengths == expected
    assert 1 in lengths and 3 in lengths


def test_hyperband_cuts_some_and_none_cuts_none(tmp_path):
    falling = [[0.9 - number / 20 + point / 100 for point in range(9)] for number in range(12)]
    for prune in ("hyperband", "none"):
        (tmp_path / prune).mkdir()
        plan = make_plan(prune=prune)
        lengths = follow_curves(plan, Book(plan, tmp_path / prune), falling)
        assert lengths[0] == 9
        assert (min(lengths) < 9) == (prune == "hyperband")
