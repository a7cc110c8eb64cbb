"""The run as a file of plain PyTorch: it trains to the same weights, and reads well."""

import ast
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from children import run_python
from PIL import Image
from safetensors.torch import load_file

import torchloupe as loupe
from torchloupe.cli import main
from torchloupe.deploy.ejection.page import eject
from torchloupe.errors import UsageError

FP32 = {"hardware.precision": "fp32", "hardware.threads": 1}
OWN_MODEL = """
from torch import nn

class Mine(nn.Module):
    def __init__(self, in_channels, num_classes):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(in_channels, 6, 3), nn.BatchNorm2d(6), nn.Dropout(0.3))
        self.head = nn.Linear(6, num_classes)

    def forward(self, images):
        return self.head(self.body(images).relu().mean(dim=(2, 3)))
"""


def plant_photographs(root: Path) -> Path:
    """Class folders of small JPEGs and PNGs, turned by EXIF, transparent, and one copy."""
    chance = np.random.default_rng(0)
    for number, name in enumerate(("red cat", "green")):
        folder = root / name / "deeper"
        folder.mkdir(parents=True)
        for k in range(24):
            height, width = chance.integers(20, 150, 2)
            pixels = chance.integers(0, 256, (6, 5, 3), dtype=np.uint8)
            pixels[..., number] //= 4
            image = Image.fromarray(pixels).resize((int(width), int(height)))
            exif = Image.Exif()
            exif[0x0112] = int(chance.integers(1, 9))
            if k % 2:
                image.save(folder.parent / f"{k}.jpg", exif=exif)
            else:
                image.putalpha(int(chance.integers(100, 256)))
                image.save(folder / f"{k}.png")
    deep = chance.integers(0, 65_536, (90, 70), dtype=np.uint16)
    Image.fromarray(deep).save(root / "green" / "16 bits.png")
    large = Image.fromarray(chance.integers(0, 256, (240, 310, 3), dtype=np.uint8))
    large.save(root / "green" / "two.jpg", "MPO", save_all=True, append_images=[image])
    large.save(root / "green" / "xmp.jpg", xmp=b'<x tiff:Orientation="6"/>')
    copy = (root / "green" / "1.jpg").read_bytes()
    (root / "green" / "copy.jpg").write_bytes(copy)
    return root


def train_alone(page: str, folder: Path, *arguments: str) -> dict[str, Any]:
    """The last checkpoint of the written file, trained in a process of its own."""
    folder.mkdir(exist_ok=True)
    (folder / "train.py").write_text(page, encoding="utf-8")
    done = run_python(["train.py", *arguments], folder)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    found: dict[str, Any] = torch.load(folder / "last.pt", weights_only=True)
    return found


def imported_by(page: str) -> set[str]:
    """The packages that a page imports, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse(page)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).partition(".")[0])
    return found


def find_different(run: Path, weights: dict[str, torch.Tensor]) -> list[str]:
    """The tensors that are not, bit for bit, those of the last checkpoint of `run`."""
    own = load_file(run / "last" / "model.safetensors")
    assert own.keys() == weights.keys()
    return [name for name, tensor in own.items() if not torch.equal(tensor, weights[name])]


def lint(page: str, folder: Path) -> str:
    """What ruff says of a page: its layout, and every rule that it has by default."""
    (folder / "page.py").write_text(page, encoding="utf-8")
    ruff = [sys.executable, "-m", "ruff"]
    said = ""
    for words in (["format", "--diff"], ["check", "--select", "E,F,W,I,UP,B,C4,RET"]):
        command = [*ruff, *words, "--isolated", "--line-length", "100", "page.py"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        said += done.stdout if done.returncode else ""
    return said


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the default network and optimizer on arrays."""
    folder = tmp_path_factory.mktemp("arrays")
    images = np.random.default_rng(0).integers(0, 256, (90, 8, 8, 3), dtype=np.uint8)
    np.savez(folder / "data.npz", images=images, labels=np.arange(90) % 3 * 5)
    settings = {**FP32, "model.options.width": 8}
    loupe.fit(str(folder / "data.npz"), epochs=2, out=folder / "run", settings=settings)
    return folder / "run"


def test_the_file_trains_to_the_weights_of_the_run(trained: Path, tmp_path: Path) -> None:
    page = eject(trained)
    saved = train_alone(page, tmp_path / "alone")
    assert find_different(trained, saved["model"]) == []
    head = page.split('"""')[1]
    assert "the same steps" in head
    assert "bit for bit" not in head  # which is said only where it was tried
    assert "torchloupe" not in imported_by(page)
    assert lint(page, tmp_path) == ""


def test_the_loop_stands_within_the_first_hundred_lines(trained: Path) -> None:
    lines = eject(trained).splitlines()
    assert next(n for n, line in enumerate(lines, 1) if "optimizer.step()" in line) <= 100


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(
    trained: Path, tmp_path: Path
) -> None:
    page = eject(trained)
    steps = next(line for line in page.splitlines() if line.startswith("STEPS = "))
    stopping = page.replace(
        "        if step % EVALUATE",
        "        if step == 7:\n            return\n        if step % EVALUATE",
    )
    stopping = stopping.replace("EVALUATE_EVERY = ", "EVALUATE_EVERY = 3  # ")
    (tmp_path / "train.py").write_text(stopping)
    assert run_python(["train.py"], tmp_path).returncode == 0
    assert torch.load(tmp_path / "last.pt", weights_only=True)["step"] == 6 < int(steps.split()[2])
    saved = train_alone(page, tmp_path, "--resume")
    assert find_different(trained, saved["model"]) == []


def test_files_in_folders_are_decoded_and_split_as_in_the_run(tmp_path: Path) -> None:
    photographs = plant_photographs(tmp_path / "photos")
    (tmp_path / "alone").mkdir()
    (tmp_path / "mine.py").write_text(OWN_MODEL)
    settings = {**FP32, "data.size": "24x20", "train.clip_norm": 1.0, "train.average": 0.9}
    run = tmp_path / "run"
    loupe.fit(
        str(photographs),
        model=f"{tmp_path}/mine.py:Mine",
        epochs=2,
        out=run,
        settings={**settings, "train.micro_batches": 3, "schedule.warmup_fraction": 0.2},
    )
    with pytest.raises(UsageError, match="trust-code"):
        eject(run)
    page = eject(run, trust_code=True)
    assert "keep mine.py beside this file" in page
    (tmp_path / "alone" / "mine.py").write_text(OWN_MODEL)
    saved = train_alone(page, tmp_path / "alone")
    assert find_different(run, saved["model"]) == []
    assert lint(page, tmp_path) == ""


def test_file_with_relative_data_says_where_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_photographs(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    settings = {**FP32, "data.size": "16", "model.name": "cnn", "augment.policy": "none"}
    run = loupe.fit("photos", epochs=1, out=tmp_path / "run", settings=settings)
    page = eject(run.folder)
    assert "It looks for photos from the folder in which it is started." in page
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "train.py").write_text(page, encoding="utf-8")
    done = run_python(["train.py"], tmp_path / "elsewhere")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2].startswith("no image was found in ")
    assert "Traceback" not in done.stderr


def test_augmentation_is_said_to_differ(trained: Path, tmp_path: Path) -> None:
    settings = {
        **FP32,
        "augment.flip": True,
        "augment.rotate_degrees": 5,
        "augment.mixup": 0.2,
        "augment.hue": 0.1,
        "augment.policy": "randaugment",
    }
    source = str(trained.parent / "data.npz")
    loupe.fit(source, model="net", epochs=0.5, out=tmp_path / "run", settings=settings)
    page = eject(tmp_path / "run")
    head = page.split('"""')[1]
    assert "Augmentation is torchvision's" in head
    assert "bit for bit" not in head
    assert train_alone(page, tmp_path / "alone")["step"] > 1
    assert lint(page, tmp_path) == ""


def test_command_prints_the_file_or_a_notebook(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["eject", str(trained)]) == 0
    page = capsys.readouterr().out
    compile(page, "train.py", "exec")
    assert main.run(["eject", str(trained), "--notebook"]) == 0
    notebook = json.loads(capsys.readouterr().out)
    assert notebook["nbformat"] == 4
    code = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    compile("\n".join(code), "notebook", "exec")
    assert code[-1].startswith("train()")


def test_what_no_file_can_name_is_refused(trained: Path, tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3))
    source = str(trained.parent / "data.npz")
    loupe.fit(source, model=model, epochs=0.3, out=tmp_path / "run", settings=FP32)
    with pytest.raises(UsageError, match="model of this run was a Python object"):
        eject(tmp_path / "run")


def test_images_of_shards_are_stored_for_the_file_and_the_weights_proved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photographs = plant_photographs(tmp_path / "photos")
    with tarfile.open(tmp_path / "shard-000.tar", "w") as shard:
        for number, file in enumerate(sorted(photographs.rglob("*.*g"))):
            shard.add(file, f"{number:04}{file.suffix}")
            label = str(photographs / "green" in file.parents).encode()
            member = tarfile.TarInfo(f"{number:04}.cls")
            member.size = len(label)
            shard.addfile(member, io.BytesIO(label))
    settings = {**FP32, "data.size": "16", "data.test_fraction": 0.2}
    source = str(tmp_path / "shard-000.tar")
    loupe.fit(source, model="net", epochs=1, out=tmp_path / "run", settings=settings)
    with pytest.raises(UsageError, match="data of another kind") as refused:
        eject(tmp_path / "run")
    assert "--data images.npz" in refused.value.hint
    monkeypatch.chdir(tmp_path)  # what it writes stays out of the folder that it is called in
    page = eject(tmp_path / "run", images=Path("images.npz"), is_proved=True)
    assert "Proved when it was written" in page.split('"""')[1]
    assert not (tmp_path / "last.pt").exists()
    assert lint(page, tmp_path) == ""
    saved = train_alone(page.replace('"images.npz"', '"../images.npz"'), tmp_path / "alone")
    assert find_different(tmp_path / "run", saved["model"]) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "model", "settings"),
    [
        ("digits", "net", {"schedule.name": "cosine", "optimizer.name": "adam"}),
        ("digits", "cnn", {"schedule.name": "step", "optimizer.name": "sgd", "optimizer.lr": 0.05}),
        ("digits", "residual", {}),
        ("arrays.npz", "net", {"schedule.name": "plateau", "hardware.precision": "bf16"}),
        ("digits", "net", {"loss.weights": "balanced", "train.micro_batches": 3}),
        ("arrays.npz", "timm:test_resnet.r160_in1k", {}),
        ("arrays.npz", "torchvision:shufflenet_v2_x0_5", {"loss.name": "binary"}),
        ("splits", "net", {"data.size": "24", "data.fit": "pad", "data.mode": "L"}),
        ("table.csv", "cnn", {"data.size": "24", "data.fit": "stretch", "train.patience": 1}),
    ],
)
def test_files_of_many_runs_train_to_the_same_weights(
    tmp_path: Path, data: str, model: str, settings: dict[str, Any]
) -> None:
    source = data if data == "digits" else str(tmp_path / data)
    chance = np.random.default_rng(0)
    images, labels = chance.integers(0, 256, (90, 3, 32, 32), dtype=np.uint8), np.arange(90) % 3
    np.savez(tmp_path / "arrays.npz", images=images, labels=5 * labels)
    for part in ("train", "test"):
        plant_photographs(tmp_path / "splits" / part)
    files = sorted((tmp_path / "splits" / "train").rglob("*.*"))
    rows = [f"{file.relative_to(tmp_path)},{file.parts[-2]}" for file in files if file.is_file()]
    (tmp_path / "table.csv").write_text("\n".join(["file,kind", *rows]) + "\n")
    run = tmp_path / "run"
    loupe.fit(source, model=model, epochs=1, out=run, settings={**FP32, **settings})
    page = eject(run)
    assert find_different(run, train_alone(page, tmp_path / "alone")["model"]) == []
    assert lint(page, tmp_path) == ""
