"""Muon: momentum made orthogonal for filters and matrices, AdamW for all other parameters.

Each matrix moves by nearly the same length in every direction it can move in, so directions
with small gradients learn as fast as those with large ones. From Jordan et al. 2024, "Muon: An
optimizer for hidden layers in neural networks"; the step's length after Liu et al. 2025, "Muon is
scalable for LLM training", which makes one learning rate do for both halves.
"""

import math
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adamw import adamw

ROUNDS = 5
QUINTIC = (3.4445, -4.7750, 2.0315)  # of Jordan et al.: singular values end between 0.68 and 1.21
ADAM_RMS = 0.2  # the root mean square of AdamW's steps, in units of the learning rate


class Muon(Optimizer):
    """Nesterov momentum whose matrices are made orthogonal, and AdamW for vectors and numbers.

    A parameter of two dimensions or more is taken as the matrix [first dimension, all others], so
    that a filter bank has one row a filter; in a group whose `orthogonal` is False AdamW takes it
    too, which suits the last linear layer. Decay is decoupled for both halves. Momentum is the only
    state of such a matrix, half of what AdamW keeps. Parameters are real and dense.

    Like torch's fused optimizers it leaves a step out by itself, without waiting for the device,
    where `found_inf` (0-d, set by a GradScaler) is not 0.
    """

    _step_supports_amp_scaling = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        momentum: float = 0.9,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        for name, value in (("lr", lr), ("weight_decay", weight_decay), ("eps", eps)):
            if not value >= 0:
                raise ValueError(f"{name} is 0 or more, got {value}")
        for name, share in (("momentum", momentum), ("betas", betas[0]), ("betas", betas[1])):
            if not 0 <= share < 1:
                raise ValueError(f"{name} lies from 0 to below 1, got {share}")
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "betas": tuple(betas),
            "eps": eps,
            "orthogonal": True,
            "fused": True,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step with the current gradients; returns the value of `closure`."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        bad = cast("Tensor | None", getattr(self, "found_inf", None))
        for group in self.param_groups:
            given = [p for p in group["params"] if p.grad is not None]
            least = 2 if group["orthogonal"] else math.inf
            self._step_matrices(group, [p for p in given if p.ndim >= least], bad)
            self._step_others(group, [p for p in given if p.ndim < least], bad)
        return loss

    def _step_matrices(
        self, group: dict[str, Any], matrices: list[Tensor], bad: Tensor | None
    ) -> None:
        if not matrices:
            return
        gradients = [cast("Tensor", p.grad) for p in matrices]
        momenta = [self._kept(p, "momentum_buffer") for p in matrices]
        share, lr = group["momentum"], group["lr"]
        grown = torch._foreach_mul(momenta, share)
        torch._foreach_add_(grown, gradients)
        ahead = torch._foreach_add(gradients, grown, alpha=share)
        moved = torch._foreach_mul(matrices, 1 - lr * group["weight_decay"])
        for shape, places in _by_shape(matrices).items():
            steps = orthogonalise(torch.stack([ahead[k].flatten(1) for k in places]))
            length = lr * ADAM_RMS * math.sqrt(max(shape))
            for k, step in zip(places, steps, strict=True):
                moved[k].sub_(step.view_as(moved[k]), alpha=length)
        old, new = [*momenta, *matrices], [*grown, *moved]
        if bad is not None:
            new = [torch.where(bad > 0, o, n) for o, n in zip(old, new, strict=True)]
        torch._foreach_copy_(old, new)

    def _step_others(self, group: dict[str, Any], others: list[Tensor], bad: Tensor | None) -> None:
        if not others:
            return
        adamw(
            others,
            [cast("Tensor", p.grad) for p in others],
            [self._kept(p, "exp_avg") for p in others],
            [self._kept(p, "exp_avg_sq") for p in others],
            [],
            [self._count(p) for p in others],
            fused=True,
            found_inf=bad,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    def _kept(self, parameter: Tensor, name: str) -> Tensor:
        """The state of that name, zeros at first, laid out in memory as the parameter is."""
        state = self.state[parameter]
        if name not in state:
            state[name] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return cast("Tensor", state[name])

    def _count(self, parameter: Tensor) -> Tensor:
        """How many steps AdamW has done, where its fused kernel wants it: on the device."""
        state = self.state[parameter]
        if "step" not in state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        return cast("Tensor", state["step"])


def orthogonalise(matrices: Tensor) -> Tensor:
    """Matrices [N, R, C] with their singular values brought near 1: 0.68 to 1.21.

    Those below a five-hundredth of the matrix's norm end lower, and those of 0 stay.
    Newton-Schulz iterations with the quintic of Jordan et al. 2024, in float32 or more. One
    iteration is X -> (a + b G + c G^2) X with G = X X^T, so all of them are one polynomial in the
    first G, times X. It is computed on G alone, R x R for R <= C: in float32 as fast as with whole
    matrices in bf16, and a hundred times closer to the exact result (docs/LOG.md).
    """
    a, b, c = QUINTIC
    x: Tensor = matrices.to(torch.promote_types(matrices.dtype, torch.float32))
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    is_tall = x.shape[-2] > x.shape[-1]
    if is_tall:
        x = x.mT
    gram = x @ x.mT
    product = torch.eye(gram.shape[-1], dtype=x.dtype, device=x.device).expand_as(gram)
    for left in reversed(range(ROUNDS)):
        change = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)  # the factor less a
        product = torch.baddbmm(product, change, product, beta=a)
        if left:
            half = torch.baddbmm(gram, change, gram, beta=a)
            gram = torch.baddbmm(half, half, change, beta=a)
    x = product @ x
    return x.mT if is_tall else x


def _by_shape(matrices: list[Tensor]) -> dict[tuple[int, int], list[int]]:
    """Places in the list of those that can be computed together."""
    places: dict[tuple[int, int], list[int]] = {}
    for k, matrix in enumerate(matrices):
        rows = matrix.shape[0]
        places.setdefault((rows, matrix.numel() // max(rows, 1)), []).append(k)
    return places
