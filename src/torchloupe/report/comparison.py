"""The page of a comparison: runs on the same test images, as one HTML file that needs nothing else.

Plain values in, text out. Jinja2 escapes every value; the page has no script and makes no request.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from torchloupe.report.colours import Pixels
from torchloupe.report.document import fill_page

THUMBNAIL = 96  # pixels, the longer side at most
WIDTH = 400  # of a drawing of differences, in its own units


def make_comparison_page(
    comparison: Mapping[str, Any], verdict: Sequence[str], thumbnails: Mapping[str, Pixels]
) -> str:
    """The page of a Comparison as plain values, with `verdict` in lines.

    `thumbnails` are images [H, W, 3] by id, of the flipped images that are shown.
    """
    shown = [flip for flip in comparison["flips"] if flip["id"] in thumbnails]
    values = {
        "title": " and ".join(run["name"] for run in comparison["runs"]),
        "comparison": comparison,
        "verdict": verdict,
        "pairs": [{**pair, "bars": place_bars(pair["scores"])} for pair in comparison["pairs"]],
        "flips": shown,
        "pictures": {name: to_uri(pixels) for name, pixels in thumbnails.items()},
        "width": WIDTH,
    }
    return fill_page("comparison.html", values, has_script=False)


def place_bars(scores: Sequence[Mapping[str, Any]]) -> list[dict[str, float] | None]:
    """Where each difference and its interval lie in a drawing of WIDTH, 0 in the middle.

    Losses (nll, brier) are turned round, so that right is better for every score. None for a
    score without an interval.
    """
    ends = [abs(end) for score in scores for end in score["interval"] or ()]
    reach = max([*ends, 1e-9])
    bars: list[dict[str, float] | None] = []
    for score in scores:
        if score["interval"] is None:
            bars.append(None)
            continue
        sign = -1 if score["name"] in ("nll", "brier") else 1
        low, high = sorted(sign * end for end in score["interval"])
        low, middle, high = (
            WIDTH / 2 * (1 + 0.95 * value / reach)
            for value in (low, sign * score["difference"], high)
        )
        sure, worse = low > WIDTH / 2, high < WIDTH / 2
        bars.append({"low": low, "middle": middle, "high": high, "sure": sure, "worse": worse})
    return bars


def to_uri(pixels: Pixels) -> str:
    """A thumbnail of an image [H, W, 3] as a data URI."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
