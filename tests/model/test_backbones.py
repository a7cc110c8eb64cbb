"""Pretrained weights: that they are ImageNet's, and what happens where there are none."""

import threading
import time

import pytest
import safetensors.torch
import torch
from sklearn.datasets import load_sample_images

from torchloupe.data.contract import Contract
from torchloupe.errors import CheckpointError, UsageError
from torchloupe.model import backbones
from torchloupe.model.backbones import input_spec_of, load_pretrained, read_lite_weights
from torchloupe.model.catalog import make_model
from torchloupe.model.transfer import LITE, make_transfer
from torchloupe.model.weights import digest_weights, fit_weights

PALACE, DAISY = 698, 985  # of ImageNet's thousand classes


def transfer(spec=LITE, classes=3):
    return make_transfer(spec, in_channels=3, classes=classes, image_size=(64, 64))


def test_installed_weights_know_a_palace_and_a_daisy():
    network = make_model(LITE, in_channels=3, classes=1000, image_size=(224, 224))
    tensors, left_over = fit_weights(network, read_lite_weights())
    assert not left_over
    network.load_state_dict(tensors)
    input_spec = input_spec_of(LITE)
    contract = Contract("RGB", 3, (input_spec.size,) * 2, kernel=input_spec.kernel)
    contract = contract.with_statistics(*input_spec.statistics(3))
    pixels = [torch.tensor(contract.decode(image)) for image in load_sample_images().images]
    with torch.inference_mode():
        logits = network.eval()(contract.normalise(torch.stack(pixels)))
    assert logits.argmax(1).tolist() == [PALACE, DAISY]


def test_installed_weights_become_the_body_and_leave_the_head():
    model = transfer()
    head = model.head.weight.clone()
    origin, left_over = load_pretrained(model, LITE)
    assert "ImageNet" in origin
    assert left_over == ["_fc.weight", "_fc.bias"]
    assert torch.equal(model.head.weight, head)
    again = transfer(classes=7)
    load_pretrained(again, LITE)
    assert digest_weights(again.body) == digest_weights(model.body)


def test_weights_of_a_file_become_the_body(tmp_path):
    source, model = transfer(), transfer(classes=9)
    safetensors.torch.save_file(source.state_dict(), tmp_path / "model.safetensors")
    _, left_over = load_pretrained(model, LITE, str(tmp_path / "model.safetensors"))
    assert left_over == ["head.bias", "head.weight"]
    assert digest_weights(model.body) == digest_weights(source.body)


def test_weights_of_another_network_are_refused(tmp_path):
    safetensors.torch.save_file({"weight": torch.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="don't fit"):
        load_pretrained(transfer(), LITE, str(tmp_path / "w.safetensors"))


def test_hub_out_of_reach_is_a_quick_error_that_names_the_way_without(monkeypatch, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    start = time.monotonic()
    with pytest.raises(UsageError, match="the hub can't be reached") as refused:
        load_pretrained(transfer("timm:resnet10t"), "timm:resnet10t")
    assert time.monotonic() - start < 60
    assert "--weights" in refused.value.hint


def test_hub_that_never_answers_is_given_up(monkeypatch, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(backbones, "HUB_SECONDS", 1.2)
    end = threading.Event()
    monkeypatch.setattr(backbones, "_ask", lambda _address: end.wait(120))
    start = time.monotonic()
    with pytest.raises(UsageError, match="no answer"):
        backbones.require_hub("resnet10t")
    end.set()
    assert time.monotonic() - start < 60


def test_model_without_known_weights_is_refused():
    with pytest.raises(UsageError, match="no pretrained weights are known"):
        load_pretrained(transfer(), "my_model.py:Net")


@pytest.mark.parametrize(
    ("spec", "size", "kernel", "mean"),
    [
        (LITE, 224, "bicubic", (0.5, 0.5, 0.5)),
        ("timm:resnet18", 224, "bicubic", (0.485, 0.456, 0.406)),
        ("torchvision:resnet18", 224, "bilinear", (0.485, 0.456, 0.406)),
        ("my_model.py:Net", 224, "bilinear", (0.485, 0.456, 0.406)),
    ],
)
def test_sight_is_that_of_the_weights(spec, size, kernel, mean):
    input_spec = input_spec_of(spec)
    assert (input_spec.size, input_spec.kernel) == (size, kernel)
    assert input_spec.mean == pytest.approx(mean)
    assert input_spec.statistics(1)[0] == pytest.approx((sum(mean) / 3,))


@pytest.mark.parametrize("name", ["net", "cnn", "residual"])
@pytest.mark.parametrize("was_finetuned", [False, True])
def test_network_of_the_zoo_takes_the_weights_of_an_earlier_run(name, was_finetuned, tmp_path):
    facts = {"in_channels": 1, "image_size": (28, 28)}
    make = make_transfer if was_finetuned else make_model
    earlier = make(name, classes=7, **facts)
    safetensors.torch.save_file(earlier.state_dict(), tmp_path / "model.safetensors")
    model = make_transfer(name, classes=3, **facts)
    origin, left_over = load_pretrained(model, name, str(tmp_path / "model.safetensors"))
    assert origin == str(tmp_path / "model.safetensors")
    assert len(left_over) == 2  # of its last layer
    theirs = earlier.body.network if was_finetuned else earlier
    for key, value in model.body.network.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[key]), key
    assert model(torch.rand(2, 1, 28, 28)).shape == (2, 3)
