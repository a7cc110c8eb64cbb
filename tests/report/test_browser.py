"""Pages of real runs in a real browser: they work, ask for nothing, and can be used by all.

Needs Chromium, Node and `npm install --no-package-lock` in tests/report/browser; skipped without
them, unless REPORT_BROWSER=required, which CI says.
"""

import gzip
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from torchloupe.cli.compare import write_page
from torchloupe.config.schema import Config
from torchloupe.studies.comparison import compare
from torchloupe.studies.cross_validation import cross_validate
from torchloupe.studies.sweep.book import COMPLETE, FAILED, PRUNED, RUNNING, Trial
from torchloupe.studies.sweep.page import make_sweep_page
from torchloupe.studies.sweep.plan import Plan
from torchloupe.studies.sweep.space import Dimension, make_space
from torchloupe.train.start import fit, train

FOLDER = Path(__file__).with_name("browser")
STAMPS = Path("/usr/share/tuxpaint/stamps")
CLOTHES = Path("/usr/share/datasets/fashion-mnist")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
MISSING = [
    name
    for name, is_there in (
        ("chromium", bool(CHROMIUM)),
        ("node", bool(shutil.which("node"))),
        ("its packages", (FOLDER / "node_modules" / "axe-core").is_dir()),
    )
    if not is_there
]
IS_REQUIRED = os.environ.get("REPORT_BROWSER") == "required"
pytestmark = [
    pytest.mark.reports,
    pytest.mark.usefixtures("own_cache"),
    pytest.mark.skipif(
        bool(MISSING) and not IS_REQUIRED,
        reason=f"no browser to open pages in: {', '.join(MISSING)} missing",
    ),
]
QUICK = {
    "model.name": "net",
    "train.epochs": 1,
    "hardware.threads": 1,
    "hardware.precision": "fp32",
    "data.val_fraction": 0.2,
    "data.test_fraction": 0.25,
}
HOSTILE = (
    "<script>alert(1)</script>",
    "\"quoted\" 'class' & <b>",
    "שלום עולם",
    "evil\u202etxt.exe",
)
SECTIONS = ["Data", "Training", "Test", "Map of the images", "What to do next"]


def draw_hostile(folder):
    """Images whose class and file names try to be markup."""
    random = np.random.default_rng(0)
    for number, name in enumerate(HOSTILE):
        (folder / name.replace("/", "∕")).mkdir(parents=True)  # noqa: RUF001
        for k in range(16):
            file = ('"><img src=x onerror=alert(1)>', f"'\"&{k}", "שלום", "plain")[k % 4]
            pixels = random.integers(0, 200, (14, 18, 3), dtype=np.uint8)
            pixels[number * 3 : number * 3 + 3] += 50
            Image.fromarray(pixels).save(folder / name.replace("/", "∕") / f"{k}{file}.png")  # noqa: RUF001
    return folder


def write_several(folder):
    """A table of images with several labels."""
    random, lines = np.random.default_rng(0), ["image,red,green,blue"]
    folder.mkdir()
    for k in range(120):
        labels = random.integers(0, 2, 3)
        pixels = random.integers(0, 150, (10, 10, 3)) + labels * 90
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{k}.png")
        lines.append(f"{k}.png,{','.join(map(str, labels))}")
    (folder / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder / "labels.csv"


def draw_sweep(folder):
    """The page of a sweep, of trials of each kind whose names try to be markup."""
    space = make_space({"optimizer.lr": "1e-4..1e-2:log"}, Config())
    plan = Plan("s", (*space, Dimension("model.name", HOSTILE)), 0, "val_loss", 5, 0, 0, "asha", "")
    states = (COMPLETE, COMPLETE, PRUNED, FAILED, RUNNING)
    values = [{"optimizer.lr": 10.0 ** (k - 4), "model.name": HOSTILE[k % 4]} for k in (0, 2, 1)]
    trials = [
        Trial(k, state, values[k % 3], {1: 0.5 / (k + 1)}, 0.4 / (k + 1), HOSTILE[0], 1.0)
        for k, state in enumerate(states)
    ]
    counts = {"trials": 5, "complete": 2, "cut_short": 1, "failed": 1, "running": 1}
    known = {"notes": [], "monitor": "val_loss", "seconds": 3.5, "repeated": [], "winner": None}
    page = make_sweep_page(folder, plan, trials, {**counts, **known, "importance": {HOSTILE[0]: 1}})
    (folder / "sweep.html").write_text(page, encoding="utf-8")
    return folder / "sweep.html"


def train_many(classes, out):
    """A run of as many classes, on noise."""
    labels = np.repeat(np.arange(classes), 4)
    images = np.random.default_rng(0).integers(0, 255, (len(labels), 8, 8), dtype=np.uint8)
    fit((images, labels), settings=QUICK, out=out)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The page of each kind of run."""
    place = tmp_path_factory.mktemp("pages")
    random = np.random.default_rng(0)
    train(draw_hostile(place / "data" / "hostile"), QUICK, out=place / "hostile")
    columns = {"data.label_column": "red,green,blue"}
    train(write_several(place / "data" / "several"), {**QUICK, **columns}, out=place / "several")
    train_many(60, place / "many")
    two = random.integers(0, 255, (60, 8, 8), dtype=np.uint8), np.arange(60) % 2
    cross_validate(two, folds=2, settings=QUICK, out=place / "folds")
    longer = {**QUICK, "train.epochs": 2}
    train(place / "data" / "hostile", longer, out=place / "longer")
    compared = compare(place / "hostile", place / "longer", draws=50)
    write_page(compared, place / "comparison.html")
    names = ("hostile", "several", "many", "folds")
    found = {name: place / name / "report.html" for name in names}
    return {**found, "comparison": place / "comparison.html", "sweep": draw_sweep(place)}


@pytest.fixture(scope="module")
def visits(pages):
    """What a browser saw of each page; that of hostile names was looked at in full."""
    return visit(pages, full={"hostile"})


def visit(pages, full):
    """What visit.cjs tells of each page."""
    kinds = {name: "full" if name in full else "brief" for name in pages}
    words = [f"{kinds[name]}:{path}" for name, path in pages.items()]
    command = ["node", str(FOLDER / "visit.cjs"), CHROMIUM, *words]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=1500 if len(full) > 1 else 280, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    return {name: told[str(path)] for name, path in pages.items()}


def check_page(told, has_charts=True):
    """What holds for every page."""
    assert told["errors"] == []
    assert told["requests"] == []
    assert told["flaws"] == []
    assert told["width"] <= 390
    assert told.get("pdf", 10_001) > 10_000
    if not has_charts:
        assert told["chart"] is None
        return
    assert told["chart"]["tip"] == 1
    for chart in told["chart"]["charts"]:
        assert chart["label"], chart
        assert chart["words"] >= 3, chart  # numbers at both axes, and what they are


@pytest.mark.parametrize("name", ["hostile", "several", "many", "folds", "sweep"])
def test_a_page_works_and_asks_for_nothing(visits, name):
    check_page(visits[name])


def test_a_comparison_is_a_page_like_the_others(visits):
    told = visits["comparison"]
    check_page(told, has_charts=False)
    assert told["tables"] == 3
    assert "longer against hostile" in told["sections"]


def check_use(told):
    """What a person does with the page of a run: cells, the map, sorting and folding."""
    cell = told["cell"]
    assert cell["isOpen"] and cell["isClosed"] and cell["focusInside"]
    assert cell["shown"] == min(cell["wanted"], 120)
    assert cell["tiles"] == cell["shown"]
    assert cell["flaws"] == []
    if told["map"] is not None:
        assert told["map"]["isShown"] and told["map"]["byKey"]
        assert told["map"]["tiles"] == 1
    assert told["sorted"]["up"] == sorted(told["sorted"]["up"])
    assert told["sorted"]["down"] == told["sorted"]["up"][::-1] or told["sorted"]["down"] == sorted(
        told["sorted"]["up"], reverse=True
    )
    assert told["sorted"]["state"] == "descending"
    assert told["folds"]["count"] == told["folds"]["open"] > 2
    assert told["folds"]["undrawn"] == 0


@pytest.mark.parametrize("name", ["hostile", "several", "many"])
def test_cells_map_sorting_and_folding_work(visits, name):
    check_use(visits[name])


def test_the_page_of_a_run_has_every_part(visits):
    told = visits["hostile"]
    assert [title for title in told["sections"] if title in SECTIONS] == SECTIONS
    assert told["matrix"] == {"moved": True, "isOpen": True, "stops": 1}
    assert told["cut"] > 16  # boxes that were printed with a picture of their own
    assert told["map"]["crosses"] > 0
    assert "label:" in told["map"]["text"]
    assert told["pdf"] > 10_000


def test_names_are_text(visits):
    text = visits["hostile"]["text"]
    for name in HOSTILE[1:3]:
        assert name in text
    assert "<script>alert(1)" in text
    assert "evil\\u202etxt.exe" in text
    assert '"><img src=x onerror=alert(1)>' in text


def test_of_many_classes_the_confused_ones_are_shown(visits):
    assert "classes that are confused most, of 60" in visits["many"]["text"]
    assert visits["several"]["matrix"] is None


def train_clothes(out):
    """A run over 10,000 test images of Fashion-MNIST, of few training images."""
    images, labels = read_part("train")
    parts = {"train": (images[:2_000], labels[:2_000]), "val": (images[-500:], labels[-500:])}
    fit({**parts, "test": read_part("t10k")}, settings=QUICK, out=out)


def read_part(name):
    """Images [N, 28, 28] and labels of Debian's files of Fashion-MNIST."""
    found = []
    for kind, header, shape in (("images-idx3", 16, (-1, 28, 28)), ("labels-idx1", 8, (-1,))):
        content = gzip.decompress((CLOTHES / f"{name}-{kind}-ubyte.gz").read_bytes())
        found.append(np.frombuffer(content, np.uint8, offset=header).reshape(shape))
    return found


WIDE = ("digits", "photos", "clothes", "many", "two")


@pytest.fixture(scope="module")
def wide_visits(tmp_path_factory):
    """What a browser saw of the pages of larger runs, and the pages."""
    if not (STAMPS.is_dir() and CLOTHES.is_dir()):
        pytest.skip("needs the Debian packages tuxpaint-stamps-default and dataset-fashion-mnist")
    place = tmp_path_factory.mktemp("wide")
    train("digits", {"train.epochs": 1, "model.name": "net"}, out=place / "digits")
    train(STAMPS, {"train.strategy": "head"}, out=place / "photos")
    train_clothes(place / "clothes")
    train_many(500, place / "many")
    two = np.random.default_rng(0).integers(0, 255, (60, 8, 8), dtype=np.uint8), np.arange(60) % 2
    fit(two, settings=QUICK, out=place / "two")
    pages = {name: place / name / "report.html" for name in WIDE}
    return visit(pages, full=set(pages)), pages


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", WIDE)
def test_pages_of_digits_photographs_clothes_two_and_500_classes_work(wide_visits, name):
    visits, pages = wide_visits
    check_page(visits[name])
    check_use(visits[name])
    assert pages[name].stat().st_size < 5_000_000
