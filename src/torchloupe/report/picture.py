"""A look as one PNG picture: the image, heat maps, the classes, and a row of maps per layer.

The font is the one in Pillow, so that it looks the same everywhere. It has Latin letters only;
other letters are written as escapes here (the HTML page shows them).
"""

from PIL import Image, ImageDraw, ImageFont

from torchloupe.errors import printable
from torchloupe.report.colours import Pixels, enlarge, lay_over, to_colours
from torchloupe.report.look import Look, Shown
from torchloupe.units import plural

_WIDTH, _EDGE, _PANEL, _GAP = 1600, 48, 460, 36
_TILES, _TILE = 12, 115
_INK, _PALE, _LINE, _ACCENT = "#1c2430", "#6b7685", "#e3e8ee", "#3b76c2"
_MOST_CLASSES = 8


def draw_look(look: Look) -> Image.Image:
    """The picture, 1600 pixels wide."""
    top = 172
    below = top + _PANEL + 96
    height = below + len(look.layers) * (_TILE + 84) + 12
    page = Image.new("RGB", (_WIDTH, height), "white")
    pen = ImageDraw.Draw(page)
    label, probability = look.ranking[0]
    width = _write(pen, _EDGE, 40, _shorten(label, 36), 52)
    _write(pen, _EDGE + width + 24, 52, f"{100 * probability:.1f} %", 38, _ACCENT)
    about = f"{_shorten(look.image_name, 60)}, seen by {_shorten(look.model_name, 60)}"
    _write(pen, _EDGE, 112, about, 22, _PALE)
    _panels(page, pen, look, top)
    _bars(pen, look, _EDGE + 2 * (_PANEL + _GAP) + 8, top)
    for number, layer in enumerate(look.layers):
        _row(page, pen, layer, below + number * (_TILE + 84))
    return page


def _panels(page: Image.Image, pen: ImageDraw.ImageDraw, look: Look, top: int) -> None:
    height, width = look.pixels.shape[:2]
    name, heat = look.heat[0]
    large = enlarge(look.pixels, _PANEL, _PANEL)
    captions = (
        (large, f"what the model sees: {width} x {height} pixels", ""),
        (
            lay_over(large, heat),
            f"where it sees {_shorten(name, 26)!r}" if heat.any() else "no evidence in these maps",
            f"Grad-CAM of layer {_shorten(look.heat_layer, 34)}",
        ),
    )
    for number, (pixels, caption, remark) in enumerate(captions):
        x = _EDGE + number * (_PANEL + _GAP)
        _paste(page, pixels, x, top, _PANEL)
        pen.rectangle((x, top, x + _PANEL - 1, top + _PANEL - 1), outline=_LINE)
        _write(pen, x, top + _PANEL + 12, caption, 20)
        _write(pen, x, top + _PANEL + 40, remark, 18, _PALE)


def _bars(pen: ImageDraw.ImageDraw, look: Look, x: int, top: int) -> None:
    room = _WIDTH - _EDGE - x
    for number, (name, probability) in enumerate(look.ranking[:_MOST_CLASSES]):
        y = top + number * 57
        _write(pen, x, y, _shorten(name, 32), 20, _INK if number == 0 else _PALE)
        share = f"{100 * probability:.1f} %"
        _write(pen, x + room - _width_of(share, 20), y, share, 20, _INK if number == 0 else _PALE)
        pen.rounded_rectangle((x, y + 28, x + room, y + 40), 6, fill=_LINE)
        filled = round(room * min(1.0, probability))
        colour = _ACCENT if number == 0 else "#a9bedb"
        if filled > 12:
            pen.rounded_rectangle((x, y + 28, x + filled, y + 40), 6, fill=colour)
        elif filled:
            pen.rectangle((x, y + 28, x + filled, y + 40), fill=colour)


def _row(page: Image.Image, pen: ImageDraw.ImageDraw, layer: Shown, top: int) -> None:
    pen.line((_EDGE, top - 14, _WIDTH - _EDGE, top - 14), fill=_LINE)
    width = _write(pen, _EDGE, top, _shorten(layer.name, 48), 22)
    count, height, wide = layer.channels, *layer.maps.shape[1:]
    shown = min(_TILES, len(layer.maps))
    what = f"{_shorten(layer.type, 30)}, {plural(count, 'map')} of {wide} x {height}"
    what += f", the {shown} most varied" if shown < count else ""
    _write(pen, _EDGE + width + 16, top + 2, what, 20, _PALE)
    step = (_WIDTH - 2 * _EDGE - _TILE) / (_TILES - 1)
    for number, values in enumerate(layer.maps[:_TILES]):
        tile = enlarge(to_colours(values), _TILE, _TILE)
        _paste(page, tile, round(_EDGE + number * step), top + 38, _TILE)


def _paste(page: Image.Image, pixels: Pixels, x: int, y: int, side: int) -> None:
    """Paste the pixels at the centre of a square."""
    height, width = pixels.shape[:2]
    page.paste(Image.fromarray(pixels), (x + (side - width) // 2, y + (side - height) // 2))


def _write(pen: ImageDraw.ImageDraw, x: int, y: int, text: str, size: int, fill: str = _INK) -> int:
    """Write the text; returns its width."""
    pen.text((x, y), text, font=ImageFont.load_default(size), fill=fill)
    return _width_of(text, size)


def _width_of(text: str, size: int) -> int:
    return round(ImageFont.load_default(size).getlength(text))


def _shorten(text: str, most: int) -> str:
    """The text in letters that the font has, shortened to `most` of them."""
    latin = "".join(c if ord(c) < 0x250 else c.encode("unicode_escape").decode() for c in text)
    return printable(latin.encode(errors="backslashreplace").decode(), most)
