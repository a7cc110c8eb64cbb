"""Layer tables, and outputs that are not logits."""

import pytest
import torch
import torchvision
from classic import Classic, summary_of, with_forward
from torch import nn

from torchloupe.errors import UsageError
from torchloupe.lens.anatomy import (
    LayerRow,
    explain_forward,
    format_layers,
    layer_table,
    parameter_count,
)


def test_layer_table_has_a_row_for_each_call():
    rows = layer_table(Classic(), torch.rand(3, 1, 28, 28))
    assert rows == [
        LayerRow("conv1", "Conv2d", (3, 1, 28, 28), (3, 32, 28, 28), 320),
        LayerRow("pool", "MaxPool2d", (3, 32, 28, 28), (3, 32, 14, 14), 0),
        LayerRow("conv2", "Conv2d", (3, 32, 14, 14), (3, 64, 14, 14), 18_496),
        LayerRow("pool", "MaxPool2d", (3, 64, 14, 14), (3, 64, 7, 7), 0),
        LayerRow("fc", "Linear", (3, 3136), (3, 10), 31_370),
    ]


@pytest.mark.parametrize("name", ["resnet18", "vit_b_32", "densenet121"])
def test_layer_table_counts_every_parameter_once(name):
    model = torchvision.models.get_model(name, weights=None, num_classes=3)
    size = 224 if name == "vit_b_32" else 32
    rows = layer_table(model, torch.rand(1, 3, size, size))
    assert sum(row.parameters for row in rows) == parameter_count(model)
    assert parameter_count(model) == sum(p.numel() for p in model.parameters())


def test_layer_table_lists_layers_that_are_never_called():
    model = Classic()
    model.spare = nn.Linear(5, 5)
    assert layer_table(model, torch.rand(1, 1, 28, 28))[-1] == LayerRow(
        "spare", "Linear", None, None, 30
    )


def test_layer_table_counts_shared_parameters_once():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[2].weight = model[1].weight
    rows = layer_table(model, torch.rand(1, 1, 2, 2))
    assert [row.parameters for row in rows] == [0, 16, 0]
    assert parameter_count(model) == 16


def test_layer_table_shows_a_model_that_is_a_single_layer():
    rows = layer_table(nn.Conv2d(1, 2, 1), torch.rand(1, 1, 4, 4))
    assert rows == [LayerRow("(the model)", "Conv2d", (1, 1, 4, 4), (1, 2, 4, 4), 4)]


def test_layer_table_follows_tuples_and_keywords():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(8, 4, batch_first=True)
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.fc = nn.Linear(4, 3)

        def forward(self, x):
            x, _ = self.lstm(input=x[:, 0])
            x, _ = self.attention(x, x, x)
            return self.fc(x.mean(1))

    model = Recurrent()
    rows = layer_table(model, torch.rand(2, 1, 8, 8))
    assert [(row.name, row.input_shape, row.output_shape) for row in rows] == [
        ("lstm", (2, 8, 8), (2, 8, 4)),
        ("attention", (2, 8, 4), (2, 8, 4)),
        ("fc", (2, 4), (2, 3)),
    ]
    assert sum(row.parameters for row in rows) == parameter_count(model)
    explain_forward(model, torch.rand(2, 1, 8, 8), 3)


def test_layer_table_refuses_a_model_that_fails():
    with pytest.raises(UsageError, match="layer fc"):
        layer_table(Classic(), torch.rand(1, 1, 32, 32))


def test_format_layers_keeps_to_100_columns():
    rows = [
        LayerRow("stage." * 12 + f"conv{n}", "ConvolutionOfAVeryLongName", (128, 2048, 112, 112),
                 (128, 2048, 112, 112), 123_456_789)
        for n in range(30)
    ]  # fmt: skip
    lines = format_layers(rows, limit=12).split("\n")
    assert max(len(line) for line in lines) <= 100
    assert len(lines) == 14
    assert lines[1] == "  (18 layers before)"
    assert "stage.conv29" in lines[-1]
    assert len(format_layers(rows).split("\n")) == 31


def test_format_layers_prints_hostile_names_as_text():
    rows = [LayerRow("a\x1b[31m\nb", "Linear", None, (1, 2), 3)]
    assert (
        format_layers(rows).split("\n")[1] == r"  a\x1b[31m\nb  Linear  -      [1, 2]           3"
    )


def test_explain_forward_is_content_with_a_model_that_works():
    model = Classic()
    assert explain_forward(model, torch.rand(2, 1, 28, 28), 10) is None
    assert explain_forward(model, torch.rand(2, 1, 28, 28)) is None


def test_explain_forward_when_a_view_mixes_images():
    def forward(self, x):
        return self.fc(self.maps(x).view(-1, 64 * 7 * 7))

    assert summary_of(with_forward(forward), size=56) == (
        "the model gives [8, 10] for 2 images: images were mixed with each other | flatten with "
        "x.flatten(1), which keeps the images apart; view(-1, n) does not"
    )


def test_explain_forward_when_the_output_is_not_one_tensor():
    def logits(x):
        return x.flatten(1)[:, :10]

    assert summary_of(with_forward(lambda self, x: (x, logits(x)))) == (
        "the model gives a tuple of 2: [0] [2, 1, 32, 32], [1] [2, 10]; training takes one tensor "
        "[2, 10] | return its [1] alone"
    )
    assert summary_of(with_forward(lambda self, x: {"logits": logits(x), "size": 3})) == (
        "the model gives a dict of 2: ['logits'] [2, 10], ['size'] -; training takes one tensor "
        "[2, 10] | return its ['logits'] alone"
    )
    assert summary_of(with_forward(lambda self, x: None)) == (
        "the model's forward returns nothing | end it with `return x`"
    )
    assert summary_of(with_forward(lambda self, x: 3)) == (
        "the model gives a int; training takes one tensor [2, 10] | return the logits alone"
    )


def test_explain_forward_when_the_output_has_the_wrong_shape():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 7))
    assert summary_of(model, size=8) == (
        "the model gives [2, 7], 7 outputs per image; the data have 10 classes | make layer 1 a "
        "Linear(64, 10), or let the model's constructor take `classes`, which is filled in"
    )


def test_explain_forward_names_the_argument_of_the_constructor_for_the_classes():
    class Net(nn.Module):
        def __init__(self, num_classes=1000, class_token=True):
            super().__init__()
            self.fc = nn.Linear(64, num_classes)

        def forward(self, x):
            return self.fc(x.flatten(1))

    assert summary_of(Net(), size=8).endswith(
        "| make the model with num_classes=10, or make layer fc a Linear(64, 10)"
    )


def test_explain_forward_when_the_output_has_more_dimensions():
    assert summary_of(nn.Conv2d(1, 10, 3)).startswith(
        "the model gives [2, 10, 30, 30], training takes [2, 10]: one number per image and class"
    )
    assert summary_of(with_forward(lambda self, x: x.sum())).startswith(
        "the model gives [] for 2 images: images were mixed with each other"
    )
    assert summary_of(with_forward(lambda self, x: x.flatten(1).argmax(1))).startswith(
        "the model gives int64 numbers, training takes logits, which are fractions"
    )
    assert summary_of(with_forward(lambda self, x: x.mean((1, 2, 3))), classes=2).startswith(
        "the model gives [2], 1 output per image; the data have 2 classes"
    )


def test_explain_forward_finds_an_error_that_only_evaluation_has():
    def forward(self, x):
        return x.flatten(1)[:, :10] if self.training else (x, x)

    assert summary_of(with_forward(forward)).startswith("the model gives a tuple of 2")


def test_explain_forward_takes_one_image_with_batch_norm():
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10))
    assert explain_forward(model, torch.rand(1, 1, 8, 8), 10) is None
    assert model.training
