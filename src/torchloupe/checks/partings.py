"""What is said of a model whose logits in eval mode change from forward to forward, or with the
other images of a batch: the cause, and what mends it.
"""

from torchloupe.errors import printable
from torchloupe.lens.batch_dependence import Dependence
from torchloupe.lens.repetition import EvalCall, Parting

ALLOWED = "output-differs-between-evaluations"  # in check.ignore: random on purpose
_MODE = (
    "let train(self, mode=True) of the model call super().train(mode), and call no .train() in "
    "forward"
)


def describe_parting(found: Parting) -> str:
    """What was seen, and where."""
    seen = (
        f"in eval mode the same images get other logits each time (by {found.gap:.2g} of the "
        "largest)"
    )
    if found.in_training:
        return f"{seen}: {printable(found.layer, 80)} is in training mode after model.eval()"
    if found.buffer:
        return f"{seen}: forward changes the buffer {printable(found.buffer, 80)}"
    if not found.layer:
        return seen
    does = f"calls {found.function}" if found.function else "gives the same input other outputs"
    after = f" after layer {printable(found.after, 80)}" if found.after else ""
    return f"{seen}: forward of {printable(found.layer, 80)} {does}{after}"


def remedy_for_parting(found: Parting) -> str:
    """One thing to do about it."""
    if found.in_training:
        return _MODE
    if found.buffer:
        return "change buffers `if self.training:` alone"
    if "dropout" in found.function or found.function == "rrelu":
        return f"write F.{found.function.strip('_')}(x, ..., training=self.training)"
    if found.function == "scaled_dot_product_attention":
        return "write dropout_p=p if self.training else 0.0"
    return "use dropout with training=self.training, and draw other numbers `if self.training:`"


def describe_dependence(found: Dependence) -> str:
    """What depends on what, and where it begins."""
    if found.shape:
        return f"the model gives {list(found.shape)} for a batch of one image, without its batch"
    what = "how many other images are" if found.is_size else "the other images"
    layer = f"; it begins in layer {printable(found.layer, 80)}" if found.layer else ""
    return (
        f"in eval mode the logits of an image depend on {what} in its batch (by {found.gap:.2g} "
        f"of the largest){layer}"
    )


def remedy_for_dependence(found: Dependence, norm: EvalCall | None) -> str:
    """One thing to do about it; `norm` is a BatchNorm that uses the batch, if there is one."""
    if found.shape:
        return "use x.flatten(1) in place of x.squeeze(), which takes the batch away too"
    if norm is not None and "batch_norm" in norm.functions:
        return f"write F.batch_norm(..., training=self.training) in {printable(norm.title, 80)}"
    if norm is not None:
        return f"{printable(norm.title, 80)} is in training mode after model.eval(): {_MODE}"
    if "BatchNorm" in found.layer:
        return "let BatchNorm keep running statistics: track_running_stats=True"
    return "compute within an image: dim=1 for softmax over classes, and never over dim=0"
