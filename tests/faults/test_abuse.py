"""S1, S3: files and names from strangers: no code runs, and text stays text."""

import json
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from children import run_loupe
from runs import train_words, write_model
from safetensors.torch import save
from saves import forge_manifest

from torchloupe.errors import CheckpointError
from torchloupe.trained.run import open_run

ENVIRONMENTS = {
    "plain": {},
    "unsafe": {
        "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
        "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "0",
        "TIMM_FUSED_ATTN": "0",
        "NPY_ALLOW_PICKLE": "1",
        "PYTHONOPTIMIZE": "2",
    },
}


SLOW = pytest.mark.slow
ENVIRONMENT = ["unsafe", pytest.param("plain", marks=SLOW)]


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, trap: Path) -> None:
        self.trap = str(trap)

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.trap,)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a model of its own, in `run` beside `model.py`."""
    folder = tmp_path_factory.mktemp("abuse")
    write_model(folder)
    words = train_words(folder / "run", folder / "model.py", epochs=0.4)
    code, said = run_loupe(words, folder / "said.txt")
    assert code == 0, said
    return folder / "run"


def set_environment(name: str) -> None:
    """In a child."""
    os.environ.update(ENVIRONMENTS[name])


def refuse(words: list[str], tmp_path: Path, environment: str) -> tuple[int, str]:
    """Run a command that has to refuse something, in two lines."""
    code, said = run_loupe(words, tmp_path / "said.txt", partial(set_environment, environment))
    assert code != 0
    assert "Traceback" not in said
    assert said.count("error: ") == 1
    assert "\x1b" not in said
    return code, said


@pytest.mark.parametrize("environment", ENVIRONMENT)
@pytest.mark.parametrize(
    ("way", "suffix"),
    [
        *(("checkpoint_path", ".pt"), ("overlay", ".pth"), ("overlay", ".safetensors")),
        pytest.param("overlay", ".pt", marks=SLOW),
        *(pytest.param("checkpoint_path", name, marks=SLOW) for name in (".bin", ".safetensors")),
    ],
)
def test_weights_that_are_a_pickle_are_refused_and_not_run(
    tmp_path: Path, environment: str, way: str, suffix: str
) -> None:
    trap, file = tmp_path / "trap", tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save({"conv1.weight": torch.zeros(1), "more": Evil(trap)}, file)
    else:
        file.write_bytes(pickle.dumps(Evil(trap)))
    options = (
        {"checkpoint_path": str(file)}
        if way == "checkpoint_path"
        else {"pretrained": True, "pretrained_cfg_overlay": {"file": str(file)}}
    )
    words = ["train", "digits", "--model", "timm:resnet10t", "--out", str(tmp_path / "run")]
    words += ["--set", f"model.options={json.dumps(options)}", "--quiet"]
    code, said = refuse(words, tmp_path, environment)
    assert code == 2
    assert re.search(
        r"holds more than weights|not a file of tensors|can't be (made|loaded).*(header|safetens)",
        said,
    )
    assert not trap.exists()


@pytest.mark.parametrize("environment", ENVIRONMENT)
@pytest.mark.parametrize("command", ["eval", "resume"])
@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "average.safetensors"])
def test_checkpoint_that_is_a_pickle_is_refused_and_not_run(
    run: Path, tmp_path: Path, environment: str, command: str, name: str
) -> None:
    trap, copy = tmp_path / "trap", tmp_path / "run"
    shutil.copytree(run, copy, symlinks=True)
    for path in (copy / "checkpoints").iterdir():
        forge_manifest(path, name, pickle.dumps(Evil(trap)))
    words = [command, str(copy), "--model", f"{run.parent}/model.py:net"]
    code, said = refuse(words, tmp_path, environment)
    assert code == 4
    assert name in said
    assert not trap.exists()


def test_record_of_the_data_with_objects_is_refused_and_not_run(run: Path, tmp_path: Path) -> None:
    trap, copy = tmp_path / "trap", tmp_path / "run"
    shutil.copytree(run, copy, symlinks=True)
    objects = np.array([Evil(trap)], dtype=object)
    np.savez(copy / "data.npz", class_names=objects, ids=objects, labels=objects, content=objects)
    words = ["resume", str(copy), "--trust-code", "--quiet"]
    code, _ = refuse(words, tmp_path, "unsafe")
    assert code == 4
    assert not trap.exists()


@pytest.mark.parametrize("name", ["data.npz", "data.pt", "data.pkl", "data.npy", "inner.npz"])
def test_data_that_are_a_pickle_are_refused_and_not_run(tmp_path: Path, name: str) -> None:
    trap, file = tmp_path / "trap", tmp_path / name
    objects = np.array([Evil(trap)] * 20, dtype=object)
    if name == "data.npz":
        np.savez(file, images=objects, labels=np.arange(20) % 2)
    elif name == "data.npy":
        np.save(file, objects)
        np.save(tmp_path / "labels.npy", np.arange(20) % 2)
    elif name == "inner.npz":
        with zipfile.ZipFile(file, "w") as archive:
            for inner in ("images.npy", "labels.npy"):
                archive.writestr(inner, pickle.dumps(Evil(trap)))
    else:
        file.write_bytes(pickle.dumps(Evil(trap)))
    words = ["train", str(file), "--out", str(tmp_path / "run"), "--quiet"]
    code, _ = refuse(words, tmp_path, "unsafe")
    assert code == 3
    assert not trap.exists()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *(("model.name", value) for value in ("{evil}:make", "os:system", "builtins:eval")),
        *((f"{part}.name", "evil:make") for part in ("loss", "optimizer")),
        ("data.source", "{evil}:make"),
    ],
)
def test_run_folder_that_names_code_is_refused_and_it_is_not_run(
    run: Path, tmp_path: Path, setting: str, value: str
) -> None:
    trap, copy = tmp_path / "trap", tmp_path / "run"
    shutil.copytree(run, copy, symlinks=True)
    (tmp_path / "evil.py").write_text(f"import os\nos.mkdir({str(trap)!r})\ndef make(*_): pass\n")
    config = json.loads((copy / "config.json").read_text())
    config["settings"]["model.name"]["value"] = "cnn"
    config["settings"][setting]["value"] = value.format(evil=tmp_path / "evil.py")
    (copy / "config.json").write_text(json.dumps(config))
    before = partial(os.chdir, tmp_path)
    code, said = run_loupe(["resume", str(copy)], tmp_path / "said.txt", before)
    assert code == 2, said
    assert "someone's own code" in said
    assert not trap.exists()


HOSTILE_NAMES = [
    "<script>alert(1)</script>",
    "\x1b[2J\x1b]0;owned\x07red",
    "two\nlines\r\tand a tab",
    "x" * 2**20,
    "=cmd|' /C calc'!A0",
    "\u202egnp.exe",
]


def test_hostile_class_names_are_text_everywhere(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy, symlinks=True)
    contract = json.loads((copy / "contract.json").read_text())
    contract["class_names"] = HOSTILE_NAMES + contract["class_names"][len(HOSTILE_NAMES) :]
    (copy / "contract.json").write_text(json.dumps(contract))
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)
    np.savez(tmp_path / "set.npz", images=images, labels=np.arange(40) % 10)
    found = open_run(copy, trust_code=True)
    assert found.class_names[1] == HOSTILE_NAMES[1]
    for words in (
        ["eval", str(copy), "--trust-code"],
        ["eval", str(copy), str(tmp_path / "set.npz"), "--trust-code"],
        ["predict", str(copy), str(write_image(tmp_path)), "--model", f"{run.parent}/model.py:net"],
        ["resume", str(copy), "--trust-code", "--epochs", "0.6", "--accept-new-data"],
    ):
        _, said = run_loupe(words, tmp_path / "said.txt")
        assert "Traceback" not in said
        assert "unexpected" not in said
        for character in "\x1b\x07\r\t\u202e":
            assert character not in said, words
        assert len(said) < 100_000, words


def write_image(folder: Path) -> Path:
    from PIL import Image

    path = folder / "image.png"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    return path


def test_unknown_tensor_types_and_names_of_weights_are_text(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy, symlinks=True)
    tree = {"\x1b[2J" + "w" * 2**20: "tensor:a"}
    blob = save({"a": torch.zeros(1)}, metadata={"tree": json.dumps(tree)})
    for path in (copy / "checkpoints").iterdir():
        forge_manifest(path, "average.safetensors", blob)
    with pytest.raises(CheckpointError) as caught:
        open_run(copy, trust_code=True)
    assert "\x1b" not in caught.value.message
    assert len(caught.value.message) < 2000
