"""Planted mismatches: each is refused, and the stage at which it comes in is named."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from mismatches import Plant, evidence_of, heat_by, scale_of

from torchloupe.deploy.artefact.evidence import in_fp32
from torchloupe.deploy.artefact.exporting import prove
from torchloupe.deploy.artefact.resize_graph import ExactResize
from torchloupe.errors import CheckpointError
from torchloupe.trained.run import Run


def edit(old: str, new: str) -> Plant:
    """A change of predict.py; the text must be there."""

    def plant(folder: Path) -> None:
        path = folder / "predict.py"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return plant


def permute_classes(folder: Path) -> None:
    """Class names in another order than the outputs."""
    path = folder / "model.onnx"
    model = onnx.load(path)
    for item in model.metadata_props:
        if item.key == "contract":
            content = json.loads(item.value)
            content["class_names"] = content["class_names"][1:] + content["class_names"][:1]
            item.value = json.dumps(content)
    onnx.save(model, path)


PLANTS: dict[str, tuple[Plant, str]] = {
    "EXIF ignored": (edit("ImageOps.exif_transpose(picture)", "picture"), "decode"),
    "BGR": (
        edit(
            'convert(self.contract["mode"])',
            'convert("RGB").convert("RGB", (0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0))',
        ),
        "decode",
    ),
    "CMYK not inverted": (edit("inks = 255 - np", "inks = np"), "decode"),
    "palette without transparency": (
        edit('or "transparency" in picture.info', ""),
        "decode",
    ),
    "no reduced decoding": (edit("if ratio >= 2 * f), 1)", "if ratio >= 999), 1)"), "decode"),
    "another kernel": (
        edit('self.contract["kernel"].upper()', '"NEAREST"'),
        "resize",
    ),
    "stretched": (edit('if fit == "crop":', "if False:"), "resize"),
    "wrong scale of the pixels": (scale_of("normalise", 0.9), "normalise"),
    "a layer's weights": (scale_of("network.3", 1.5), "layer"),
    "classes permuted": (permute_classes, "class names"),
    "another temperature": (heat_by(3.0), "probabilities"),
}


@pytest.mark.parametrize("name", PLANTS)
def test_planted_mismatch_is_refused_and_its_stage_named(
    name: str, photo_run: Run, photo_export: Path, tmp_path: Path
) -> None:
    plant, stage = PLANTS[name]
    folder = tmp_path / "export"
    shutil.copytree(photo_export, folder)
    plant(folder)
    facts = json.loads((folder / "export.json").read_text())
    with pytest.raises(CheckpointError, match=f"stage {stage}") as caught:
        prove(folder, in_fp32(photo_run), evidence_of(photo_run), facts)
    assert caught.value.exit_code == 4


def test_another_kernel_in_the_graph_is_seen_there(
    photo_run: Run, photo_export: Path, tmp_path: Path
) -> None:
    from torchloupe.deploy.artefact.graph import make_graph, write_onnx

    folder = tmp_path / "export"
    shutil.copytree(photo_export, folder)
    facts = json.loads((folder / "export.json").read_text())
    other = replace(photo_run.contract, kernel="nearest")
    graph = make_graph(photo_run.model, other, any_size=True)
    assert isinstance(graph.resize, ExactResize)
    known = facts | {"contract": photo_run.contract.to_json()}
    write_onnx(graph, folder / "model.onnx", known)
    with pytest.raises(CheckpointError, match="stage resize"):
        prove(folder, in_fp32(photo_run), evidence_of(photo_run), facts)


def test_sound_artefact_is_proved(photo_run: Run, photo_export: Path) -> None:
    facts = json.loads((photo_export / "export.json").read_text())
    assert prove(photo_export, in_fp32(photo_run), evidence_of(photo_run), facts).holds
