"""Hooks that look, replace and stop, in every kind of loop, and come off again."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import torchloupe as loupe
from torchloupe.errors import UsageError
from torchloupe.lens import STOP, Replace, watch
from torchloupe.lens.watch import map_tensors, tensors_in
from torchloupe.model.zoo import CNN, Net, ResidualNet


class Tail(nn.Module):
    """Convolution, in-place ReLU, a tuple of outputs, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.twice = Twice()
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        left, right = self.twice(self.relu(self.conv(images)))
        return self.fc(self.drop((left + right["again"]).mean(dim=(2, 3))))


class Twice(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return x, {"again": 2 * x}


def images(count: int = 4) -> Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(3))


def hooks_of(model: nn.Module) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._backward_hooks)
        for module in model.modules()
    )


def test_watch_calls_any_plain_hook(capsys) -> None:
    model = Net()
    with watch(model, "conv|fc", lambda module, inputs, output: print(output.shape)):
        model(images())
    assert capsys.readouterr().out == "torch.Size([4, 32, 8, 8])\ntorch.Size([4, 10])\n"


def test_watch_is_there_from_the_package() -> None:
    assert loupe.lens.watch is watch


def test_watch_gives_the_hook_what_the_layer_took_and_gave() -> None:
    model, found = Net(), []
    with watch(model, nn.Linear, lambda *arguments: found.append(arguments)):
        logits = model(images())
    ((module, inputs, output),) = found
    assert module is model.fc
    assert torch.equal(output, logits)
    assert [tuple(tensor.shape) for tensor in inputs] == [(4, 32)]


def test_watch_looks_at_the_first_and_then_every_nth_forward() -> None:
    model, turns = Net(), []
    with watch(model, "*", lambda *_: turns.append(seen.forwards), every=3) as seen:
        for _ in range(7):
            model(images())
    assert turns == [1, 1, 4, 4, 7, 7]
    assert seen.forwards == 7
    assert seen.calls == {"conv": 3, "fc": 3}


def test_watch_counts_calls_of_a_layer_that_is_called_alone() -> None:
    model, found = Net(), []
    with watch(model, "fc", lambda *_: found.append(1), every=2):
        for _ in range(4):
            model.fc(torch.rand(1, 32))
    assert len(found) == 2


def test_hooks_come_off_after_the_block_and_after_an_exception() -> None:
    model = ResidualNet()
    with watch(model, "*", backward=lambda *_: None):
        assert hooks_of(model) > 10
    assert hooks_of(model) == 0
    with pytest.raises(ZeroDivisionError), watch(model, "*", lambda *_: 1 / 0):
        model(images())
    assert hooks_of(model) == 0
    with pytest.raises(KeyError), watch(model, "*"):
        raise KeyError("in the block")
    assert hooks_of(model) == 0


def test_an_error_in_a_hook_names_the_layer() -> None:
    model = Net()
    with pytest.raises(ZeroDivisionError) as caught, watch(model, "fc", lambda *_: 1 / 0):
        model(images())
    assert caught.value.__notes__ == ["in a hook on layer fc"]


def test_kept_outputs_are_copies_without_graph() -> None:
    model = Tail().eval()
    with watch(model, "conv|relu") as seen:
        model(images())
    assert (seen["conv"] < 0).any(), "the in-place ReLU changed what was kept"
    assert torch.equal(seen["relu"], seen["conv"].relu())
    assert not seen["conv"].requires_grad


def test_kept_outputs_may_be_live() -> None:
    model = Tail().eval()
    with watch(model, "relu", keep=1, clone=False, detach=False) as seen:
        score = model(images()).sum()
    (gradient,) = torch.autograd.grad(score, seen["relu"])
    assert gradient.shape == (4, 4, 8, 8)
    assert model.conv.weight.grad is None


def test_keep_holds_the_latest_outputs() -> None:
    model = Net()
    with watch(model, "fc", keep=2) as seen, torch.no_grad():
        logits = [model(images(count)) for count in (1, 2, 3)]
    assert [len(output) for output in seen.outputs["fc"]] == [2, 3]
    assert torch.equal(seen["fc"], logits[-1])


def test_keep_holds_nested_outputs() -> None:
    model = Tail()
    with watch(model, "twice") as seen:
        model(images())
    left, right = seen["twice"]
    assert torch.equal(2 * left, right["again"])


@pytest.mark.parametrize(
    ("name", "keep", "text"),
    [
        ("fcc", 1, "layer 'fcc' is not watched\nhint: did you mean 'fc'?"),
        (
            "fc",
            1,
            "no output of layer 'fc' was kept\nhint: run the model inside the with block",
        ),
        ("fc", 0, "no output of layer 'fc' was kept\nhint: give watch(..., keep=1)"),
    ],
)
def test_seen_says_why_it_holds_nothing(name, keep, text) -> None:
    with watch(Net(), "fc", keep=keep) as seen, pytest.raises(UsageError) as caught:
        seen[name]
    assert str(caught.value) == text


@pytest.mark.parametrize("options", [{"every": 0}, {"keep": -1}])
def test_watch_refuses_counts_that_mean_nothing(options) -> None:
    with (
        pytest.raises(UsageError, match="every must be at least 1 and keep at least 0"),
        watch(Net(), "*", **options),
    ):
        pass


def test_what_a_plain_hook_returns_changes_nothing() -> None:
    model = Net()
    before = model(images())
    with watch(model, "*", lambda module, inputs, output: output * 0):
        assert torch.equal(model(images()), before)


def test_replace_puts_something_else_in_place_and_gradients_pass() -> None:
    model = Net()
    with watch(model, "conv", lambda module, inputs, output: Replace(output * 0)):
        logits = model(images())
    assert torch.equal(logits, model.fc.bias.expand(4, 10))
    with watch(model, "conv", lambda module, inputs, output: Replace(output * 2)):
        model(images()).sum().backward()
    assert model.conv.weight.grad.abs().sum() > 0


def test_stop_ends_the_forward_and_the_block() -> None:
    model, later = CNN(), []
    with watch(model, "0|1", lambda module, *_: STOP if module is model[1] else None, keep=1) as s:
        model(images())
        later.append("after the forward")
    assert not later
    assert s["1"].shape == (4, 32, 8, 8)
    assert hooks_of(model) == 0


def test_stop_of_an_outer_lens_passes_through_an_inner_one() -> None:
    model, later = Net(), []
    with watch(model, "conv", lambda *_: STOP):
        with watch(model, "fc"):
            model(images())
        later.append("after the inner block")
    assert not later


@pytest.mark.parametrize("which", ["conv", "relu", "twice", "fc"])
def test_backward_is_called_with_the_gradient_by_each_output(which) -> None:
    model, found = Tail().eval(), []
    with watch(model, which, backward=lambda module, gradient: found.append((module, gradient))):
        model(images()).sum().backward()
    assert len(found) == (2 if which == "twice" else 1)
    assert all(module is model.get_submodule(which) for module, _ in found)
    assert found[0][1].shape == ((4, 3) if which == "fc" else (4, 4, 8, 8))


def test_backward_looks_at_no_pass_that_comes_after_the_block() -> None:
    model, found = Net(), []
    with watch(model, "*", backward=lambda *arguments: found.append(arguments)):
        loss = model(images()).sum()
    loss.backward()
    assert not found


def test_a_hook_that_changes_a_tensor_in_place_is_refused() -> None:
    model = Net()
    with (
        pytest.raises(UsageError, match="changed a tensor of layer 'conv' in place"),
        watch(model, "conv", lambda module, inputs, output: output.mul_(2)),
    ):
        model(images())


def test_random_numbers_of_a_hook_are_not_missing_from_the_model() -> None:
    model = Tail().train()
    torch.manual_seed(1)
    before = model(images())
    torch.manual_seed(1)
    with watch(model, "*", lambda *_: torch.rand(5)):
        assert torch.equal(model(images()), before)


def test_watch_works_under_autocast() -> None:
    model, kinds = Net(), []
    with watch(model, "conv", lambda module, inputs, output: kinds.append(output.dtype)) as seen:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.cross_entropy(model(images()).float(), torch.zeros(4, dtype=torch.int64))
        loss.backward()
    assert kinds == [torch.bfloat16]
    assert seen.calls == {"conv": 1}


def test_watch_works_in_inference_mode() -> None:
    model = Net()
    with watch(model, "*", lambda *_: None, keep=1) as seen, torch.inference_mode():
        logits = model(images())
    assert torch.equal(seen["fc"], logits)


def test_watch_names_layers_of_data_parallel_plainly() -> None:
    model = nn.DataParallel(Net())
    with watch(model, "conv|fc") as seen:
        model(images())
    assert seen.layers == ("conv", "fc")
    assert seen["conv"].shape == (4, 32, 8, 8)
    assert hooks_of(model) == 0


def test_watch_works_under_distributed_data_parallel(tmp_path) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    try:
        model = nn.parallel.DistributedDataParallel(Net())
        gradients = []
        with watch(model, "conv|fc", backward=lambda _, g: gradients.append(g), every=2) as seen:
            for _ in range(3):
                model(images()).sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    assert seen.layers == ("conv", "fc")
    assert seen.calls == {"conv": 2, "fc": 2}
    assert len(gradients) == 4
    assert hooks_of(model) == 0


def test_watch_refuses_a_compiled_model_and_takes_its_twin() -> None:
    model = torch.compile(Net())
    with pytest.raises(UsageError, match="the model is compiled"), watch(model, "conv"):
        pass
    with watch(model._orig_mod, "conv") as seen:
        model._orig_mod(images())
    assert seen.calls == {"conv": 1}


@pytest.mark.gpu
def test_watch_sees_all_replicas_of_data_parallel_on_a_gpu() -> None:
    devices = list(range(torch.cuda.device_count())) or [0]
    model = nn.DataParallel(Net().cuda(), device_ids=devices)
    with watch(model, "conv|fc", lambda *_: None, keep=len(devices)) as seen:
        model(images(8).cuda()).sum().backward()
    assert sum(len(output) for output in seen.outputs["fc"]) == 8
    assert seen.forwards == 1


@pytest.mark.gpu
def test_random_numbers_of_a_hook_are_not_missing_from_the_model_on_a_gpu() -> None:
    model = Tail().cuda().train()
    outputs = []
    for hook in (None, lambda module, inputs, output: torch.rand_like(output)):
        torch.manual_seed(1)
        with watch(copy.deepcopy(model), "conv|relu", hook) as seen:
            outputs.append(model(images().cuda()))
        assert seen.forwards in (0, 1)
    assert torch.equal(*outputs)


def test_map_tensors_keeps_the_shape_of_what_it_is_given() -> None:
    named = torch.return_types.max((torch.ones(1), torch.zeros(1)))
    nested = {"a": [torch.ones(2), 3], "b": (torch.ones(1), None)}
    doubled = map_tensors(lambda tensor: 2 * tensor, nested)
    assert doubled["a"][0].tolist() == [2, 2]
    assert doubled["a"][1] == 3
    assert doubled["b"][1] is None
    assert len(list(tensors_in(nested))) == 2
    assert [t.item() for t in map_tensors(lambda tensor: tensor + 1, named)] == [2, 1]
