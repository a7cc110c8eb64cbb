"""Muon: orthogonalised momentum for filters and matrices, AdamW for all other parameters.

The update of a matrix has nearly equal singular values, so that directions with small gradients
learn as fast as those with large ones: Jordan et al. 2024, "Muon: An optimizer for hidden layers in
neural networks". Updates are scaled to the root mean square of AdamW's, so that one learning rate
fits both: Liu et al. 2025, "Muon is scalable for LLM training".
"""

import math
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adamw import adamw

ROUNDS = 5
QUINTIC = (3.4445, -4.7750, 2.0315)  # Jordan et al.; gives singular values from 0.68 to 1.21
ADAM_RMS = 0.2  # root mean square of AdamW's updates, in units of the learning rate


class Muon(Optimizer):
    """Orthogonalised Nesterov momentum for matrices, and AdamW for vectors and scalars.

    A parameter with two or more dimensions is treated as a matrix [first dimension, all others],
    so that a convolution has one row per filter. In a group with `orthogonal` False it is updated
    by AdamW too, which suits the last linear layer. Weight decay is decoupled in both cases. The
    only state of a matrix is its momentum, half of what AdamW keeps. Parameters must be real and
    dense.

    Like torch's fused optimizers it skips a step by itself, without waiting for the device, if
    `found_inf` (0-d, set by a GradScaler) is not 0.
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
                raise ValueError(f"{name} must be at least 0, got {value}")
        for name, decay in (("momentum", momentum), ("betas", betas[0]), ("betas", betas[1])):
            if not 0 <= decay < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {decay}")
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
        found_inf = cast("Tensor | None", getattr(self, "found_inf", None))
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            matrix_ndim = 2 if group["orthogonal"] else math.inf
            matrices = [p for p in parameters if p.ndim >= matrix_ndim]
            self._step_matrices(group, matrices, found_inf)
            self._step_adamw(group, [p for p in parameters if p.ndim < matrix_ndim], found_inf)
        return loss

    def _step_matrices(
        self, group: dict[str, Any], matrices: list[Tensor], found_inf: Tensor | None
    ) -> None:
        if not matrices:
            return
        gradients = [cast("Tensor", p.grad) for p in matrices]
        momenta = [self._state(p, "momentum_buffer") for p in matrices]
        momentum, lr = group["momentum"], group["lr"]
        new_momenta = torch._foreach_mul(momenta, momentum)
        torch._foreach_add_(new_momenta, gradients)
        nesterov = torch._foreach_add(gradients, new_momenta, alpha=momentum)
        new_matrices = torch._foreach_mul(matrices, 1 - lr * group["weight_decay"])
        for shape, indices in _by_shape(matrices).items():
            updates = orthogonalise(torch.stack([nesterov[k].flatten(1) for k in indices]))
            scale = lr * ADAM_RMS * math.sqrt(max(shape))
            for k, update in zip(indices, updates, strict=True):
                new_matrices[k].sub_(update.view_as(new_matrices[k]), alpha=scale)
        old, new = [*momenta, *matrices], [*new_momenta, *new_matrices]
        if found_inf is not None:
            new = [torch.where(found_inf > 0, o, n) for o, n in zip(old, new, strict=True)]
        torch._foreach_copy_(old, new)

    def _step_adamw(
        self, group: dict[str, Any], parameters: list[Tensor], found_inf: Tensor | None
    ) -> None:
        if not parameters:
            return
        adamw(
            parameters,
            [cast("Tensor", p.grad) for p in parameters],
            [self._state(p, "exp_avg") for p in parameters],
            [self._state(p, "exp_avg_sq") for p in parameters],
            [],
            [self._step_count(p) for p in parameters],
            fused=True,
            found_inf=found_inf,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    def _state(self, parameter: Tensor, name: str) -> Tensor:
        """The state `name` of a parameter, first zeros, in the parameter's memory layout."""
        state = self.state[parameter]
        if name not in state:
            state[name] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return cast("Tensor", state[name])

    def _step_count(self, parameter: Tensor) -> Tensor:
        """AdamW's step count, on the device as its fused kernel needs it."""
        state = self.state[parameter]
        if "step" not in state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        return cast("Tensor", state["step"])


def orthogonalise(matrices: Tensor) -> Tensor:
    """The matrices [N, R, C] with their singular values moved to between 0.68 and 1.21.

    Singular values below 1/500 of a matrix's norm end lower, and zeros stay zero.
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
        change = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)  # the factor but for a
        product = torch.baddbmm(product, change, product, beta=a)
        if left:
            half = torch.baddbmm(gram, change, gram, beta=a)
            gram = torch.baddbmm(half, half, change, beta=a)
    x = product @ x
    return x.mT if is_tall else x


def _by_shape(matrices: list[Tensor]) -> dict[tuple[int, int], list[int]]:
    """The indices of matrices of equal shape, which are computed together."""
    indices: dict[tuple[int, int], list[int]] = {}
    for k, matrix in enumerate(matrices):
        rows = matrix.shape[0]
        indices.setdefault((rows, matrix.numel() // max(rows, 1)), []).append(k)
    return indices
