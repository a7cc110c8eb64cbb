"""The samples that were hard to learn, as a page shows them."""

from pathlib import Path

import pytest

import torchloupe as loupe
from torchloupe.config.schema import DataConfig
from torchloupe.prepare.data import prepare_data
from torchloupe.trained.facts.hard import MOST_SHOWN, TITLES, describe_hard
from torchloupe.trained.facts.images import ImageTable
from torchloupe.trained.samples import read_samples


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> loupe.Run:
    out = tmp_path_factory.mktemp("hard") / "run"
    return loupe.fit("digits", model="net", epochs=4, out=out)


def test_hard_samples_are_those_of_the_ledger(run: loupe.Run) -> None:
    data = prepare_data("digits", run.config.data, seed=run.config.train.seed)
    images = ImageTable(data, None)
    parts = describe_hard(run.folder, images)
    ranked = read_samples(run.folder).rank()
    counts = {part["title"]: part["count"] for part in parts}
    assert counts == {TITLES[kind]: len(places) for kind, places in ranked.items() if len(places)}
    never = next(part for part in parts if part["title"] == "Never learned")
    table = read_samples(run.folder)
    first = table.describe(int(ranked["never_learned"][0]))
    row = never["rows"][0]
    assert images.columns()["id"][row["image"]] == first["id"]
    assert row["words"].startswith("wrong in the last epoch, mean margin -")
    assert all(len(part["rows"]) <= MOST_SHOWN for part in parts)


def test_without_ledger_or_data_nothing_is_shown(run: loupe.Run, tmp_path: Path) -> None:
    data = prepare_data("digits", DataConfig(), seed=0)
    assert describe_hard(tmp_path, ImageTable(data, None)) == []
    assert describe_hard(run.folder, ImageTable(None, None)) == []
