"""The page of a cross-validation."""

import json
import re

import numpy as np
import pytest

from torchloupe.cli.main import run as run_command
from torchloupe.studies.cross_validation import cross_validate
from torchloupe.studies.folds_page import fold_chart

pytestmark = [pytest.mark.usefixtures("own_cache"), pytest.mark.reports]


def test_folds_leave_a_page_that_links_to_those_of_each(tmp_path, capsys):
    random = np.random.default_rng(0)
    labels = np.arange(60) % 2
    images = (random.random((60, 8, 8)) * 120 + labels[:, None, None] * 100).astype(np.uint8)
    found = cross_validate((images, labels), folds=2, model="net", epochs=1, out=tmp_path / "folds")
    page = (found.folder / "report.html").read_text(encoding="utf-8")
    assert re.findall(r'href="(fold-\d/report.html)"', page) == [
        "fold-1/report.html",
        "fold-2/report.html",
    ]
    assert (found.folder / "fold-1" / "report.html").is_file()
    facts = json.loads(re.search(r'id="facts">(.*?)</script>', page, re.S)[1])
    assert len(facts["images"]["id"]) == 60
    (found.folder / "report.html").unlink()
    assert run_command(["report", str(found.folder)]) == 0
    assert (found.folder / "report.html").read_text(encoding="utf-8") == page


def test_the_chart_has_a_dot_for_each_fold():
    runs = [{"accuracy": 0.5}, {"accuracy": 0.75}]
    dots, mean = fold_chart({"runs": runs, "accuracy_mean": 0.625})["series"]
    assert (dots["x"], dots["y"], mean["y"]) == ([1, 2], [0.5, 0.75], [0.625, 0.625])
