"""Pages of real runs: each part is there, and what can't be had is left out and said."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from torchloupe.train.start import fit, train
from torchloupe.trained.facts.page import PAGE_BYTES
from torchloupe.trained.run import open_run

pytestmark = [pytest.mark.usefixtures("own_cache"), pytest.mark.reports]
QUICK = {
    "model.name": "net",
    "train.epochs": 1,
    "hardware.threads": 1,
    "hardware.precision": "fp32",
}


def facts_of(page):
    """What the page hands to its script."""
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="facts">(.*?)</script>', text, re.S)
    return json.loads(found[1])


def sections_of(page):
    return re.findall(r'<section id="(\w+)"', page.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder of two classes of drawings, with two identical files and one that is no image."""
    place = tmp_path_factory.mktemp("page")
    random = np.random.default_rng(0)
    for number, name in enumerate(("<b>cat</b>", "dog")):
        (place / "data" / name).mkdir(parents=True)
        for k in range(40):
            pixels = random.integers(0, 200, (16, 20, 3), dtype=np.uint8)
            pixels[:, :, number] //= 2
            kind = "jpg" if k % 3 else "png"
            Image.fromarray(pixels).save(place / "data" / name / f"{k}.{kind}")
    first = place / "data" / "dog"
    (first / "copy.png").write_bytes((first / "0.png").read_bytes())
    (first / "broken.png").write_bytes(b"no image")
    return train(place / "data", {**QUICK, "data.bad_fraction": 0.05}, out=place / "run")


def test_training_leaves_a_page_with_every_part(run):
    page = run.folder / "report.html"
    wanted = ["head", "data", "training", "test", "map", "ledger", "next", "settings"]
    assert sections_of(page) == wanted
    facts = facts_of(page)
    assert {"classes", "loss", "lr", "speed", "coverage", "reliability", "slices"} <= set(
        facts["charts"]
    )
    groups = {row["group"] for row in facts["charts"]["slices"]["rows"]}
    assert {"brightness", "file type"} & groups
    text = page.read_text(encoding="utf-8")
    assert "<b>cat</b>" not in text
    assert "broken.png" in text
    assert "1 pair of identical images" in text
    assert "where the evidence lies" in text


def test_images_have_thumbnails_labels_and_answers(run):
    facts = facts_of(run.folder / "report.html")
    images = facts["images"]
    assert len(set(images["id"])) == len(images["id"])
    assert sorted(images["tile"]) == list(range(len(images["tile"])))
    evaluated = [k for k, is_so in enumerate(images["evaluated"]) if is_so]
    assert len(evaluated) == run.metrics["test"]["count"]
    right = sum(images["right"][k] for k in evaluated)
    assert right == round(run.metrics["test"]["accuracy"] * len(evaluated))
    for k in evaluated:
        assert images["split"][k] == 2
        assert facts["classes"][images["label"][k]] == images["id"][k].split("/")[0]
    assert len(facts["map"]["image"]) == len(facts["map"]["x"]) == facts["map"]["count"]


def test_a_run_opened_again_gives_the_same_page(run, tmp_path):
    again = open_run(run.folder).report(tmp_path / "again.html")
    first, second = facts_of(run.folder / "report.html"), facts_of(again)
    sure = [found["images"].pop("confidence") for found in (first, second)]
    assert sure[0] == pytest.approx(sure[1], abs=1e-4)  # of val: with another number of threads
    assert first["images"] == second["images"]
    assert first["charts"] == second["charts"]
    assert first["map"]["image"] == second["map"]["image"]
    assert again.stat().st_size < PAGE_BYTES


def test_a_notebook_shows_the_head(run):
    text = run._repr_html_()
    assert "test accuracy" in text
    assert "&lt;b&gt;cat" in text or "<b>cat" not in text


def test_a_page_is_not_replaced_by_one_without_images(tmp_path):
    images, labels = np.random.default_rng(0).random((60, 8, 8, 1)), np.arange(60) % 3
    images = (images * 255).astype(np.uint8)
    run = fit((images, labels), settings=QUICK, out=tmp_path / "run")
    assert facts_of(tmp_path / "run" / "report.html")["sprite"]
    with pytest.raises(Exception, match="a page without images would replace"):
        run.report()
    other = run.report(tmp_path / "other.html")
    assert facts_of(other)["sprite"] is None
    assert "no images are shown" in other.read_text(encoding="utf-8")
    assert facts_of(run.report(data=(images, labels)))["sprite"]


def test_a_dataset_of_ones_own_has_thumbnails(tmp_path):
    class Squares(torch.utils.data.Dataset):
        def __len__(self):
            return 60

        def __getitem__(self, k):
            generator = torch.Generator().manual_seed(k)
            return torch.randn(3, 12, 12, generator=generator) + k % 2, k % 2

    run = fit(Squares(), settings=QUICK, out=tmp_path / "run")
    facts = facts_of(run.folder / "report.html")
    assert None not in facts["images"]["tile"]
    assert "map" in sections_of(run.folder / "report.html")


def test_a_stream_without_val_has_a_page(tmp_path):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            for k in range(64):
                yield torch.full((1, 8, 8), float(k % 2)), k % 2

    settings = {**QUICK, "data.class_names": ["dark", "light"]}
    run = fit(Stream(), settings=settings, out=tmp_path / "run")
    found = sections_of(run.folder / "report.html")
    assert found[0] == "head"
    assert "training" in found


def test_a_failure_is_a_note_and_the_setting_turns_it_off(tmp_path, capsys):
    (tmp_path / "run" / "report.html").mkdir(parents=True)
    (tmp_path / "run" / "report.html").rmdir()
    run = train("digits", {**QUICK, "train.report": False}, out=tmp_path / "run")
    assert not (run.folder / "report.html").exists()
    broken = tmp_path / "broken"
    heard = []

    class Breaker:
        def start(self, facts):
            (broken / "report.html").mkdir()

        def record(self, event):
            heard.append(event.get("note", ""))

        def close(self):
            heard.append("closed")

    train("digits", QUICK, out=broken, listeners=[Breaker()])
    assert [note for note in heard if note.startswith("report.html was not written")]
