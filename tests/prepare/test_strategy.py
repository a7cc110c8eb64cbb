"""What a run begins from: decided by the images, and never against what was typed."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from drawings import draw_folder
from torchloupe.config.settings import Settings
from torchloupe.data.sources import open_data
from torchloupe.errors import UsageError
from torchloupe.model.transfer import LITE
from torchloupe.prepare.strategy import decide_strategy


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return draw_folder(tmp_path_factory.mktemp("s") / "photos", {"disc": 6, "ring": 6}, side=90)


def arrays(side, channels=3, dtype=np.uint8, count=12):
    shape = (count, side, side, channels)
    return np.zeros(shape, dtype=dtype), np.arange(count) % 2


def decide(data, has_object=False, **typed):
    named = {name.replace("__", "."): value for name, value in typed.items()}
    return decide_strategy(Settings().with_typed(named), open_data(data), has_object)


def test_images_larger_than_64_pixels_get_a_pretrained_backbone_and_its_sight(photos):
    decision = decide(photos)
    config = decision.settings.config
    assert (config.train.strategy, config.model.name) == ("finetune", LITE)
    assert (config.data.size, config.data.mode, config.data.kernel) == ("224", "RGB", "bicubic")
    assert decision.settings.origin("model.name") == "recipe"
    assert decision.input_spec.mean == (0.5, 0.5, 0.5)
    assert "ImageNet" in decision.notes[0]


@pytest.mark.parametrize(
    "data",
    [arrays(64), arrays(28, 1), arrays(96, 3, np.float32)],
    ids=["64 pixels", "small and grey", "floats"],
)
def test_other_images_are_learned_from_scratch(data):
    decision = decide(data)
    assert decision.settings.config.train.strategy == "scratch"
    assert decision.settings.config.model.name == "auto"
    assert decision.input_spec is None


def test_large_grey_images_get_the_backbone_in_colour():
    decision = decide(arrays(96, 1))
    assert decision.settings.config.train.strategy == "finetune"
    assert decision.settings.config.data.mode == "RGB"


def test_what_was_typed_stays(photos):
    decision = decide(
        photos, data__size="48", data__mode="L", data__kernel="nearest", train__strategy="head"
    )
    data = decision.settings.config.data
    assert (data.size, data.mode, data.kernel) == ("48", "L", "nearest")
    assert decision.settings.config.train.strategy == "head"


def test_small_typed_size_is_learned_from_scratch(photos):
    assert decide(photos, data__size="32").settings.config.train.strategy == "scratch"


def test_scratch_and_named_models_are_left_alone(photos):
    assert decide(photos, train__strategy="scratch").settings.config.model.name == "auto"
    assert decide(photos, model__weights="none").settings.config.train.strategy == "scratch"
    decision = decide(photos, model__name="timm:resnet18")
    assert (decision.settings.config.train.strategy, decision.input_spec) == ("scratch", None)


def test_library_model_sees_images_of_its_own_size_where_it_takes_no_other(photos):
    decision = decide(photos, model__name="timm:crossvit_tiny_240")
    assert decision.settings.config.data.size == "240"
    assert decision.notes == [
        "images are resized to 240x240 pixels, the size timm:crossvit_tiny_240 was made for: it "
        "takes none of 64x64"
    ]
    assert decide(photos, model__name="timm:resnet10t").settings.config.data.size == "auto"
    with pytest.raises(UsageError) as caught:
        decide(photos, model__name="torchvision:inception_v3", data__size="32")
    assert caught.value.hint == "use its own size: --set data.size=299"


def test_network_of_the_zoo_takes_weights_from_a_file(photos):
    decision = decide(photos, model__name="residual", model__weights="w.safetensors")
    assert decision.settings.config.train.strategy == "finetune"
    assert decision.settings.config.data.size == "auto"
    assert decision.input_spec is None


def test_named_model_is_a_backbone_where_that_was_asked_for(photos):
    decision = decide(photos, model__name="torchvision:resnet18", train__strategy="head")
    assert decision.settings.config.model.name == "torchvision:resnet18"
    assert decision.input_spec.mean == (0.485, 0.456, 0.406)


def test_many_images_without_a_budget_get_a_head_alone():
    assert decide(arrays(65, count=3000)).settings.config.train.strategy == "head"
    assert (
        decide(arrays(65, count=3000), train__epochs=1).settings.config.train.strategy == "finetune"
    )


def test_dataset_of_ones_own_is_left_alone_and_refuses_a_head():
    mine = TensorDataset(torch.zeros(12, 3, 96, 96), torch.arange(12) % 2)
    assert decide(mine).settings.config.train.strategy == "scratch"
    with pytest.raises(UsageError, match="a dataset of your own may give other images"):
        decide(mine, train__strategy="head")


def test_model_object_is_left_alone_and_refuses_a_head(photos):
    assert decide(photos, has_object=True).settings.config.train.strategy == "scratch"
    with pytest.raises(UsageError, match="no pretrained weights for"):
        decide(photos, has_object=True, train__strategy="finetune")
    with pytest.raises(UsageError, match="no pretrained weights for residual"):
        decide(photos, model__name="residual", train__strategy="head")


@pytest.mark.parametrize(
    "typed",
    [
        {"train__strategy": "scratch", "model__weights": "w.pth"},
        {"train__strategy": "head", "model__weights": "none"},
    ],
)
def test_contradiction_is_refused(photos, typed):
    with pytest.raises(UsageError, match="was given"):
        decide(photos, **typed)


def test_drawings_are_shown_whole_and_photos_cropped(tmp_path):
    draw_folder(tmp_path / "plain", {"disc": 4, "ring": 4}, side=90)
    draw_folder(tmp_path / "plain", {"square": 4, "cross": 4}, side=120)
    assert decide(tmp_path / "plain").settings.config.data.fit == "pad"
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "busy" / name).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 256, (90, 90 + number, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "busy" / name / f"{number}.png")
    assert decide(tmp_path / "busy").settings.config.data.fit == "crop"
