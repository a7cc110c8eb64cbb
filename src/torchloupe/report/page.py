"""A look as one self-contained HTML page: no other file, no server, no request.

Pictures are embedded. Text from data or models is escaped, and a content security policy allows
only the script of this page, and no network address.
"""

import base64
import hashlib
import html
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from torchloupe.errors import printable
from torchloupe.report.colours import to_colours
from torchloupe.report.look import Look, Shown, Values
from torchloupe.report.picture import draw_look
from torchloupe.system.files import replace_file
from torchloupe.units import plural

MOST_MAP_PIXELS = 64  # the side of a feature map in the page; larger ones are averaged
_MOST_CLASSES = 20

_STYLE = """
:root { --ink: #1c2430; --pale: #6b7685; --line: #e3e8ee; --paper: #fff; --accent: #3b76c2;
  --bar: #a9bedb; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8edf4; --pale: #93a0b2; --line: #2b3442;
  --paper: #131922; --accent: #6ea8f0; --bar: #3d5678; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 2.5rem 2rem 4rem; color: var(--ink);
  background: var(--paper); font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 2.4rem; line-height: 1.2; overflow-wrap: anywhere; }
h1 output { color: var(--accent); font-weight: 500; margin-left: .4em; }
h2 { margin: 2.2rem 0 .7rem; padding-top: 1.1rem; border-top: 1px solid var(--line);
  font-size: 1.1rem; overflow-wrap: anywhere; }
h2 small, p, label, figcaption { color: var(--pale); font-weight: 400; }
p { margin: .3rem 0 1.6rem; overflow-wrap: anywhere; }
.top { display: flex; flex-wrap: wrap; gap: 2.5rem; }
.stage { flex: 0 1 30rem; margin: 0; }
.image { position: relative; border: 1px solid var(--line); line-height: 0; }
.image img { width: 100%; }
.image .seen, .maps img { image-rendering: pixelated; }
.image .heat { position: absolute; inset: 0; height: 100%; }
.controls { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; margin-top: .8rem; }
.controls label { display: flex; gap: .45rem; align-items: center; overflow-wrap: anywhere; }
input { accent-color: var(--accent); }
dl { flex: 1 1 20rem; margin: 0; }
dl div { display: grid; grid-template-columns: 1fr auto; margin-bottom: .7rem; }
dt { overflow-wrap: anywhere; } dd { margin: 0; font-variant-numeric: tabular-nums; }
dl div:not(:first-child) { color: var(--pale); }
.bar { grid-column: 1 / 3; height: .55rem; border-radius: .3rem; background: var(--line);
  overflow: hidden; }
.bar i { display: block; height: 100%; background: var(--bar); }
dl div:first-child .bar i { background: var(--accent); }
.maps { display: grid; grid-template-columns: repeat(auto-fill, minmax(5.2rem, 1fr)); gap: .5rem; }
.maps img { width: 100%; transition: transform .12s; }
.maps img:hover { transform: scale(2.4); position: relative; z-index: 2;
  box-shadow: 0 4px 18px #0006; }
"""

_SCRIPT = """
const heats = [...document.querySelectorAll(".heat")];
const strength = document.querySelector("#strength");
const seen = document.querySelector(".seen");
const show = () => {
  const chosen = document.querySelector("input[name=class]:checked").value;
  for (const heat of heats) heat.style.opacity = heat.id === chosen ? strength.value / 100 : 0;
  seen.style.filter = `grayscale(${strength.value}%)`;
};
for (const input of document.querySelectorAll("input")) input.addEventListener("input", show);
show();
"""


def write_page(look: Look) -> str:
    """The page as text."""
    hashed = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    policy += f"script-src 'sha256-{hashed}'"
    label, probability = look.ranking[0]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{_escape(label)}: {_escape(look.image_name)}</title>",
            f"<style>{_STYLE}</style>\n</head>\n<body>",
            f"<h1>{_escape(label)}<output>{100 * probability:.1f} %</output></h1>",
            f"<p>{_escape(look.image_name)}, seen by {_escape(look.model_name)}</p>",
            '<section class="top">',
            *_stage(look),
            *_classes(look),
            "</section>",
            *(line for layer in look.layers for line in _maps(layer)),
            f"<script>{_SCRIPT}</script>\n</body>\n</html>\n",
        ]
    )


def save_look(look: Look, out: Path) -> tuple[Path, Path]:
    """Write the picture to `out`.png and the page to `out`.html, atomically; returns both paths.

    A suffix .png or .html of `out` is replaced.
    """
    if out.suffix.lower() in (".png", ".html"):
        out = out.with_suffix("")
    picture, page = out.with_name(f"{out.name}.png"), out.with_name(f"{out.name}.html")
    content = io.BytesIO()
    draw_look(look).save(content, "PNG", optimize=True)
    replace_file(picture, content.getvalue())
    replace_file(page, write_page(look).encode())
    return picture, page


def _stage(look: Look) -> Iterable[str]:
    height, width = look.pixels.shape[:2]
    yield '<figure class="stage"><div class="image">'
    seen = _embed(Image.fromarray(look.pixels))
    yield f'<img class="seen" alt="what the model sees" src="{seen}">'
    for number, (name, heat) in enumerate(look.heat):
        alt = f"where the evidence for {_escape(name)} is"
        yield f'<img class="heat" id="heat{number}" alt="{alt}" src="{_embed(_tint(heat))}">'
    yield '</div><div class="controls">'
    for number, (name, heat) in enumerate(look.heat):
        checked = " checked" if number == 0 else ""
        remark = "" if heat.any() else " (no evidence in these maps)"
        yield (
            f'<label><input type="radio" name="class" value="heat{number}"{checked}>'
            f"{_escape(name)}{remark}</label>"
        )
    yield '<label>Grad-CAM <input type="range" id="strength" min="0" max="100" value="80"></label>'
    yield f"</div><figcaption>{width} x {height} pixels, as the model sees them; evidence in the "
    yield f"maps of layer {_escape(look.heat_layer)}</figcaption></figure>"


def _classes(look: Look) -> Iterable[str]:
    yield "<dl>"
    for name, probability in look.ranking[:_MOST_CLASSES]:
        share = f"{100 * probability:.2f}%"
        yield f"<div><dt>{_escape(name)}</dt><dd>{share.replace('%', ' %')}</dd>"
        yield f'<span class="bar"><i style="width: {share}"></i></span></div>'
    if len(look.ranking) > _MOST_CLASSES:
        yield f"<div>and {len(look.ranking) - _MOST_CLASSES:,} more</div>"
    yield "</dl>"


def _maps(layer: Shown) -> Iterable[str]:
    height, width = layer.maps.shape[1:]
    what = f"{_escape(layer.type)}, {plural(layer.channels, 'map')} of {width} x {height}"
    if len(layer.maps) < layer.channels:
        what += f", the {len(layer.maps)} most varied"
    yield f"<h2>{_escape(layer.name)} <small>{what}</small></h2>"
    yield '<div class="maps">'
    for number, values in zip(layer.numbers, layer.maps, strict=True):
        picture = Image.fromarray(to_colours(values))
        picture.thumbnail((MOST_MAP_PIXELS, MOST_MAP_PIXELS), Image.Resampling.BOX)
        yield f'<img alt="map {number}" title="map {number}" src="{_embed(picture)}">'
    yield "</div>"


def _tint(heat: Values) -> Image.Image:
    """A heat map in colours, transparent where the heat is 0."""
    alpha = np.sqrt(np.clip(heat, 0, 1))[..., None] * 255
    return Image.fromarray(np.concatenate([to_colours(heat, "heat"), alpha.astype(np.uint8)], 2))


def _embed(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _escape(text: str) -> str:
    shown = text.encode("utf-8", "backslashreplace").decode()
    return html.escape(printable(shown, 120))
