"""The picture is sound SVG that shows every layer, however many there are and however named."""

import xml.etree.ElementTree as ET

import pytest
import torch
import torchvision
from torch import nn

from torchloupe.lens import draw_net, summarise
from torchloupe.lens.drawing import MOST_BOXES
from torchloupe.model.zoo import CNN, ResidualNet

SPACE = "{http://www.w3.org/2000/svg}"


def texts_of(picture: str) -> list[str]:
    return ["".join(node.itertext()) for node in ET.fromstring(picture).iter(f"{SPACE}text")]


@pytest.mark.parametrize("timed", [True, False])
def test_picture_shows_each_layer_with_its_numbers(timed: bool) -> None:
    summary = summarise(CNN(), torch.rand(1, 1, 28, 28), timed=timed)
    texts = texts_of(draw_net(summary, "my net"))
    assert "my net" in texts
    assert any(text == "0Conv2d" for text in texts)
    assert "32 x 28 x 28" in texts
    assert "18,496" in texts
    assert ("forward, backward" in texts) is timed


def test_picture_shows_where_a_way_joins_another() -> None:
    picture = draw_net(summarise(ResidualNet(), torch.rand(1, 1, 16, 16), timed=False), "net")
    root = ET.fromstring(picture)
    assert len(list(root.iter(f"{SPACE}path"))) == 2


def test_a_long_net_is_put_together_by_part() -> None:
    with torch.device("meta"):
        model, images = torchvision.models.resnet101(), torch.empty(1, 3, 224, 224)
    texts = texts_of(draw_net(summarise(model, images, timed=False), "resnet101"))
    boxes = [text for text in texts if text.startswith("layer")]
    assert "layer3.22Bottleneck, 9 layers" in boxes
    assert 30 < len(boxes) <= MOST_BOXES


def test_names_in_a_picture_are_text() -> None:
    model = nn.Sequential(nn.Flatten())
    model.add_module("<script>alert(1)</script>\x1b[31m", nn.Linear(4, 2))
    summary = summarise(model, torch.rand(1, 1, 2, 2), timed=False)
    picture = draw_net(summary, "</title><script>alert(2)</script>")
    assert "<script" not in picture
    assert "\x1b" not in picture
    assert any("alert(2)" in text for text in texts_of(picture))


def test_a_model_of_one_layer_has_a_picture() -> None:
    summary = summarise(nn.Conv2d(1, 2, 1), torch.rand(1, 1, 4, 4), timed=False)
    assert any("(the model)" in text for text in texts_of(draw_net(summary, "one")))
