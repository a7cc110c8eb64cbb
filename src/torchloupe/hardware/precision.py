"""Number formats: autocast, the fp16 scaler, and the one place where an optimizer steps.

Unscale, check, clip, step and zero happen here and nowhere else, in that order. A step whose
loss or gradient is not finite is not applied: weights, optimizer state and buffers (BatchNorm's
running statistics) stay as they were before its forward.
"""

import math
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from torchloupe.distributed.parallel import is_sharded, whole
from torchloupe.errors import ResourceError

FEW = 8  # up to this many gradients, reading norms one by one is faster
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class StepResult(NamedTuple):
    """What a step did.

    Plain numbers where the host knows them, and 0-d tensors on the device where asking would make
    the host wait (a GPU with a fused optimizer).
    """

    loss: Tensor | float
    grad_norm: Tensor | float  # before clipping
    applied: bool | Tensor
    overflowed: bool = False  # not applied, but the next one may be: fp16's scale went down


class Precision:
    """fp32, tf32, bf16 or fp16 on one device; fp16 has a GradScaler whose state is part of the run.

    Making one for a CUDA device sets how torch multiplies float32 there: exactly for fp32 (torch's
    default for convolutions is tf32), or in tf32. Raises ResourceError for a format that the
    device does not have.

    With `waits` False the host never waits for the device in a step, if the optimizer can skip a
    step by itself; the default is to wait on the CPU only, where it costs nothing. The scaler of
    fp16 always waits once a step.
    """

    def __init__(self, name: str, device: torch.device, *, waits: bool | None = None) -> None:
        problem = why_not(name, device)
        if problem:
            raise ResourceError(problem, "use --precision bf16 or fp32")
        if device.type == "cuda" and name in ("fp32", "tf32"):
            with warnings.catch_warnings():  # newer torch has other names for the same switches
                warnings.simplefilter("ignore")
                torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
                torch.backends.cudnn.allow_tf32 = name == "tf32"
        self.name = name
        self.device = device
        self.scaler = torch.amp.GradScaler(device.type) if name == "fp16" else None
        self.waits = device.type != "cuda" if waits is None else waits
        self._skipped: int | Tensor = 0

    @property
    def skipped_steps(self) -> int:
        """How many steps were not applied; may wait for the device."""
        return int(self._skipped)

    def autocast(self) -> AbstractContextManager[Any]:
        """Run a forward in this format; does nothing for fp32 and tf32."""
        if self.name not in _DTYPES:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=_DTYPES[self.name])

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss`, scaled for fp16."""
        (self.scaler.scale(loss) if self.scaler else loss).backward()  # type: ignore[no-untyped-call]

    def step(
        self, optimizer: torch.optim.Optimizer, loss: Tensor | float, max_norm: float = 0.0
    ) -> StepResult:
        """Unscale, check, clip to `max_norm` (0: not), step, and set the gradients to None.

        `loss` is the step's whole loss (0-d).
        """
        if self.scaler:
            self.scaler.unscale_(optimizer)
        parameters = [
            p for group in optimizer.param_groups for p in group["params"] if p.grad is not None
        ]
        gradients = [p.grad for p in parameters]
        applied: bool | Tensor
        if self.scaler or self.waits or not _can_leave_out(optimizer):
            grad_norm = total_norm(gradients) if max_norm > 0 else read_norm(gradients)
            loss = float(loss)
            applied = math.isfinite(float(grad_norm) + loss)
        else:
            grad_norm = total_norm(gradients)
            applied = torch.isfinite(grad_norm + loss)
        overflowed = (
            self.scaler is not None
            and applied is False
            and math.isfinite(loss)
            and self.scaler.get_scale() > 1
        )
        if isinstance(grad_norm, Tensor) and max_norm > 0:
            nn.utils.clip_grads_with_norm_(parameters, max_norm, grad_norm)
        if isinstance(applied, Tensor):
            _step_unless(optimizer, ~applied)
        elif applied:
            _ = self.scaler.step(optimizer) if self.scaler else optimizer.step()
        if self.scaler:
            self.scaler.update()  # an overflow halves the scale
        optimizer.zero_grad(set_to_none=True)
        if applied is not True:
            self._skipped = self._skipped + (1 - applied if applied is False else (~applied).int())
        return StepResult(loss, grad_norm, applied, overflowed)

    @property
    def scale(self) -> float:
        """What fp16's losses are multiplied by now; 1 for other formats. Waits for the device."""
        return float(self.scaler.get_scale()) if self.scaler else 1.0

    def state_dict(self) -> dict[str, Any]:
        """The scaler's state and the count of skipped steps, as plain numbers."""
        return {
            "scaler": self.scaler.state_dict() if self.scaler else {},
            "skipped_steps": self.skipped_steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; an fp16 scaler's state is ignored by other formats."""
        if self.scaler and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        self._skipped = int(state["skipped_steps"])


def why_not(name: str, device: torch.device) -> str:
    """Why `device` can't compute in this format; empty if it can."""
    if name == "tf32":
        if device.type != "cuda":
            return f"tf32 is a format of NVIDIA GPUs, and this is {device}"
        if torch.cuda.get_device_capability(device) < (8, 0):
            return f"tf32 came with a later GPU than {torch.cuda.get_device_name(device)}"
    return ""


def nearest_format(name: str, device: torch.device) -> str:
    """`name`, or fp32 where `device` doesn't have it: for a run that comes from another one."""
    return "fp32" if why_not(name, device) else name


def formats_of(device: torch.device) -> dict[str, str]:
    """The formats `device` can train in, each with a word on how well."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        found = {"fp32": "", "tf32": "", "bf16": "" if native else "emulated: slow", "fp16": ""}
        return {name: word for name, word in found.items() if not why_not(name, device)}
    if device.type == "mps":
        return {"fp32": "", "bf16": "", "fp16": ""}
    has = {
        name: bool(ask())
        for name in ("avx512_bf16", "amx_tile", "amx_fp16")
        if (ask := getattr(torch.cpu, f"_is_{name}_supported", None)) is not None
    }
    bf16 = ", ".join(name for name in ("avx512_bf16", "amx_tile") if has.get(name))
    fp16 = "amx_fp16" if has.get("amx_fp16") else ""
    slow = "no instructions for it: slow"
    return {"fp32": "", "bf16": bf16 or slow, "fp16": fp16 or slow}


def choose_precision(asked: str, device: torch.device) -> tuple[str, str]:
    """The format asked for, or for `"auto"` bf16 on a GPU with native bf16, else fp32; and why."""
    if asked != "auto":
        return asked, "asked for"
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16", "this GPU computes in bf16 natively"
    return "fp32", "exact, and the default on this device"


def total_norm(gradients: list[Tensor]) -> Tensor:
    """The 2-norm of all gradients together (0-d); the bits of `nn.utils.get_total_norm`.

    For gradients of one device and dtype, the usual case, without the 50 microseconds that
    torch's function spends on sorting them by those.
    """
    first = gradients[0] if gradients else None
    if is_sharded(first):
        together: Tensor = whole(nn.utils.get_total_norm(gradients))
        return together
    if first is None or any(
        g.dtype != first.dtype or g.device != first.device or g.is_sparse for g in gradients
    ):
        return nn.utils.get_total_norm(gradients)
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return norm


def read_norm(gradients: Sequence[Tensor]) -> Tensor | float:
    """`total_norm`, as a number if that is faster: for a few plain gradients."""
    if len(gradients) > FEW or any(
        type(g) is not Tensor or g.layout is not torch.strided for g in gradients
    ):
        return total_norm(list(gradients))
    return math.hypot(*(torch.linalg.vector_norm(g).item() for g in gradients))


class Buffers:
    """A copy of a model's buffers before a forward, restored if its step is not applied.

    A forward over an image with a NaN corrupts BatchNorm's running statistics. Costs about a
    microsecond a buffer and step, and nothing for a model without buffers.
    """

    def __init__(self, model: nn.Module) -> None:
        self._places = [
            (module._buffers, name)
            for module in model.modules()
            for name, buffer in module._buffers.items()
            if buffer is not None
        ]
        self._copies: list[Tensor] = []

    def remember(self) -> None:
        """Copy the buffers as they are now."""
        if not self._places:
            return
        live = self._live()
        if [b.shape for b in live] != [c.shape for c in self._copies]:
            self._copies = [buffer.clone() for buffer in live]
        elif live:
            torch._foreach_copy_(self._copies, live)

    def settle(self, applied: bool | Tensor) -> None:
        """Keep the buffers as the forward left them if `applied`, else put them back."""
        if applied is True:
            return
        with torch.no_grad():
            kept = [(b, name) for b, name in self._places if b[name] is not None]
            for (buffers, name), buffer, copy in zip(kept, self._live(), self._copies, strict=True):
                if buffer.shape != copy.shape:  # an observer's first range
                    buffers[name] = copy.clone()
                    continue
                buffer.copy_(copy if applied is False else torch.where(applied, buffer, copy))

    def _live(self) -> list[Tensor]:
        return [b for buffers, name in self._places if (b := buffers[name]) is not None]


def _can_leave_out(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the optimizer leaves out a step by itself: torch's fused ones do."""
    return getattr(optimizer, "_step_supports_amp_scaling", False) and all(
        group.get("fused") for group in optimizer.param_groups
    )


def _step_unless(optimizer: torch.optim.Optimizer, bad: Tensor) -> None:
    """Step, unless `bad` (0-d bool) says not to; only the device reads it.

    The way torch's own GradScaler hands its finding to a fused optimizer.
    """
    optimizer.grad_scale, optimizer.found_inf = None, bad.float()  # type: ignore[attr-defined]
    optimizer.step()
    del optimizer.grad_scale, optimizer.found_inf  # type: ignore[attr-defined]
