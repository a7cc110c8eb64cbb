"""Weights from files: what fits, what is refused, and that nothing in a pickle runs."""

import os

import pytest
import safetensors.torch
import torch
from torch import nn

from torchloupe.errors import CheckpointError, UsageError
from torchloupe.model.foreign import convert, find_tensors
from torchloupe.model.transfer import make_transfer
from torchloupe.model.weights import Weights, digest_weights, fit_weights, read_weights


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


class Opener:
    """A pickle of it runs a command when it is loaded carelessly."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_weights_file_of_safetensors_is_read(tmp_path):
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(network().state_dict(), path)
    assert set(read_weights(path).tensors) == set(network().state_dict())


@pytest.mark.parametrize("legacy", [False, True])
def test_weights_file_of_pickled_tensors_is_read_by_a_child(tmp_path, monkeypatch, legacy):
    (tmp_path / "torch.py").write_text("raise SystemExit('planted')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    path, own = tmp_path / "w.pth", network()
    content = {"epoch": 3, "state_dict": own.state_dict()}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    found = read_weights(path).tensors
    assert list(found) == list(own.state_dict())
    assert all(torch.equal(found[name], tensor) for name, tensor in own.state_dict().items())


@pytest.mark.parametrize(
    "nest", [lambda s: s, lambda s: {"model": s, "epoch": 1}, lambda s: {"ema": {"params": s}}]
)
def test_tensors_are_found_however_deep_they_lie(nest):
    assert list(find_tensors(nest(network().state_dict()))) == list(network().state_dict())


@pytest.mark.parametrize("content", [[], {"lr": 0.1}, {3: torch.zeros(1)}, torch.zeros(2)])
def test_what_names_no_tensors_has_none(content):
    assert find_tensors(content) == {}


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_pickle_with_code_is_refused_and_not_run(tmp_path, monkeypatch, name):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    opened = tmp_path / "opened"
    torch.save({"weight": torch.zeros(2), "more": Opener(opened)}, tmp_path / name)
    with pytest.raises(CheckpointError, match="is not a file of tensors") as refused:
        read_weights(tmp_path / name)
    assert "nothing in it was run" in refused.value.hint
    assert not opened.exists()


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x80\x02}q\x00.", b"PK\x03\x04cut"])
def test_damaged_weights_file_is_refused(tmp_path, capsys, content):
    (tmp_path / "w.pth").write_bytes(content)
    assert convert(str(tmp_path / "w.pth"), str(tmp_path / "out")) == 1
    assert capsys.readouterr().err.strip()
    assert not (tmp_path / "out").exists()


def test_cut_safetensors_file_is_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(network().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="can't be read"):
        read_weights(path)


def test_missing_weights_file_is_named(tmp_path):
    with pytest.raises(UsageError, match="there is no weights file"):
        read_weights(tmp_path / "none.pth")


@pytest.mark.parametrize("prefix", ["", "module.", "body."])
def test_weights_are_matched_by_name_with_or_without_a_prefix(prefix):
    given = {f"{prefix}{name}": tensor for name, tensor in network().state_dict().items()}
    found, left_over = fit_weights(network(), Weights(given, "a file"))
    assert list(found) == list(network().state_dict())
    assert not left_over


def test_weights_are_matched_by_shape_in_order_and_a_last_layer_is_left_over():
    body = nn.Sequential(*list(network())[:3])
    given = {f"other.{n}": tensor for n, tensor in enumerate(network().state_dict().values())}
    found, left_over = fit_weights(body, Weights(given, "a file", is_ordered=True))
    assert left_over == ["other.7", "other.8"]
    assert torch.equal(found["0.weight"], given["other.0"])
    with pytest.raises(CheckpointError, match="don't fit"):
        fit_weights(body, Weights(given, "a file without order"))


def test_weights_of_another_network_are_refused():
    other = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5))
    with pytest.raises(CheckpointError, match=r"of 9 are missing, such as 0\.weight"):
        fit_weights(network(), Weights({f"x{n}": t for n, t in other.state_dict().items()}, "it"))


def test_weights_of_another_shape_are_refused():
    given = {**network().state_dict(), "0.weight": torch.zeros(4, 1, 3, 3)}
    with pytest.raises(
        CheckpointError, match=r"0\.weight is \(4, 1, 3, 3\), wanted \(4, 3, 3, 3\)"
    ):
        fit_weights(network(), Weights(given, "it"))


def test_digest_tells_every_changed_bit():
    one, other = network(), network()
    other.load_state_dict(one.state_dict())
    assert digest_weights(one) == digest_weights(other)
    with torch.no_grad():
        other[3].bias[1] += 1e-7
    assert digest_weights(one) != digest_weights(other)


@pytest.mark.parametrize("spec", ["timm:tf_efficientnet_lite0", "torchvision:resnet18"])
def test_weights_of_a_finished_run_fit_its_backbone_with_other_classes(spec: str) -> None:
    """As `--weights RUN/best/model.safetensors` reads them: the old head is left over."""
    settings = {"in_channels": 3, "image_size": (64, 64), "options": {}}
    before = make_transfer(spec, classes=3, **settings)
    after = make_transfer(spec, classes=4, **settings)
    body = getattr(after.body, "network", after.body)
    tensors, left_over = fit_weights(body, Weights(before.state_dict(), "run"))
    assert left_over == ["head.weight", "head.bias"]
    assert tensors.keys() == body.state_dict().keys()
