"""The page of a comparison: every value as text, every picture inside, nothing asked for."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from torchloupe.report.comparison import make_comparison_page, place_bars, to_uri

ODD = '<script>alert("1")</script> שלום'


def score(name, difference, interval):
    return {
        "name": name,
        "first": 0.5,
        "second": 0.5 + difference,
        "difference": difference,
        "interval": interval,
    }


def make_values(flips=1):
    run = {
        "folder": "runs/a",
        "name": ODD,
        "model": "net",
        "accuracy": 0.9,
        "accuracy_ci95": (0.8, 0.95),
        "seconds": None,
        "images_per_second": None,
        "weights_bytes": 1_000_000,
    }
    flip = {
        "id": ODD,
        "label": "cat",
        "predictions": (ODD, "cat"),
        "confidences": (0.9, 0.8),
        "right": (False, True),
    }
    return {
        "runs": [run, {**run, "name": "b", "seconds": 90.0}],
        "images": 1234,
        "pairs": [
            {
                "first": 0,
                "second": 1,
                "scores": [
                    score("accuracy", 0.1, (0.05, 0.2)),
                    score("nll", 0.1, (0.05, 0.2)),
                    score("auroc", 0.1, None),
                ],
            }
        ],
        "flips": [{**flip, "id": f"{ODD}{k}"} for k in range(flips)],
        "settings": {"train.epochs": (1.0, ODD)},
    }


class Tags(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


def tags_of(page):
    parser = Tags()
    parser.feed(page)
    return parser.seen


def test_page_has_every_part_and_takes_text_as_text():
    pixels = np.zeros((8, 8, 3), np.uint8)
    page = make_comparison_page(make_values(), ["b is better than a"], {f"{ODD}0": pixels})
    tags = tags_of(page)
    assert "b is better than a" in page
    assert "1,234 test images" in page
    assert "train.epochs" in page
    assert not [tag for tag, _ in tags if tag in ("script", "link", "iframe", "object")]
    (picture,) = [attributes for tag, attributes in tags if tag == "img"]
    assert picture["src"] == to_uri(pixels)
    assert picture["src"].startswith("data:image/png;base64,")
    assert not re.findall(r"https?://", page)


def test_page_without_images_says_so():
    page = make_comparison_page(make_values(3), [], {})
    assert "no thumbnails" in page
    assert not [tag for tag, _ in tags_of(page) if tag == "img"]
    shown = make_comparison_page(make_values(3), [], {f"{ODD}1": np.zeros((2, 2, 3), np.uint8)})
    assert "most surely wrong about" in shown


def test_right_is_better_for_losses_too():
    accuracy, loss, none = place_bars(make_values()["pairs"][0]["scores"])
    assert accuracy["sure"]
    assert not accuracy["worse"]
    assert loss["worse"]
    assert accuracy["low"] < accuracy["middle"] < accuracy["high"] == pytest.approx(390)
    assert loss["low"] == pytest.approx(10)
    assert none is None
