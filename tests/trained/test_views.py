"""Whether test-time views pay, as measured on val."""

import json
from pathlib import Path

import pytest

import torchloupe as loupe
from torchloupe.cli import main
from torchloupe.evaluation.paired_tests import McNemar
from torchloupe.trained.views import ViewsVerdict, weigh_views

Capture = pytest.CaptureFixture[str]


def test_views_are_weighed_on_val(noisy_run: Path) -> None:
    run = loupe.open_run(noisy_run, device="cpu")
    found = weigh_views(run, "flip")
    assert (found.views, found.forwards) == ("flip", 2)
    assert found.images == run.metrics["val"]["count"]
    scores = {score.name: score for score in found.scores}
    assert scores["accuracy"].first == run.metrics["val"]["accuracy"]
    assert scores["nll"].first == pytest.approx(run.metrics["val"]["nll"])
    flips = found.mcnemar.only_second - found.mcnemar.only_first
    assert scores["accuracy"].difference == pytest.approx(flips / found.images)
    low, high = scores["accuracy"].interval
    assert low <= scores["accuracy"].difference <= high


@pytest.mark.parametrize(
    ("first", "second", "p_value", "verdict"),
    [(2, 20, 0.001, "pays"), (20, 2, 0.001, "hurts"), (5, 6, 1.0, "none")],
)
def test_verdict_follows_the_test(first: int, second: int, p_value: float, verdict: str) -> None:
    found = ViewsVerdict("ten", 10, 100, (1.0, 9.0), McNemar(first, second, p_value), ())
    assert found.verdict == found.as_dict()["verdict"] == verdict


def test_command_says_whether_views_pay(noisy_run: Path, capsys: Capture) -> None:
    assert main.run(["eval", str(noisy_run), "--views", "five"]) == 0
    seen = capsys.readouterr().out
    assert seen.startswith("--views five ")
    assert "McNemar's exact test: p = " in seen
    assert "5 forwards of each image" in seen
    assert main.run(["eval", str(noisy_run), "--views", "five", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["views"]
    assert found["verdict"] in ("pays", "hurts", "none")
    assert main.run(["eval", str(noisy_run), "--views", "six"]) == 2
