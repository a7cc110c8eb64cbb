"""What `loupe eval` says of single images: a planted wrong label, a planted copy."""

import json

import pytest

from drawings import draw, draw_folder
from torchloupe.cli.main import run as run_command
from torchloupe.train.start import train
from torchloupe.trained.audit import audit_run
from torchloupe.trained.run import open_run

pytestmark = pytest.mark.usefixtures("own_cache")

QUICK = {"data.size": "72", "train.strategy": "head"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run on drawings with train and test folders, with one wrong label and one near-copy."""
    place = tmp_path_factory.mktemp("odd")
    for part, count in (("train", 14), ("test", 5)):
        draw_folder(place / "data" / part, {"cross": count, "ring": count})
    draw("cross", 77).save(place / "data" / "train" / "ring" / "wrong.png")
    copy = draw("ring", 1001)
    copy.putpixel((1, 1), (250, 250, 250))
    copy.save(place / "data" / "test" / "ring" / "copy.png")
    train(place / "data", QUICK, out=place / "run")
    return place


def test_planted_label_and_planted_copy_are_named(folder):
    found = audit_run(open_run(folder / "run"))
    assert found.note == ""
    assert found.features.values.shape[:2] == (len(found.features.rows), 1)
    assert [s["id"] for s in found.suspected_labels] == ["train/ring/wrong.png"]
    assert found.suspected_labels[0]["label"] == "ring"
    assert found.suspected_labels[0]["neighbours"] == "cross"
    copies = [t for t in found.near_duplicates if t["id"] == "test/ring/copy.png"]
    assert [(t["split"], t["other_split"]) for t in copies] in (
        [("test", "train")],
        [("test", "val")],
    )


def test_eval_prints_them_as_a_table_and_as_json(folder, capsys):
    assert run_command(["eval", str(folder / "run")]) == 0
    said = capsys.readouterr().out
    assert "perhaps mislabelled" in said
    assert "train/ring/wrong.png" in said
    assert "nearly the same" in said
    assert run_command(["eval", str(folder / "run"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["suspected_labels"][0]["id"] == "train/ring/wrong.png"


def test_other_data_and_runs_from_scratch_have_none(folder, capsys, tmp_path):
    assert run_command(["eval", str(folder / "run"), str(folder / "data" / "test")]) == 0
    assert "perhaps mislabelled" not in capsys.readouterr().out
    run = train("digits", {"model.name": "net", "train.epochs": 0.1}, out=tmp_path / "run")
    assert audit_run(run).suspected_labels == audit_run(run).near_duplicates == ()


def test_the_page_shows_the_planted_label_and_maps_the_same_features(folder):
    page = open_run(folder / "run").report().read_text(encoding="utf-8")
    assert "Labels to look at" in page
    assert "train/ring/wrong.png" in page
    assert "by the features that the pretrained network gives" in page
