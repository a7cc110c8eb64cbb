"""An export is written whole, says what was proved, and refuses what it can't prove."""

import copy
import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset
from torchvision import transforms

import own_models
from torchloupe.deploy.artefact.exporting import choose, default_name, export_run
from torchloupe.deploy.artefact.folder import is_export
from torchloupe.deploy.artefact.opened import open_export
from torchloupe.deploy.artefact.writers import write_model
from torchloupe.errors import DataError, UsageError
from torchloupe.train.start import fit
from torchloupe.trained.run import Run

SIZE = (24, 32)


def test_export_holds_model_contract_predict_card_and_sums(photo_export: Path) -> None:
    assert {path.name for path in photo_export.iterdir()} == {
        *("model.onnx", "contract.json", "export.json", "predict.py", "README.md", "SHA256SUMS"),
    }
    card = (photo_export / "README.md").read_text()
    for words in ("class 0, class 1, class 2", "same class: 100.00 %", "95 % interval", "Limits"):
        assert words in card


def test_export_says_what_was_compared(photo_run: Run, photo_export: Path) -> None:
    facts = json.loads((photo_export / "export.json").read_text())
    parity = facts["parity"]
    assert (facts["to"], facts["precision"], facts["input"]) == ("onnx", "fp32", "any")
    assert (facts["opset"], facts["ir_version"]) == (20, 10)
    assert parity["agreement"] == 1.0
    assert parity["largest_difference"] <= 1e-4
    assert parity["largest_in_graph"] <= 1e-4
    assert parity["files"] == photo_run.metrics["val"]["count"]
    assert parity["compared"] >= parity["files"] + 38
    assert parity["torch_free"]


def test_graph_names_itself_and_nothing_of_this_machine(photo_run: Run, photo_export: Path) -> None:
    model = onnx.load(photo_export / "model.onnx")
    found = {item.key: item.value for item in model.metadata_props}
    assert json.loads(found["class_names"]) == list(photo_run.class_names)
    assert json.loads(found["contract"]) == json.loads(photo_run.contract.to_json())
    assert {"temperature", "threshold", "input", "precision", "run"} <= set(found)
    assert [value.name for value in model.graph.output] == ["probabilities", "logits"]
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert [one.dim_param for one in shape] == ["batch", "height", "width", ""]
    assert b".py" not in (photo_export / "model.onnx").read_bytes()


def test_predict_file_is_short_and_labels_as_the_run(
    photo_run: Run, photo_export: Path, tmp_path: Path
) -> None:
    script = photo_export / "predict.py"
    assert len(script.read_text().splitlines()) < 140
    bare = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False
    )
    assert (bare.returncode, bare.stderr[:13]) == (1, "Labels images")
    files = sorted(Path(photo_run.config.data.source).rglob("*.*"))[:6]
    damaged, foreign = tmp_path / "damaged.png", tmp_path / "foreign.sgi"
    damaged.write_bytes(files[0].read_bytes()[:60])
    Image.new("RGB", (9, 9)).save(foreign)  # Pillow reads it, and a run does not
    done = subprocess.run(
        [sys.executable, "-I", str(script), str(damaged), *map(str, files), str(foreign), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    said = done.stderr.splitlines()
    assert said[0].startswith(f"{damaged}: ")
    assert said[1:] == [f"{foreign}: SGI files are not read"]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    wanted = photo_run.predict(files)
    assert [row["label"] for row in rows] == [one.label for one in wanted]
    assert [row["unsure"] for row in rows] == [one.unsure for one in wanted]  # null: no threshold
    for row, one in zip(rows, wanted, strict=True):
        assert row["confidence"] == pytest.approx(one.confidence, abs=1e-4)
        assert row["labels"] == [one.label]


def test_predict_file_gives_the_labels_of_an_image_that_has_several(photo_export: Path) -> None:
    spec = importlib.util.spec_from_file_location("predict", photo_export / "predict.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.Model(photo_export)
    model.contract |= {"multi_label": True, "threshold": 0.9}
    found = model.describe(np.float32([0.6, 0.2, 0.8]), np.float32([0.4, -1, 1]))
    assert found[:2] == (["class 2", "class 0"], True)
    assert list(found[2]) == ["class 2", "class 0", "class 1"]
    assert model.describe(np.float32([0.1, 0.2, 0.1]), np.float32([-3, -1, -4]))[0] == []


def fit_floats(place: Path, images: torch.Tensor) -> Run:
    data = TensorDataset(images, torch.arange(len(images)) % 3)
    settings = {"train.report": False, "hardware.precision": "fp32"}
    return fit(data, model="cnn", epochs=1, out=place / "run", settings=settings)


def predict_files(folder: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-I", str(folder / "predict.py"), *map(str, files), "--json"]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("channels", "options"),
    [(1, {}), (3, {"input": "fixed"}), (5, {}), (3, {"to": "pt2"})],
)
def test_run_on_floats_of_unknown_making_is_exported_and_takes_arrays_alone(
    tmp_path: Path, channels: int, options: dict[str, str]
) -> None:
    images = torch.randn(36, channels, 8, 8)
    run = fit_floats(tmp_path, images)
    folder = export_run(run, **options)
    parity = json.loads((folder / "export.json").read_text())["parity"]
    assert parity["holds"] and parity["compared"] == 16 and parity["refused"] == 0
    found, wanted = open_export(folder).predict(images), run.predict(images)
    for one, other in zip(found, wanted, strict=True):
        assert one.confidence == pytest.approx(other.confidence, abs=1e-4)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    done = predict_files(folder, tmp_path / "a.png")
    assert done.returncode == 1
    assert "the model takes arrays of its training's kind, no files" in done.stderr
    with pytest.raises(DataError):
        open_export(folder).predict(np.zeros((8, 8, channels), np.uint8))
    card = (folder / "README.md").read_text()
    assert f"float32 [batch, height, width, {channels}]" in card
    assert "no image files" in card and "predict.py IMAGES" not in card


def test_run_on_normalised_tensors_is_exported_with_what_makes_them_of_files(
    tmp_path: Path,
) -> None:
    chain = transforms.Compose([transforms.ToTensor(), transforms.Normalize(0.5, 0.25)])
    data = [np.random.default_rng(k).integers(0, 256, (12, 16, 3), np.uint8) for k in range(36)]
    pictures = [Image.fromarray(image) for image in data]

    class Own(TensorDataset):
        transform = chain

    tensors = torch.stack([chain(picture) for picture in pictures])
    own = Own(tensors, torch.arange(36) % 3)
    run = fit(own, model="cnn", epochs=1, out=tmp_path / "run", settings={"train.report": False})
    folder = export_run(run)
    assert json.loads((folder / "export.json").read_text())["parity"]["compared"] == 8
    files = [tmp_path / f"{number}.png" for number in range(6)]
    for picture, file in zip(pictures, files, strict=False):
        picture.save(file)
    rows = [json.loads(line) for line in predict_files(folder, *files).stdout.splitlines()]
    wanted = run.predict(tensors[:6])
    for row, one in zip(rows, wanted, strict=True):
        assert row["confidence"] == pytest.approx(one.confidence, abs=1e-4)
    Image.new("RGB", (32, 32)).save(files[0])
    assert "32 x 32 pixels: its size can't be changed" in predict_files(folder, files[0]).stderr


def test_run_on_float_arrays_of_images_is_exported_with_their_resize(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (36, 12, 16, 3)).astype(np.float32) / 255
    settings = {"train.report": False}
    data = (images, np.arange(36) % 3)
    run = fit(data, model="cnn", epochs=1, out=tmp_path / "run", settings=settings)
    folder = export_run(run)
    assert json.loads((folder / "export.json").read_text())["parity"]["compared"] > 30
    Image.fromarray((images[0] * 255).round().astype(np.uint8)).resize((50, 40)).save(
        tmp_path / "a.png"
    )
    row = json.loads(predict_files(folder, tmp_path / "a.png").stdout)
    assert row["confidence"] == pytest.approx(run.predict(tmp_path / "a.png").confidence, abs=1e-4)


def test_safetensors_are_the_weights_of_the_checkpoint(photo_run: Run, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder = export_run(photo_run, to="safetensors", out=tmp_path / "weights")
    found, wanted = load_file(folder / "model.safetensors"), photo_run.model.state_dict()
    assert found.keys() == wanted.keys()
    assert all(found[name].equal(wanted[name]) for name in wanted)
    assert not (folder / "predict.py").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")
@pytest.mark.parametrize("kind", ["pt2", "safetensors"])
def test_a_full_disk_is_told_as_one(photo_run: Run, tmp_path: Path, kind: str) -> None:
    (tmp_path / f"model.{kind}").symlink_to("/dev/full")
    facts = {"to": kind, "input": "fixed"}
    with pytest.raises(OSError, match="No space left"):
        write_model(tmp_path, photo_run.model, photo_run.contract, facts)


def test_fewer_bits_without_data_are_refused_before_anything_is_written(
    photo_run: Run, tmp_path: Path
) -> None:
    run, config = copy.copy(photo_run), photo_run.config
    run.config = replace(config, data=replace(config.data, source=str(tmp_path / "gone")))
    with pytest.raises(UsageError, match=r"int8 needs .* opened: there is no file or folder"):
        export_run(run, precision="int8", out=tmp_path / "less")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_pt2_is_proved_and_predicts_as_the_run(photo_run: Run, tmp_path: Path) -> None:
    folder = export_run(photo_run, to="pt2", out=tmp_path / "pt2", files=12)
    facts = json.loads((folder / "export.json").read_text())
    assert (facts["input"], facts["parity"]["agreement"]) == ("any", 1.0)
    assert facts["parity"]["largest_in_graph"] <= 1e-4
    file = next(Path(photo_run.config.data.source).rglob("*.jpg"))
    wanted = photo_run.predict(file)
    assert open_export(folder).predict(file).confidence == pytest.approx(wanted.confidence)


@pytest.mark.long
def test_predict_file_of_openvino_labels_many_images_as_the_run(
    photo_run: Run, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    folder = export_run(photo_run, to="openvino", out=tmp_path / "openvino", files=12)
    script = folder / "predict.py"
    assert len(script.read_text().splitlines()) < 140
    files = sorted(Path(photo_run.config.data.source).rglob("*.*"))[:30]
    done = subprocess.run(
        [sys.executable, "-I", str(script), *map(str, files), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    wanted = photo_run.predict(files)
    assert [row["label"] for row in rows] == [one.label for one in wanted]
    for row, one in zip(rows, wanted, strict=True):
        assert row["confidence"] == pytest.approx(one.confidence, abs=1e-4)


def test_temperature_and_threshold_of_the_contract_are_exported(
    photo_run: Run, tmp_path: Path
) -> None:
    run = copy.copy(photo_run)
    run.contract = replace(photo_run.contract, temperature=2.5, threshold=0.9)
    folder = export_run(run, out=tmp_path / "export", files=8)
    exported = open_export(folder)
    pixels = np.random.default_rng(1).integers(0, 256, (6, *SIZE, 3), dtype=np.uint8)
    shares = exported.probabilities(pixels)
    assert np.abs(shares - run.probabilities(pixels)).max() < 1e-5
    assert np.abs(shares - photo_run.probabilities(pixels)).max() > 1e-3
    file = next(Path(photo_run.config.data.source).rglob("*.png"))
    done = subprocess.run(
        [sys.executable, "-I", str(folder / "predict.py"), str(file), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    row, wanted = json.loads(done.stdout), run.predict(file)
    assert row["confidence"] == pytest.approx(wanted.confidence, abs=1e-5)
    assert row["unsure"] == wanted.unsure


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("torchscript", "fp32", None), "TorchScript is not written"),
        (("caffe", "fp32", None), "it takes onnx, pt2, openvino, safetensors"),
        (("coreml", "fp32", None), "coreml is not written, but made from an export"),
        (("onnx", "bf16", None), "it takes fp32, fp16, int8"),
        (("onnx", "fp32", "some"), "it takes any, fixed"),
        (("pt2", "int8", None), "not in int8"),
        (("openvino", "fp32", "any"), "32 bits"),
    ],
)
def test_what_cannot_be_written_is_refused(
    photo_run: Run, options: tuple[str, str, str | None], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        choose(photo_run, *options)


def test_each_kind_has_its_folder(photo_run: Run, photo_export: Path) -> None:
    assert photo_export == photo_run.folder / "export"
    assert is_export(photo_export)
    order = choose(photo_run, "openvino", "fp16", None)
    assert default_name(order) == "export-openvino-fp16"
    assert order.input == "fixed"


def test_model_that_cannot_be_traced_is_refused_with_the_line(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    run = fit(
        (images, np.arange(40) % 4),
        model=own_models.SparseFeatures,
        epochs=1,
        out=tmp_path / "run",
        settings={"train.batch_total": 16, "hardware.threads": 1},
    )
    with pytest.raises(DataError) as caught:
        export_run(run, out=tmp_path / "export")
    assert caught.value.message.startswith("torch can't trace the model for an export: Unsupported")
    assert "aten._to_sparse" in caught.value.message
    assert "own_models.py, line" in caught.value.message
    assert "safetensors" in caught.value.hint


class Encoding(torch.nn.Module):
    """A transformer of torch, whose layers run as one operation in eval mode."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        layer = torch.nn.TransformerEncoderLayer(
            16, 4, 32, dropout=0.0, batch_first=True, norm_first=True
        )
        self.patches, self.head = torch.nn.Conv2d(1, 16, 2, 2), torch.nn.Linear(16, classes)
        self.first = torch.nn.Parameter(torch.zeros(1, 1, 16))
        self.encoder = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.first.expand(len(tokens), -1, -1), tokens], 1)
        return self.head(self.encoder(tokens)[:, 0])


def test_layers_of_a_transformer_are_exported(tmp_path: Path) -> None:
    run = fit("digits", model=Encoding, epochs=0.1, out=tmp_path / "run")
    folder = export_run(run, to="onnx", out=tmp_path / "export")
    assert json.loads((folder / "export.json").read_text())["parity"]["agreement"] == 1.0
    assert torch.backends.mha.get_fastpath_enabled()
