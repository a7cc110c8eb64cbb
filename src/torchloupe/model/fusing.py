"""Convolutions fused for inference on a CPU: padding, BatchNorm and activation in one operation.

oneDNN computes a convolution and what follows it in one pass over memory, and takes weights that
are laid out for it once. torch.compile calls the same operations; here nothing is compiled, since
a server's machine need not have a compiler.
"""

import math
from collections import defaultdict
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from torchloupe.lens.copies import deep_copy
from torchloupe.model.folding import fold_norms

CLOSE = 1e-3  # largest difference after fusing, relative to the largest output
Activation = tuple[str, list[float], str]  # oneDNN's name, its numbers, its algorithm
Padding = tuple[tuple[int, int], tuple[int, int]]  # before and after, of height and of width
_NONE: Activation = ("none", [], "")
_MODULES: dict[type[nn.Module], Activation] = {
    nn.Identity: _NONE,
    nn.ReLU: ("relu", [], ""),
    nn.ReLU6: ("hardtanh", [0.0, 6.0], ""),
    nn.SiLU: ("swish", [], ""),
    nn.Hardswish: ("hardswish", [], ""),
    nn.Sigmoid: ("sigmoid", [], ""),
    nn.Tanh: ("tanh", [], ""),
}
_FUNCTIONS: dict[Any, Activation] = {
    F.relu: _MODULES[nn.ReLU],
    torch.relu: _MODULES[nn.ReLU],
    "relu": _MODULES[nn.ReLU],
    "relu_": _MODULES[nn.ReLU],
    F.relu6: _MODULES[nn.ReLU6],
    F.silu: _MODULES[nn.SiLU],
    F.hardswish: _MODULES[nn.Hardswish],
}


class FusedConvolution(nn.Module):
    """A convolution of images [B, C, H, W] with what follows it, for images of one size."""

    def __init__(
        self, conv: nn.Conv2d, padding: Padding, activation: Activation, shape: torch.Size
    ) -> None:
        """`shape` is that of the images; `conv` has what a BatchNorm does in its weights."""
        super().__init__()
        weight, around = _even_out(conv.weight.detach(), padding)
        self.places = (around, list(conv.stride), list(conv.dilation), conv.groups)
        self.bias = None if conv.bias is None else conv.bias.detach()
        self.activation = activation
        self.packed = torch.ops.mkldnn._reorder_convolution_weight(
            weight, *self.places, list(shape)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images after convolution, BatchNorm and activation."""
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(
            images, self.packed, self.bias, *self.places, *self.activation
        )
        return found


class _Tracer(fx.Tracer):
    """Follows a network down to its convolutions, BatchNorms and linear layers."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (nn.Conv2d, nn.Linear, _BatchNorm)) or super().is_leaf_module(
            m, module_qualified_name
        )


def fuse_convolutions(network: nn.Module, images: Tensor) -> nn.Module:
    """A copy of `network` for eval mode, for images of the size of `images`, on the CPU in float32.

    Which layers follow each other is read from the graph of torch.fx; the outputs are compared on
    `images`. ValueError for a network without a convolution to fuse, with hooks, or that differs;
    torch.fx raises errors of its own for code that it can't follow.
    """
    twin = deep_copy(network, network).eval().to(memory_format=torch.channels_last)
    if any(m._forward_hooks or m._forward_pre_hooks for m in twin.modules()):
        raise ValueError("a module has hooks, which fusing would lose")
    shapes = _find_shapes(twin, images)
    traced = fx.GraphModule(twin, _Tracer().trace(twin))
    made: dict[tuple[Any, ...], str] = {}
    with torch.no_grad():
        for node in list(traced.graph.nodes):
            if node.op == "call_module":
                _fuse_at(traced, node, shapes, made)
    if not made:
        raise ValueError("there is no convolution to fuse")
    traced.graph.lint()
    traced.delete_all_unused_submodules()
    traced.recompile()
    with torch.no_grad():
        wanted, found = twin(images), traced(images)
    scale = float(wanted.abs().max())
    if not float((wanted - found).abs().max()) <= CLOSE * max(scale, 1e-12):
        raise ValueError("the outputs differ")
    return traced.eval()


def fuse_or_fold(network: nn.Module, images: Tensor, number_format: str) -> nn.Module:
    """The quickest copy of `network` for eval mode, for images of the size of `images`.

    Convolutions are fused on a CPU in float32 with images in channels_last; elsewhere, and where
    that is not possible, BatchNorms are folded.
    """
    layout = torch.channels_last
    is_laid_out = images.ndim == 4 and images.is_contiguous(memory_format=layout)
    if images.device.type == "cpu" and number_format == "fp32" and is_laid_out:
        try:
            return fuse_convolutions(network, images)
        except Exception:  # whatever torch.fx or a network's own code raises for what is traced
            pass
    folded: nn.Module = fold_norms(network, images[:2])
    return folded.to(memory_format=layout) if is_laid_out else folded


def _fuse_at(
    traced: fx.GraphModule,
    node: fx.Node,
    shapes: dict[int, set[torch.Size]],
    made: dict[tuple[Any, ...], str],
) -> None:
    """Put one module in the place of the convolution at `node` and of what follows it alone.

    `made` has the modules made so far, so that a convolution that is called twice is kept once.
    """
    conv = traced.get_submodule(str(node.target))
    seen = shapes[id(conv)]
    if not isinstance(conv, nn.Conv2d) or len(seen) != 1 or len(node.args) != 1 or node.kwargs:
        return
    (shape,) = seen
    padding = _padding_of(conv, shape)
    if padding is None:
        return
    last, norm, activation, rest = node, None, _NONE, ""
    follower = _only_user(last)
    if follower is not None and _is_foldable(traced, follower, conv):
        last, norm = follower, str(follower.target)
        own = getattr(traced.get_submodule(norm), "act", None)
        if own is not None and type(own) not in _MODULES:
            rest = f"{norm}.act"
        activation = _MODULES.get(type(own), _NONE) if own is not None else _NONE
    follower = _only_user(last)
    if follower is not None and not rest and activation == _NONE:
        found = _activation_of(traced, follower)
        if found is not None:
            last, activation = follower, found
    key = (node.target, norm, activation[0])
    if key not in made:
        made[key] = f"fused_{len(made)}"
        whole = conv
        if norm is not None:
            whole = fuse_conv_bn_eval(conv, cast("_BatchNorm", traced.get_submodule(norm)))
        traced.add_submodule(made[key], FusedConvolution(whole, padding, activation, shape))
    with traced.graph.inserting_after(last):
        fused = traced.graph.call_module(made[key], node.args)
    if rest:
        with traced.graph.inserting_after(fused):
            after = traced.graph.call_module(rest, (fused,))
        last.replace_all_uses_with(after)
    else:
        last.replace_all_uses_with(fused)
    while last is not node:
        before = last.args[0]
        traced.graph.erase_node(last)
        last = before  # type: ignore[assignment]
    traced.graph.erase_node(node)


def _find_shapes(network: nn.Module, images: Tensor) -> dict[int, set[torch.Size]]:
    """The shapes of what each convolution is given, by the id of the module."""
    shapes: dict[int, set[torch.Size]] = defaultdict(set)

    def note(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor) and inputs[0].dtype == torch.float32:
            shapes[id(module)].add(inputs[0].shape)

    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    hooks = [module.register_forward_pre_hook(note) for module in convolutions]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return shapes


def _only_user(node: fx.Node) -> fx.Node | None:
    """The node that alone takes what `node` gives, and takes nothing else."""
    if len(node.users) != 1:
        return None
    (user,) = node.users
    is_first = bool(user.args) and user.args[0] is node
    return user if is_first and user.all_input_nodes == [node] else None


def _is_foldable(traced: fx.GraphModule, node: fx.Node, conv: nn.Conv2d) -> bool:
    """Whether it is a BatchNorm whose statistics are known, without a dropout of its own."""
    if node.op != "call_module" or len(node.args) != 1 or node.kwargs:
        return False
    norm = traced.get_submodule(str(node.target))
    is_known = type(norm) is nn.BatchNorm2d or _is_of_timm(norm, "BatchNormAct2d")
    if not is_known or not isinstance(norm, _BatchNorm) or norm.running_mean is None:
        return False
    is_bare = type(getattr(norm, "drop", nn.Identity())) is nn.Identity
    return is_bare and norm.num_features == conv.out_channels


def _activation_of(traced: fx.GraphModule, node: fx.Node) -> Activation | None:
    """What oneDNN calls the activation at `node`; None for another one."""
    if node.op == "call_module" and len(node.args) == 1:
        return _MODULES.get(type(traced.get_submodule(str(node.target))))
    if node.op in ("call_function", "call_method") and len(node.args) == 1:
        return _FUNCTIONS.get(node.target)
    return None


def _padding_of(conv: nn.Conv2d, shape: torch.Size) -> Padding | None:
    """How many zeros it adds around images of `shape`; None where that is not known."""
    sizes = tuple(zip(shape[2:], conv.kernel_size, conv.stride, conv.dilation, strict=True))
    if _is_of_timm(conv, "Conv2dSame"):
        rows, columns = (_same(*one) for one in sizes)
        is_even = rows[0] == rows[1] and columns[0] == columns[1]
        return (rows, columns) if is_even or max(conv.dilation) == 1 else None
    if type(conv) is not nn.Conv2d or conv.padding_mode != "zeros":
        return None
    if isinstance(conv.padding, str):
        return None
    height, width = conv.padding
    return (height, height), (width, width)


def _same(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """The zeros before and after of TensorFlow's padding SAME."""
    steps = (math.ceil(size / stride) - 1) * stride
    total = max(steps + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def _even_out(weight: Tensor, padding: Padding) -> tuple[Tensor, list[int]]:
    """A kernel and a padding that is the same on both sides.

    One zero more after than before is one more on both sides, and a kernel that begins with a
    row of zeros.
    """
    (top, bottom), (left, right) = padding
    if (top, left) != (bottom, right):
        weight = F.pad(weight, (right - left, 0, bottom - top, 0))
    return weight, [bottom, right]


def _is_of_timm(module: nn.Module, name: str) -> bool:
    kind = type(module)
    return kind.__name__ == name and kind.__module__.startswith("timm.layers.")
