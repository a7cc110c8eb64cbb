"""README.md of an exported folder: a model card with its numbers, data and limits."""

from collections.abc import Iterator, Mapping
from typing import Any

from torchloupe.errors import printable
from torchloupe.units import plural

_SHOWN_CLASSES = 30


def write_card(
    facts: Mapping[str, Any], metrics: Mapping[str, Any], data: Mapping[str, Any]
) -> str:
    """The text of README.md from export.json, metrics.json and what the run knows of its data."""
    lines = [f"# {_plain(facts['run'])}", "", *_what_it_is(facts), *_how_to_use(facts)]
    lines += [*_numbers(metrics), *_proof(facts), *_data(data), *_limits(facts)]
    return "\n".join(lines) + "\n"


def _what_it_is(facts: Mapping[str, Any]) -> Iterator[str]:
    height, width = facts["size"]
    names = [_plain(name) for name in facts["class_names"]]
    more = f" and {len(names) - _SHOWN_CLASSES:,} more" if len(names) > _SHOWN_CLASSES else ""
    several = "; an image may have several" if facts["multi_label"] else ""
    yield f"An image classifier of {plural(len(names), 'class', 'classes')}{several}:"
    yield f"{', '.join(names[:_SHOWN_CLASSES])}{more}."
    yield ""
    yield f"- Network: `{_plain(facts['model'])}`, trained with torchloupe {facts['torchloupe']}"
    yield f"- File: {facts['to']}, {facts['precision']}" + (
        f", opset {facts['opset']}, IR version {facts['ir_version']}" if "opset" in facts else ""
    )
    channels = {1: "grey", 3: "RGB"}.get(facts["channels"], f"{facts['channels']} channels")
    size = "any height and width" if facts["input"] == "any" else f"{height} x {width} pixels"
    if facts["to"] != "safetensors":
        shape = f"{facts['dtype']} [batch, height, width, {facts['channels']}]"
        yield f"- Input `images`: {shape}, {channels}, {size}"
        yield "- Outputs: `probabilities` and `logits`, float32 [batch, classes]"
    yield f"- Temperature {facts['temperature']:g}: logits are divided by it before probabilities"
    if facts["threshold"] is not None:
        yield f"- A prediction with a confidence below {facts['threshold']:g} is unsure"
    yield ""


def _how_to_use(facts: Mapping[str, Any]) -> Iterator[str]:
    library = {"onnx": "onnxruntime", "openvino": "openvino", "pt2": "torch"}.get(facts["to"])
    yield "## Use"
    yield ""
    if library is None:
        yield "Weights without a graph: load them into the same network, and preprocess images as"
        yield "`contract.json` says."
    elif not facts.get("takes_files", True):
        yield "The model takes arrays made as those of its training, and no image files: how these"
        yield "would become such arrays is not known. With `images` an array as above:"
        yield ""
        yield "    import predict  # in this folder"
        yield "    probabilities, logits = predict.Model().run(images)"
        yield ""
    else:
        yield f"    pip install numpy pillow {library}"
        yield "    python predict.py IMAGES..."
        yield ""
        yield "`predict.py` decodes, turns and resizes images as in training. `contract.json` has"
        yield "the rules, `SHA256SUMS` the hashes of all files (`sha256sum --check SHA256SUMS`)."
    yield ""


def _numbers(metrics: Mapping[str, Any]) -> Iterator[str]:
    yield "## Numbers of the run"
    yield ""
    found = False
    for split in ("test", "val"):
        scores = metrics.get(split) or {}
        if not scores.get("count"):
            continue
        found = True
        interval = ""
        if scores.get("accuracy_ci95"):
            low, high = scores["accuracy_ci95"]
            interval = f", 95 % interval {100 * low:.2f} to {100 * high:.2f} %"
        yield f"- {split}: accuracy {100 * scores['accuracy']:.2f} %{interval}, " + plural(
            scores["count"], "image"
        )
        if scores.get("ece") is not None:
            yield f"- {split}: calibration error {scores['ece']:.4f}"
    if not found:
        yield "None: the run has no test and no validation split."
    yield ""


def _proof(facts: Mapping[str, Any]) -> Iterator[str]:
    parity, price = facts.get("parity"), facts.get("price")
    yield "## Compared with the run"
    yield ""
    if parity:
        images = plural(parity["compared"], "image")
        yield f"- {images}, {parity['files']:,} of them of the run's data,"
        start = "file bytes" if facts.get("takes_files", True) else "arrays"
        yield f"  from {start} through `loupe predict` in float32 and through this artefact"
        yield f"- same class: {100 * parity['agreement']:.2f} %"
        yield f"- largest difference of a probability: {parity['largest_difference']:.1e}"
        if parity["largest_in_graph"] is not None:
            yield f"- with the resize inside the graph: {parity['largest_in_graph']:.1e}"
    else:
        yield "- tensors are those of the checkpoint, bit for bit"
    if price:
        yield (
            f"- accuracy on {price['split']}: {100 * price['accuracy_before']:.2f} % in float32, "
            f"{100 * price['accuracy_after']:.2f} % here ({plural(price['images'], 'image')}, "
            f"McNemar p = {price['p_value']:.2g})"
        )
    yield from (f"- {_plain(note)}" for note in facts.get("notes") or ())
    yield ""


def _data(data: Mapping[str, Any]) -> Iterator[str]:
    yield "## Data"
    yield ""
    for name in ("name", "images", "train", "val", "test", "fingerprint"):
        if data.get(name) not in (None, ""):
            yield f"- {name}: {_plain(data[name])}"
    yield ""


def _limits(facts: Mapping[str, Any]) -> Iterator[str]:
    yield "## Limits"
    yield ""
    yield "- Every image gets one of the classes above, also one that shows none of them."
    yield "- The numbers hold for images like those of the data above, and for no others."
    if not facts.get("takes_files", True):
        return
    yield "- Colour profiles are not applied; of animations the first frame is read."
    if facts["contract_white_level"] != 65_535:
        yield "- 16-bit colour images are refused by `predict.py`, 16-bit grey ones are read."
    yield "- `predict.py` may read a damaged JPEG, where `loupe predict` refuses it."


def _plain(text: Any) -> str:
    """Text that a name may hold without becoming markup."""
    shown = printable(text, 120)
    return "".join("\\" + c if c in "\\`*_{}[]<>#|!" else c for c in shown)
