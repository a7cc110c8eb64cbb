"""One owner of unscale, check, clip, step and zero."""

import math

import pytest
import torch
from torch import nn

from torchloupe.errors import ResourceError
from torchloupe.hardware.precision import (
    Buffers,
    Precision,
    choose_precision,
    formats_of,
    nearest_format,
    read_norm,
    total_norm,
)
from torchloupe.model.optimizers import OPTIMIZERS

CPU = torch.device("cpu")


def make_step(loss_scale=1.0):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss = (model(torch.ones(4, 3)) ** 2).mean() * loss_scale
    return model, optimizer, loss


def test_step_equals_a_bare_step():
    model, optimizer, loss = make_step()
    twin, bare, bare_loss = make_step()
    precision = Precision("fp32", CPU)
    precision.backward(loss)
    result = precision.step(optimizer, loss.detach())
    bare_loss.backward()
    norm = torch.sqrt(sum((p.grad**2).sum() for p in twin.parameters()))
    bare.step()
    assert result.applied
    assert float(result.grad_norm) == pytest.approx(float(norm), rel=1e-6)
    assert all(map(torch.equal, model.parameters(), twin.parameters()))
    assert all(p.grad is None for p in model.parameters())


def test_step_clips_like_torch():
    model, optimizer, loss = make_step()
    twin, bare, bare_loss = make_step()
    precision = Precision("fp32", CPU)
    precision.backward(loss)
    precision.step(optimizer, loss.detach(), max_norm=0.01)
    bare_loss.backward()
    nn.utils.clip_grad_norm_(twin.parameters(), 0.01)
    bare.step()
    assert all(map(torch.equal, model.parameters(), twin.parameters()))


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_step_with_a_bad_loss_is_not_applied(scale):
    model, optimizer, loss = make_step(scale)
    before = [p.clone() for p in model.parameters()]
    precision = Precision("fp32", CPU)
    precision.backward(loss)
    result = precision.step(optimizer, loss.detach(), max_norm=1.0)
    assert not result.applied
    assert precision.skipped_steps == 1
    assert all(map(torch.equal, model.parameters(), before))
    assert all(p.grad is None for p in model.parameters())


def test_step_with_a_bad_gradient_and_a_good_loss_is_not_applied():
    model, optimizer, loss = make_step()
    precision = Precision("fp32", CPU)
    precision.backward(loss)
    model.weight.grad[0, 0] = float("inf")
    before = model.weight.clone()
    assert not precision.step(optimizer, loss.detach()).applied
    assert torch.equal(model.weight, before)


def test_bf16_autocasts_the_forward_and_keeps_the_weights_in_fp32():
    model = nn.Linear(3, 2)
    with Precision("bf16", CPU).autocast():
        out = model(torch.ones(1, 3))
    assert out.dtype == torch.bfloat16
    assert model.weight.dtype == torch.float32


def test_tf32_on_the_cpu_is_refused():
    with pytest.raises(ResourceError, match="tf32 is a format of NVIDIA GPUs, and this is cpu"):
        Precision("tf32", CPU)
    assert nearest_format("tf32", CPU) == "fp32"
    assert nearest_format("bf16", CPU) == "bf16"


def test_formats_of_a_device_can_be_trained_in():
    for name in formats_of(CPU):
        model, optimizer, _ = make_step()
        precision = Precision(name, CPU)
        with precision.autocast():
            loss = (model(torch.ones(4, 3)).float() ** 2).mean()
        precision.backward(loss)
        assert precision.step(optimizer, loss.detach()).applied, name


def test_fp16_overflow_lowers_the_scale_and_recovers():
    model, optimizer, _ = make_step()
    before = model.weight.clone()
    precision = Precision("fp16", CPU)
    for expected in (False, False, True):
        with precision.autocast():
            loss = (model(torch.ones(4, 3)).float() ** 2).mean()
        precision.backward(loss * (65536 if precision.scale > 2**14 else 1))
        result = precision.step(optimizer, loss.detach())
        assert (result.applied, result.overflowed) == (expected, not expected)
        assert torch.equal(model.weight, before) is not expected
    assert (precision.scale, precision.skipped_steps) == (2.0**14, 2)
    again = Precision("fp16", CPU)
    again.load_state_dict(precision.state_dict())
    assert (again.scale, again.skipped_steps) == (2.0**14, 2)


def test_choose_precision_obeys_and_explains():
    assert choose_precision("bf16", CPU) == ("bf16", "asked for")
    assert choose_precision("auto", CPU)[0] == "fp32"


def test_state_of_precision_goes_there_and_back():
    precision, again = Precision("fp32", CPU), Precision("fp32", CPU)
    _model, optimizer, loss = make_step(float("nan"))
    precision.backward(loss)
    precision.step(optimizer, loss.detach())
    again.load_state_dict(precision.state_dict())
    assert again.skipped_steps == 1


def test_remember_buffers_undoes_a_poisoned_forward():
    norm = nn.BatchNorm2d(2)
    norm(torch.randn(4, 2, 3, 3))
    before = {name: b.clone() for name, b in norm.named_buffers()}
    buffers = Buffers(norm)
    for not_applied in (False, torch.tensor(False)):
        buffers.remember()
        norm(torch.full((4, 2, 3, 3), float("nan")))
        assert norm.running_mean.isnan().all()
        buffers.settle(not_applied)
        assert all(torch.equal(b, before[name]) for name, b in norm.named_buffers())
    norm(torch.randn(4, 2, 3, 3))
    after = norm.running_mean.clone()
    for applied in (True, torch.tensor(True)):
        buffers.settle(applied)
        assert torch.equal(norm.running_mean, after)


@pytest.mark.parametrize("count", [1, 3, 20])
def test_read_norm_is_the_norm_of_all(count):
    several = [torch.randn(5, 3) for _ in range(count)]
    assert float(read_norm(several)) == pytest.approx(float(total_norm(several)), rel=1e-6)
    several[0][0, 0] = torch.inf
    assert not math.isfinite(float(read_norm(several)))
    several[0][0, 0] = torch.nan
    assert not math.isfinite(float(read_norm(several)))
    several[0] = torch.full((5, 3), 3e38)  # finite itself, but not its square
    assert not math.isfinite(float(read_norm(several)))
    assert float(read_norm([torch.eye(2).to_sparse()])) == pytest.approx(2**0.5)


def test_total_norm_has_the_bits_of_torch():
    torch.manual_seed(1)
    gradients = [torch.randn(50, 3), torch.randn(7), torch.randn(2, 3, 4)]
    for several in (gradients, gradients[:1], [], [*gradients, torch.randn(3).double()]):
        assert torch.equal(total_norm(several), nn.utils.get_total_norm(several))


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "muon"])
@pytest.mark.parametrize("max_norm", [0.0, 0.01])
def test_steps_without_waiting_have_the_same_bits_and_leave_out_the_bad_one(name, max_norm):
    ends = []
    for waits in (True, False):
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        options = {} if name == "muon" else {"fused": True}
        optimizer = OPTIMIZERS[name](model.parameters(), lr=0.1, **options)
        precision = Precision("fp32", CPU, waits=waits)
        applied = []
        for factor in (1.0, float("nan"), 1.0, float("inf"), 0.5):
            loss = (model(torch.ones(4, 3)) ** 2).mean() * factor
            precision.backward(loss)
            result = precision.step(optimizer, loss.detach(), max_norm=max_norm)
            assert isinstance(result.applied, bool) is waits
            applied.append(bool(result.applied))
        assert applied == [True, False, True, False, True]
        assert precision.skipped_steps == 2
        ends.append([p.clone() for p in model.parameters()])
        ends[-1] += [v for s in optimizer.state.values() for v in s.values() if v is not None]
    assert all(map(torch.equal, *ends))


def test_step_waits_where_the_optimizer_cannot_leave_a_step_out():
    _model, optimizer, loss = make_step()
    precision = Precision("fp32", CPU, waits=False)
    precision.backward(loss)
    assert precision.step(optimizer, loss.detach()).applied is True


@pytest.mark.gpu
def test_fp16_overflow_halves_the_scale_and_recovers():
    device = torch.device("cuda", 0)
    model = nn.Linear(3, 2).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    precision = Precision("fp16", device)
    scale = precision.scaler.get_scale()
    before = model.weight.clone()
    for factor, applied in ((1e30, False), (1.0, True)):
        with precision.autocast():
            loss = (model(torch.ones(4, 3, device=device)) ** 2).mean().float() * factor
        precision.backward(loss)
        assert precision.step(optimizer, loss.detach()).applied is applied
        assert torch.equal(model.weight, before) is not applied
    assert precision.scaler.get_scale() == scale / 2


def test_buffers_that_were_resized_are_put_back():
    model = nn.Module()
    model.register_buffer("seen", torch.tensor([]))
    buffers = Buffers(model)
    buffers.remember()
    model.seen.resize_(3)
    buffers.settle(applied=False)
    assert model.seen.numel() == 0
