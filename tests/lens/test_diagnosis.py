"""The errors of models that can't take the images."""

import inspect
import textwrap
from pathlib import Path

import pytest
import torch
from classic import Classic, error_of, summary_of, with_forward
from torch import nn

from torchloupe.errors import UsageError
from torchloupe.lens.anatomy import explain_forward
from torchloupe.system.user_code import load_object


def line_of(method, text):
    """Where `text` stands, as an error cites it."""
    lines, start = inspect.getsourcelines(method)
    number = next(n for n, line in enumerate(lines, start) if text in line)
    file = Path(inspect.getsourcefile(method)).name
    return f"  at {file}, line {number}: {lines[number - start].strip()}"


def test_explain_forward_reads_well_for_the_classic_mistake():
    error = error_of(Classic())
    table = """
  layer  type       input            output           parameters
  conv1  Conv2d     [2, 1, 32, 32]   [2, 32, 32, 32]         320
  pool   MaxPool2d  [2, 32, 32, 32]  [2, 32, 16, 16]           0
  conv2  Conv2d     [2, 32, 16, 16]  [2, 64, 16, 16]      18,496
  pool   MaxPool2d  [2, 64, 16, 16]  [2, 64, 8, 8]             0
  fc     Linear     [2, 4096]        failed               31,370
"""
    assert error.message == (
        "layer fc (Linear) takes 3136 features (in_features), it got 4096 = 64 x 8 x 8 after layer "
        "pool" + table + line_of(Classic.forward, "return self.fc")
    )
    assert error.hint == "make layer fc a Linear(4096, 10), or use 28x28 images: --set data.size=28"
    assert isinstance(error.__cause__, RuntimeError)


def test_explain_forward_sees_through_pooling_in_plain_code():
    def forward(self, x):
        x = torch.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = torch.max_pool2d(torch.relu(self.conv2(x)), 2)
        return self.fc(x.flatten(1))

    assert summary_of(with_forward(forward)) == (
        "layer fc (Linear) takes 3136 features (in_features), it got 4096 = 64 x 8 x 8 after layer "
        "conv2"
        " | make layer fc a Linear(4096, 10), or use 28x28 images: --set data.size=28"
    )


def test_explain_forward_offers_only_sizes_that_work():
    model = nn.Sequential(  # LeNet: 5 * 28 / 4 = 35 pixels would do, 32 is what it was made for
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * 5 * 5, 10),
    )  # fmt: skip
    assert summary_of(model, size=28).endswith(
        "make layer 7 a Linear(256, 10), or use 32x32 images: --set data.size=32"
    )
    model.append(nn.Linear(11, 10))
    assert summary_of(model, size=28).endswith("make layer 7 a Linear(256, 10)")


def test_explain_forward_when_the_flatten_is_missing():
    assert summary_of(with_forward(lambda self, x: self.fc(self.maps(x))), size=28) == (
        "layer fc (Linear) takes 3136 features (in_features), it got [2, 64, 7, 7], which is not "
        "flattened | put x = x.flatten(1) before layer fc: 64 x 7 x 7 = 3136"
    )
    assert summary_of(with_forward(lambda self, x: self.fc(self.maps(x))), size=32).endswith(
        "| put x = x.flatten(1) before layer fc, and make it a Linear(4096, 10)"
    )


def test_explain_forward_when_a_view_does_not_fit():
    def forward(self, x):
        return self.fc(self.maps(x).view(-1, 64 * 7 * 7))

    assert summary_of(with_forward(forward)) == (
        "the code asks for shape [-1, 3136], which 8192 numbers don't fill: after layer pool an "
        "image is 64 x 8 x 8 = 4096 | use x.flatten(1), and make the linear layer after it "
        "a Linear(4096, ...), or use 28x28 images: --set data.size=28"
    )


def test_explain_forward_when_the_channels_differ():
    assert summary_of(Classic(), size=28, channels=3) == (
        "layer conv1 (Conv2d) takes 1 channels (in_channels), the images have 3: [2, 3, 28, 28] | "
        "make layer conv1 a Conv2d(3, 32, ...), or --set data.mode=L"
    )
    model = with_forward(Classic.forward, conv2=nn.Conv2d(16, 64, 3, padding=1))
    assert summary_of(model, size=28) == (
        "layer conv2 (Conv2d) takes 16 channels (in_channels), it got 32: [2, 32, 14, 14] | "
        "make layer conv2 a Conv2d(32, 64, ...), to take [2, 32, 14, 14] from layer pool"
    )
    with pytest.raises(UsageError, match="takes 1 channels") as caught:
        explain_forward(Classic(), torch.rand(2, 28, 28, 1), 10)
    assert caught.value.hint == "turn the images to channels first: NHWC to NCHW"


def test_explain_forward_when_a_convolution_comes_after_the_flatten():
    model = nn.Sequential(nn.Flatten(), nn.Conv2d(1, 4, 3))
    assert summary_of(model) == (
        "layer 1 (Conv2d) takes 4 dimensions, batch and channels first; it got [2, 1024] | "
        "flatten after the last convolution, not before"
    )


def test_explain_forward_when_a_norm_does_not_fit():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(8))
    assert summary_of(model) == (
        "layer 1 (BatchNorm2d) takes 8 channels (num_features), it got 4: [2, 4, 30, 30] | make "
        "layer 1 a BatchNorm2d(4), to take [2, 4, 30, 30] from layer 0"
    )
    assert summary_of(nn.Sequential(nn.Flatten(), nn.BatchNorm2d(1024))).endswith(
        "| make layer 1 a BatchNorm1d(1024), or move it before the flatten"
    )
    assert summary_of(nn.Sequential(nn.Flatten(), nn.LayerNorm(8))) == (
        "layer 1 (LayerNorm) takes [8] as last dimensions, it got [2, 1024] | "
        "make layer 1 a LayerNorm([1024])"
    )
    assert summary_of(nn.Sequential(nn.Conv2d(1, 8, 3), nn.LayerNorm(8))).endswith(
        "it got [2, 8, 30, 30] | make layer 1 a GroupNorm(1, 8), or permute to NHWC first"
    )


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Conv2d(8, 8, 2, stride=2)])
def test_explain_forward_when_images_are_too_small(pool):
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), pool, pool, pool, pool, nn.Flatten(), nn.LazyLinear(10)
    )
    assert summary_of(model, size=8) == (
        f"layer 4 ({type(pool).__name__}) has nothing left to work on: [2, 1, 8, 8] images have "
        "become [2, 8, 1, 1] | use larger images, 16 pixels are enough: --set data.size=16"
    ).replace("layer 4", "layer 1")


def test_explain_forward_when_code_joins_what_does_not_fit():
    def forward(self, x):
        x = self.conv1(x)
        return torch.cat([x, self.pool(x)], dim=1)

    error = error_of(with_forward(forward))
    assert error.message.startswith(
        "the code joins tensors whose shapes don't fit: Sizes of tensors must match except in "
        "dimension 1. Expected size 32 but got size 16"
    )
    assert error.message.endswith(line_of(forward, "torch.cat"))
    assert error.hint == (
        "make their sides equal (padding, stride): layer conv1 gives [2, 32, 32, 32] and layer "
        "pool gives [2, 32, 16, 16]"
    )


def test_explain_forward_names_the_block_in_which_code_failed():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3)

        def forward(self, x):
            return x + self.conv(x)

    model = nn.Sequential(nn.Identity(), Block())
    assert summary_of(model).startswith("the code inside 1 joins tensors whose shapes don't fit: ")


def test_explain_forward_when_forward_itself_is_wrong():
    assert summary_of(with_forward(lambda self, x: self.fc1(x))) == (
        "the code fails: 'Own' object has no attribute 'fc1' | did you mean 'fc'?"
    )

    def forward(self, x, y):
        return x

    assert summary_of(with_forward(forward)).startswith(
        "the model's forward can't be called with the images alone: "
    )
    assert summary_of(nn.Module()) == (
        "Module has no forward | define def forward(self, x): at the level of __init__, "
        "not inside it"
    )
    assert summary_of(with_forward(lambda self, x: x / {}["a"])).startswith(
        "the code fails: KeyError: 'a' | look at that line; last came the images, [2, 1, 32, 32]"
    )


def test_explain_forward_when_the_type_differs():
    assert summary_of(with_forward(lambda self, x: self.conv1(x.double()))).endswith(
        "| images come as float32: don't convert them, or convert the model alike"
    )


def test_explain_forward_names_the_file_of_the_user(tmp_path):
    (tmp_path / "mine.py").write_text(
        textwrap.dedent("""
        from torch import nn

        class Mine(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(10, 10)

            def forward(self, x):
                return self.fc(x.flatten(1))
        """)
    )
    error = error_of(load_object(f"{tmp_path}/mine.py:Mine", "model")(), size=8)
    assert error.message.endswith("  at mine.py, line 10: return self.fc(x.flatten(1))")


@pytest.mark.parametrize(
    ("convert", "hint"),
    [
        (nn.Module.half, ".half() out: weights stay in float32, and --precision fp16 computes in "
         "float16"),
        (nn.Module.bfloat16, ".bfloat16() out: weights stay in float32, and --precision bf16 "
         "computes in bfloat16"),
        (nn.Module.double, ".double() out: weights stay in float32, and --precision fp32 computes "
         "in float32"),
    ],
)  # fmt: skip
def test_explain_forward_when_the_weights_have_another_number_format(convert, hint):
    flat = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 10))
    for model in (Classic(), flat):
        assert summary_of(convert(model), size=28).endswith(f" | leave {hint}")


def test_explain_forward_names_torchs_default_where_it_gave_the_number_format():
    images = torch.zeros(2, 1, 28, 28)
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(UsageError) as caught:
            explain_forward(nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 10)), images, 10)
    finally:
        torch.set_default_dtype(torch.float32)
    wanted = "leave torch.set_default_dtype(torch.float64) out: weights stay in float32"
    assert caught.value.hint.startswith(wanted)
