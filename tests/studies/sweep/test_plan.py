"""What a sweep was asked for, written and read."""

import json

import pytest

from torchloupe.config.schema import Config
from torchloupe.config.settings import Settings
from torchloupe.errors import UsageError
from torchloupe.studies.sweep.plan import Plan, make_name, read_plan, refuse_unknown, write_plan
from torchloupe.studies.sweep.space import make_space

SPACE = make_space({"optimizer.lr": "1e-4..1e-2:log", "model.name": "cnn,net"}, Config())
PLAN = Plan("s", SPACE, 3, "val_accuracy", 30, 0.0, 5, "asha", "")


def test_a_plan_and_its_settings_are_read_as_written(tmp_path):
    settings = Settings().with_typed({"train.epochs": 2})
    write_plan(tmp_path, PLAN, settings)
    assert not (tmp_path / "config.json").exists()  # as if killed between the two files
    plan, read = read_plan(tmp_path)
    assert plan == PLAN
    assert (read.config, read.origin("train.epochs")) == (settings.config, "typed")
    assert (tmp_path / "config.json").read_text() == settings.to_json()


def test_a_plan_of_another_format_is_refused(tmp_path):
    write_plan(tmp_path, PLAN, Settings())
    content = json.loads((tmp_path / "sweep.json").read_text())
    (tmp_path / "sweep.json").write_text(json.dumps({**content, "format": 99}))
    with pytest.raises(UsageError, match="has format 99; this version reads format 1"):
        read_plan(tmp_path)


def test_a_lower_loss_is_better():
    by_loss = Plan("s", SPACE, 0, "val_loss", 3, 0.0, 0, "none", "")
    assert by_loss.minimises and by_loss.is_better(0.1, 0.2)
    assert PLAN.is_better(0.2, 0.1)


@pytest.mark.parametrize(
    ("prune", "storage", "message"),
    [
        ("asah", "", "did you mean 'asha'?"),
        ("asha", "mysql://x/y", "postgresql://USER@HOST/DATABASE"),
        ("asha", "postgresql://me:secret@host/base", "PGPASSWORD"),
    ],
)
def test_unknown_pruners_and_databases_are_refused(prune, storage, message):
    with pytest.raises(UsageError) as caught:
        refuse_unknown(prune, storage)
    assert message in caught.value.hint
    refuse_unknown("hyperband", "postgresql://me@host:5432/base")


def test_names_of_studies_differ(tmp_path):
    assert make_name(tmp_path / "a") != make_name(tmp_path / "a")
