"""One picture of a net: its layers from top to bottom, the connections past them, their costs.

Drawn as SVG text, without any library. Names come from the model and are escaped.
"""

import html
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from torchloupe.errors import printable
from torchloupe.lens.anatomy import THE_MODEL, shorten
from torchloupe.lens.summary import Layer, Summary
from torchloupe.lens.trace import Shape
from torchloupe.units import format_bytes, format_count, plural

MOST_BOXES = 64  # of a net with more layers, those of one part share a box

_KINDS = (  # a part of a type's name, colour, meaning
    ("conv", "#3b76c2", "convolution"),
    ("attention", "#c2478f", "attention"),
    ("linear", "#7a56c2", "linear"),
    ("embedding", "#7a56c2", "linear"),
    ("norm", "#8a94a3", "norm"),
    ("pool", "#2f9a83", "pooling"),
    *((name, "#e0952b", "activation") for name in ("relu", "elu", "gelu", "silu", "swish", "mish")),
    *((name, "#e0952b", "activation") for name in ("sigmoid", "tanh", "softmax", "activation")),
)
_OTHER = ("#5f6b7a", "other")

_WIDTH, _TOP, _ROW, _GUTTER = 1120, 132, 30, 96
_SPINE = _GUTTER + 26  # where the boxes' shapes stand
_NAME, _SHAPE, _BARS = _SPINE + 40, 500, 640
_INK, _PALE, _LINE = "#1c2430", "#6b7685", "#c3ccd8"


@dataclass
class _Box:
    """One layer, or the layers of one part together."""

    name: str
    type: str
    kind: tuple[str, str]
    output_shape: Shape | None
    parameters: int
    flops: int
    seconds: float
    backward_seconds: float
    layers: int = 1
    feeds: set[int] = field(default_factory=set)  # numbers of boxes
    joins: set[int] = field(default_factory=set)


def draw_net(summary: Summary, title: str) -> str:
    """The picture as the text of an SVG file."""
    boxes = _make_boxes(summary)
    height = _TOP + _ROW * (len(boxes) + 1) + 26
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" font-family="system-ui, sans-serif" font-size="12">',
        f"<title>{_escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        *_head(summary, title, boxes),
        *_input(summary.input_shape),
        *_ways(boxes),
    ]
    columns = _columns(boxes)
    for number, box in enumerate(boxes):
        parts += _row(number, box, columns, _scales(boxes, summary))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _make_boxes(summary: Summary) -> list[_Box]:
    """The layers that compute something, in order; those of a long net are grouped."""
    all_names = [layer.name for layer in summary.layers]
    shown = [
        number
        for number, layer in enumerate(summary.layers)
        if layer.feeds
        or layer.joins
        or ((layer.parameters or layer.flops) and not _is_around(layer.name, all_names))
    ] or list(range(len(summary.layers)))
    names = {number: summary.layers[number].name.split(".") for number in shown}
    depth = max((len(name) for name in names.values()), default=1)
    while depth > 1 and len(_runs(shown, names, depth)) > MOST_BOXES:
        depth -= 1
    runs = _runs(shown, names, depth)
    places = {number: place for place, run in enumerate(runs) for number in run}
    boxes = []
    for place, run in enumerate(runs):
        layers = [summary.layers[number] for number in run]
        box = _make_box(layers, ".".join(names[run[0]][:depth]), summary)
        for layer in layers:
            box.feeds |= {places[n] for n in layer.feeds if n in places} - {place}
            box.joins |= {places[n] for n in layer.joins if n in places} - {place}
        boxes.append(box)
    return boxes


def _is_around(name: str, names: Sequence[str]) -> bool:
    """Whether the other layers with these names are submodules of this one."""
    if name == THE_MODEL:
        return len(names) > 1
    return any(other.startswith(f"{name}.") for other in names)


def _runs(shown: Sequence[int], names: dict[int, list[str]], depth: int) -> list[list[int]]:
    """Numbers of layers that follow each other and have the first `depth` names in common."""
    runs: list[list[int]] = []
    for number in shown:
        if runs and names[runs[-1][0]][:depth] == names[number][:depth]:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def _make_box(layers: Sequence[Layer], prefix: str, summary: Summary) -> _Box:
    largest = max(layers, key=lambda layer: (layer.flops, layer.parameters))
    one = len(layers) == 1
    return _Box(
        name=layers[0].name if one else prefix,
        type=layers[0].type if one else summary.parts.get(prefix, "layers"),
        kind=_kind_of(largest.type),
        output_shape=layers[-1].output_shape,
        parameters=sum(layer.parameters for layer in layers),
        flops=sum(layer.flops for layer in layers),
        seconds=sum(layer.forward_seconds or 0.0 for layer in layers),
        backward_seconds=sum(layer.backward_seconds or 0.0 for layer in layers),
        layers=len(layers),
    )


def _kind_of(type_: str) -> tuple[str, str]:
    found = (kind for kind in _KINDS if kind[0] in type_.lower())
    kind = next(found, None)
    return (kind[1], kind[2]) if kind else _OTHER


def _head(summary: Summary, title: str, boxes: Sequence[_Box]) -> Iterable[str]:
    yield _text(28, 40, title, size=22, weight=600)
    training = summary.weight_bytes + summary.gradient_bytes + summary.optimizer_bytes
    facts = [
        (format_count(summary.parameters), "parameters"),
        (format_count(summary.flops), "FLOPs"),
        (format_bytes(summary.activation_bytes), "activations"),
        (format_bytes(training), f"weights, gradients, {summary.optimizer or 'no optimizer'}"),
    ]
    if summary.forward_seconds is not None:
        facts.append((_spell_seconds(summary.forward_seconds), "forward"))
        facts.append((_spell_seconds(summary.backward_seconds or 0.0), "backward"))
    x = 28.0
    for value, meaning in facts:
        yield _text(x, 70, value, size=15, weight=600)
        yield _text(x, 86, meaning, fill=_PALE, size=11)
        x += max(92, 7.2 * len(meaning) + 22)
    kinds = list(dict.fromkeys(box.kind for box in boxes))
    for number, (colour, meaning) in enumerate(kinds):
        x = _WIDTH - 20 - 92 * (len(kinds) - number)
        yield f'<rect x="{x}" y="30" width="10" height="10" rx="2" fill="{colour}"/>'
        yield _text(x + 14, 39, meaning, fill=_PALE, size=11)
    for (name, _), start in zip(_columns(boxes), _starts(boxes), strict=True):
        yield _text(start, _TOP - 14, name, fill=_PALE, size=11)
    yield _text(_SHAPE, _TOP - 14, "output", fill=_PALE, size=11)


def _input(shape: Shape) -> Iterable[str]:
    y = _middle(-1)
    yield _text(_NAME, y + 4, "images", fill=_PALE)
    yield _text(_SHAPE, y + 4, _spell_shape(shape), fill=_PALE, family="monospace")
    yield f'<circle cx="{_SPINE}" cy="{y}" r="4" fill="{_LINE}"/>'
    yield _line(_SPINE, y + 4, _SPINE, _middle(0), _LINE)


def _ways(boxes: Sequence[_Box]) -> Iterable[str]:
    """Lines to the box below, curves in the gutter to boxes further down."""
    far = [
        (start, end, joins)
        for start, box in enumerate(boxes)
        for joins, ends in ((False, box.feeds), (True, box.joins))
        for end in ends
        if end > start and (joins or end != start + 1)
    ]
    linked = {(start, end) for start, box in enumerate(boxes) for end in box.feeds}
    has_none = not any(box.feeds for box in boxes)  # nothing is known of the ways: one after other
    for number in range(len(boxes) - 1):
        if has_none or (number, number + 1) in linked:
            yield _line(_SPINE, _middle(number), _SPINE, _middle(number + 1), _LINE)
    for start, end, joins in far:
        top, bottom = _middle(start), _middle(end) + (9 if joins else -5)
        reach = min(_GUTTER - 14, 16 + 9 * math.sqrt(end - start))
        x = _SPINE - 13
        yield (
            f'<path d="M{x} {top} C{x - reach} {top} {x - reach} {bottom} {x} {bottom}" '
            f'fill="none" stroke="{"#d1655a" if joins else "#8fa3bd"}" stroke-width="1.4" '
            f'stroke-opacity="{max(0.18, min(0.85, 24 / len(far))):.2f}"/>'
        )
    for end in {end for _, end, joins in far if joins}:
        y = _middle(end) + 9
        yield f'<circle cx="{_SPINE - 12}" cy="{y}" r="4.5" fill="#fff" stroke="#d1655a"/>'
        yield _line(_SPINE - 14.5, y, _SPINE - 9.5, y, "#d1655a")
        yield _line(_SPINE - 12, y - 2.5, _SPINE - 12, y + 2.5, "#d1655a")


Column = tuple[str, Callable[[_Box], tuple[float, ...]]]


def _columns(boxes: Sequence[_Box]) -> list[Column]:
    columns: list[Column] = [
        ("parameters", lambda box: (box.parameters,)),
        ("FLOPs", lambda box: (box.flops,)),
    ]
    if any(box.seconds for box in boxes):
        columns.append(("forward, backward", lambda box: (box.seconds, box.backward_seconds)))
    return columns


def _starts(boxes: Sequence[_Box]) -> list[float]:
    count = len(_columns(boxes))
    return [_BARS + number * (_WIDTH - 20 - _BARS) / count for number in range(count)]


def _scales(boxes: Sequence[_Box], summary: Summary) -> tuple[list[float], list[float], float, int]:
    """Where the columns start, their largest values, the largest side, the most channels."""
    tops = [max((sum(of(box)) for box in boxes), default=0) or 1 for _, of in _columns(boxes)]
    shapes = [box.output_shape for box in boxes if box.output_shape] + [summary.input_shape]
    side = max((_side_of(shape) for shape in shapes), default=1)
    return _starts(boxes), tops, side, max((_channels_of(shape) for shape in shapes), default=1)


def _row(
    number: int,
    box: _Box,
    columns: Sequence[Column],
    scales: tuple[list[float], list[float], float, int],
) -> Iterable[str]:
    starts, tops, side, channels = scales
    y = _middle(number)
    colour = box.kind[0]
    if number % 2 == 0:
        yield (
            f'<rect x="{_NAME - 12}" y="{y - _ROW / 2}" width="{_WIDTH - _NAME}" '
            f'height="{_ROW}" fill="#f6f8fa"/>'
        )
    yield from _block(y, box.output_shape, colour, side, channels)
    kind = f"{box.type}, {plural(box.layers, 'layer')}" if box.layers > 1 else box.type
    yield (
        f'<text x="{_NAME}" y="{y + 4}" fill="{_INK}"><tspan font-weight="600">'
        f'{_escape(shorten(printable(box.name), 26))}</tspan><tspan dx="8" fill="{colour}">'
        f"{_escape(printable(kind, 23))}</tspan></text>"
    )
    yield _text(_SHAPE, y + 4, _spell_shape(box.output_shape), family="monospace", fill=_PALE)
    room = (_WIDTH - 20 - _BARS) / len(columns) - 78
    for (name, of), start, top in zip(columns, starts, tops, strict=True):
        values = of(box)
        x, total = start, sum(values)
        for value, opacity in zip(values, (1.0, 0.45), strict=False):
            width = room * value / top
            if width > 0.2:
                yield (
                    f'<rect x="{x:.1f}" y="{y - 6}" width="{width:.1f}" height="12" rx="2" '
                    f'fill="{colour}" fill-opacity="{opacity}"/>'
                )
            x += width
        if total:
            shown = _spell_seconds(total) if name.startswith("forward") else format_count(total)
            yield _text(x + 6, y + 4, shown, fill=_INK, size=11)


def _block(
    y: float, shape: Shape | None, colour: str, largest: float, channels: int
) -> Iterable[str]:
    """A small box: its face is as large as the maps, its depth shows their number."""
    side = 5 + 13 * math.log1p(_side_of(shape)) / math.log1p(largest)
    depth = 2 + 9 * math.log1p(_channels_of(shape)) / math.log1p(channels)
    wide = side if shape is not None and len(shape) == 4 else 6
    x, top, lift = _SPINE - wide / 2 - depth / 3, y - side / 2 + depth / 5, depth / 2
    right, bottom = x + wide, top + side
    faces = (
        (f"{x},{top} {right},{top} {right},{bottom} {x},{bottom}", 1.0),
        (f"{x},{top} {x + depth},{top - lift} {right + depth},{top - lift} {right},{top}", 0.55),
        (
            f"{right},{top} {right + depth},{top - lift} {right + depth},{bottom - lift} "
            f"{right},{bottom}",
            0.75,
        ),
    )
    for points, opacity in faces:
        yield f'<polygon points="{points}" fill="#fff"/>'
        yield f'<polygon points="{points}" fill="{colour}" fill-opacity="{opacity}"/>'


def _side_of(shape: Shape | None) -> float:
    if shape is None or len(shape) < 3:
        return 1.0
    return math.sqrt(shape[-1] * shape[-2]) if len(shape) == 4 else math.sqrt(shape[1])


def _channels_of(shape: Shape | None) -> int:
    if shape is None or len(shape) < 2:
        return 1
    return shape[1] if len(shape) != 3 else shape[2]


def _middle(number: int) -> float:
    return _TOP + _ROW * (number + 1.5)


def _spell_shape(shape: Shape | None) -> str:
    return " x ".join(str(side) for side in shape[1:]) if shape else "-"


def _spell_seconds(seconds: float) -> str:
    return f"{1e6 * seconds:.0f} µs" if seconds < 1e-3 else f"{1e3 * seconds:.3g} ms"


def _line(x: float, y: float, other_x: float, other_y: float, colour: str) -> str:
    ends = f'x1="{x}" y1="{y}" x2="{other_x}" y2="{other_y}"'
    return f'<line {ends} stroke="{colour}" stroke-width="1.4"/>'


def _text(
    x: float,
    y: float,
    text: str,
    *,
    fill: str = _INK,
    size: int = 12,
    weight: int = 400,
    family: str = "",
) -> str:
    own = f' font-family="ui-{family}, {family}"' if family else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" font-size="{size}" '
        f'font-weight="{weight}"{own}>{_escape(text)}</text>'
    )


def _escape(text: str) -> str:
    return html.escape(printable(text))
