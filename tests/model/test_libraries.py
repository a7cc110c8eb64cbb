"""torchvision's and timm's networks: fitted to the data, from scratch, and pretrained offline."""

import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

import torchloupe as loupe
from torchloupe.errors import UsageError
from torchloupe.model.catalog import make_model, model_names
from torchloupe.model.image_sizes import own_size
from torchloupe.model.libraries import replace_first_convolution, replace_last_layer


def make(spec, channels=1, classes=4, size=32, **options):
    return make_model(
        spec, in_channels=channels, classes=classes, image_size=(size, size), options=options
    )


@pytest.mark.parametrize(
    ("name", "size"),
    [("resnet18", 32), ("squeezenet1_1", 32), ("mobilenet_v3_small", 32), ("densenet121", 32)],
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_torchvision_takes_the_channels_and_classes_of_the_data(name, size, channels):
    model = make(f"torchvision:{name}", channels, 4, size).train()
    images = torch.rand(2, channels, size, size)
    assert model(images).shape == (2, 4)


def test_torchvision_transformer_takes_the_size_of_the_images():
    model = make("torchvision:vit_b_16", 3, 4, 32)
    assert model.image_size == 32
    assert model(torch.rand(1, 3, 32, 32)).shape == (1, 4)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_torchvision_auxiliary_outputs_are_left_out(name):
    model = make(f"torchvision:{name}", 3, 4, 80).train()
    logits = model(torch.rand(2, 3, 80, 80))
    assert isinstance(logits, torch.Tensor)
    assert logits.shape == (2, 4)


@pytest.mark.parametrize("channels", [1, 3])
def test_timm_takes_the_channels_and_classes_of_the_data(channels):
    model = make("timm:resnet10t", channels)
    assert model(torch.rand(2, channels, 32, 32)).shape == (2, 4)


def test_timm_transformer_takes_the_size_of_the_images():
    model = make("timm:vit_tiny_patch16_224", 3)
    assert model(torch.rand(1, 3, 32, 32)).shape == (1, 4)


def test_timm_takes_options():
    assert make("timm:resnet10t", drop_rate=0.25).drop_rate == 0.25


def error_of(call):
    with pytest.raises(UsageError) as caught:
        call()
    return f"{caught.value.message} | {caught.value.hint}"


def test_library_error_texts():
    assert error_of(lambda: make("torchvision:resnet19")).startswith(
        "torchvision has no classifier 'resnet19' | did you mean 'resnet1"
    )
    assert error_of(lambda: make("timm:resnet10x")).startswith(
        "timm has no model 'resnet10x' | did you mean 'resnet10"
    )
    assert error_of(lambda: make("timm:resnet10t", widht=2)).startswith(
        "timm:resnet10t can't be made with widht=2: "
    )
    assert error_of(lambda: make("torchvision:resnet18", widht=2)).startswith(
        "torchvision:resnet18 can't be made with widht=2, num_classes=4: "
    )
    assert error_of(lambda: make("torchvision:inception_v3", aux_logits=True)).startswith(
        "torchvision:inception_v3 with aux_logits gives several outputs, training takes one"
    )
    assert error_of(lambda: make("torchvision:resnet18", weights="IMAGENET1K_V9")).startswith(
        "torchvision:resnet18 has no weights 'IMAGENET1K_V9' | did you mean 'IMAGENET1K_V1'"
    )


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """A torch hub folder, and no network: proxies that nobody answers at."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def weights_file(hub, name):
    url = torchvision.models.get_model_weights(name).DEFAULT.url
    return hub / url.rpartition("/")[2]


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_torchvision_pretrained_from_a_file_in_the_hub_folder(hub, name, channels):
    theirs = torchvision.models.get_model(name, weights=None)
    torch.save(theirs.state_dict(), weights_file(hub, name))
    model = make(f"torchvision:{name}", channels, pretrained=True)
    fitted = ("conv1.weight", "features.0.weight", "fc", "classifier")
    for key, value in model.state_dict().items():
        if not key.startswith(fitted):
            assert torch.equal(value, theirs.state_dict()[key]), key
    first = next(p for p in model.parameters() if p.ndim == 4)
    old = next(p for p in theirs.parameters() if p.ndim == 4)
    if channels != 4:  # a grey image gives the same maps as in colour
        grey = torch.rand(1, 1, 8, 8)
        given = torch.conv2d(grey.expand(1, channels, 8, 8), first)
        assert torch.allclose(given, torch.conv2d(grey.expand(1, 3, 8, 8), old), atol=1e-5)
    assert model(torch.rand(2, channels, 32, 32)).shape == (2, 4)


def test_torchvision_pretrained_names_the_offline_way_when_the_hub_is_out_of_reach(hub):
    text = error_of(lambda: make("torchvision:resnet18", pretrained=True))
    assert text.startswith("the pretrained weights of torchvision:resnet18 can't be loaded: ")
    assert re.search(r"\| fetch https://\S+/resnet18-\w+\.pth where there is a connection", text)
    assert text.endswith(f"put it into {hub}")


class Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


def test_torchvision_pretrained_refuses_a_file_that_holds_code(hub, tmp_path):
    ran = tmp_path / "ran"
    torch.save({"fc.weight": Malicious(ran)}, weights_file(hub, "resnet18"))
    text = error_of(lambda: make("torchvision:resnet18", pretrained=True))
    assert text.startswith("the pretrained weights of torchvision:resnet18 can't be loaded: ")
    assert not ran.exists()
    with weights_file(hub, "resnet18").open("rb") as file, pytest.raises(pickle.UnpicklingError):
        torch.load(file, weights_only=True)


def test_timm_pretrained_from_a_file(tmp_path):
    import timm

    theirs = timm.create_model("resnet10t", pretrained=False)
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    overlay = {"file": str(tmp_path / "weights.pth")}
    model = make("timm:resnet10t", 1, pretrained=True, pretrained_cfg_overlay=overlay)
    assert torch.equal(model.layer1[0].conv1.weight, theirs.layer1[0].conv1.weight)
    assert model.fc.out_features == 4


def test_timm_pretrained_refuses_when_there_are_no_weights(tmp_path):
    assert error_of(lambda: make("timm:darknet17", pretrained=True)) == (
        "timm has no pretrained weights for darknet17 | leave model.options.pretrained out, or "
        "name another model"
    )
    overlay = {"file": str(tmp_path / "missing.pth")}
    text = error_of(lambda: make("timm:resnet10t", pretrained=True, pretrained_cfg_overlay=overlay))
    assert text.startswith("the pretrained weights of timm:resnet10t can't be loaded: ")


def test_replacing_layers_refuses_a_model_without_them():
    with pytest.raises(UsageError, match="no first convolution over 3 channels"):
        replace_first_convolution(torch.nn.Linear(2, 2), 1)
    with pytest.raises(UsageError, match="no last layer of 1000 outputs"):
        replace_last_layer(torch.nn.Linear(2, 2), 1000, 3)


# The sweep: every classifier of torchvision, and of each module of timm the smallest one.


def smallest_of_each_module():
    """For each module of timm the network with the fewest pixels times parameters."""
    import timm

    found = []
    for module in timm.list_modules():
        costs = []
        for name in timm.list_models(module=module):
            with torch.device("meta"):
                network = timm.create_model(name)
            side = (own_size(f"timm:{name}") or (224, 224))[0]
            costs.append((side**2 * sum(p.numel() for p in network.parameters()), name))
        found += [f"timm:{min(costs)[1]}"] if costs else []
    return found


def sweep(spec, photos, out):
    """Two steps at the network's own size, an evaluation, a look, and the same from the folder."""
    side = own_size(spec)[0]
    settings = {
        "data.size": str(side),
        "data.test_fraction": 0.0,
        "data.val_fraction": 0.2,
        "data.pack": "memory",
        "optimizer.name": "sgd",
        "optimizer.lr": 1e-3,
        "train.batch_total": 2,
        "train.evaluate_every_epochs": 0,
    }
    run = loupe.fit(photos, model=spec, optimizer="sgd", epochs=0.4, out=out, settings=settings)
    image = photos / "a" / "0.png"
    first = run.predict(image).probabilities
    assert run.step == 2
    assert run.evaluate()["split"] == "val"
    assert run.look(image).layers
    assert loupe.open_run(out).predict(image).probabilities == pytest.approx(first, abs=1e-5)
    return side


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_every_network_trains_two_steps_is_evaluated_looked_into_and_opened(
    library, tmp_path, capsys
):
    noise = np.random.default_rng(0)
    for number in range(12):
        file = tmp_path / "photos" / "abc"[number % 3] / f"{number // 3}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (96, 96, 3), np.uint8)).save(file)
    specs = model_names("torchvision") if library == "torchvision" else smallest_of_each_module()
    failed = []
    for number, spec in enumerate(specs):
        out = tmp_path / f"run-{number}"
        try:
            row = f"{spec:50} {sweep(spec, tmp_path / 'photos', out):4} pixels"
        except UsageError as error:  # refused in two lines
            row = f"{spec:50} {error.message.partition(chr(10))[0]} | {error.hint}"
        except Exception as error:
            row = f"{spec:50} {type(error).__name__}: {error}"
            failed.append(row)
        shutil.rmtree(out, ignore_errors=True)
        with capsys.disabled():
            print(row, flush=True)
    assert not failed
