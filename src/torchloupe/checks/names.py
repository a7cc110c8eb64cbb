"""The names of all verdicts, each with what it says and what its check costs.

A name is stable: users put it into check.ignore, and docs/checks has a page for each.
"""

from collections.abc import Iterable, Mapping

from torchloupe.errors import UsageError, did_you_mean, printable

# What a check takes; "free": it reads what is there anyway.
LABELS = "milliseconds: labels, names and splits alone"
HASHES = "milliseconds: content hashes, which are there anyway"
PIXELS = "64 images (`loupe check`: 512); of a Dataset those that are read in 0.3 s"
HEADERS = "200 images (`loupe check`: 2,000), headers for at most 0.3 s (20 s)"
PRINTS = "about 1 ms an image, of 1,000 images (`loupe check`: 50,000)"
MODULES = "milliseconds: modules and parameters alone"
LOSSES = "milliseconds: the loss of made-up outputs"
FORWARDS = "a few forwards of up to 16 images"
STEPS = "four steps of up to 16 images, which these checks share"
RATES = "20 to 60 steps of up to 16 images; in a run within 0.5 % of its time"
EVENTS = "free: the events of the run"
BATCH = "two forwards of 32 images, once, at the end"
HOOKS = "hooks on a few parameters; tensors are looked at in the first 20 steps"
HEART = "40 to 120 steps of up to 16 images; in a run within 0.5 % of its time"

DATA: Mapping[str, tuple[str, str]] = {
    "class-without-images": ("a class has a name and no image", LABELS),
    "class-never-validated": ("a class has no image in the validation split", LABELS),
    "class-never-tested": ("a class has no image in the test split", LABELS),
    "test-within-training": ("all images of a split are training images too", HASHES),
    "images-in-two-splits": ("the same images are in two splits", HASHES),
    "near-copies-in-two-splits": ("nearly the same images are in two splits", PRINTS),
    "groups-torn": ("groups of images are torn across splits", LABELS),
    "same-image-other-label": ("the same image has different labels", HASHES),
    "class-told-by-file": ("a property of the files tells the class", HEADERS),
    "class-told-by-border": ("one class has a mark at its border", HEADERS),
    "blank-images": ("images hold one value in all pixels", PIXELS),
    "images-not-finite": ("images hold NaN or infinite values", PIXELS),
    "images-badly-scaled": ("float images are far from mean 0 and std 1", PIXELS),
    "pixels-scrambled": ("neighbouring pixels don't resemble each other", PIXELS),
    "one-image-for-all": ("all samples give one and the same image", PIXELS),
    "augmentation-never-changes": ("random transforms give the same image each time", PIXELS),
    "splits-scaled-differently": (
        "training and validation images have other means or scales",
        PIXELS,
    ),
    "labels-constant": ("all labels that a loop gives are the same", LABELS),
    "batches-of-one-class": ("batches hold images of one class only", LABELS),
    "validation-images-change": ("validation images differ from one reading to the next", PIXELS),
}
MODEL: Mapping[str, tuple[str, str]] = {
    "softmax-before-cross-entropy": (
        "the model ends in softmax, and the loss applies it again",
        STEPS,
    ),
    "log-softmax-before-cross-entropy": (
        "the model ends in log-softmax, which cross entropy applies itself",
        STEPS,
    ),
    "sigmoid-before-cross-entropy": (
        "the model ends in a sigmoid, and the loss applies a softmax",
        STEPS,
    ),
    "relu-before-the-loss": (
        "the model ends in a ReLU, and the loss takes logits of either sign",
        STEPS,
    ),
    "tanh-before-the-loss": ("the model ends in tanh, which bounds its logits", STEPS),
    "probabilities-before-binary-loss": (
        "the model ends in a sigmoid or softmax, and the loss applies a sigmoid",
        STEPS,
    ),
    "nll-without-log-softmax": (
        "the loss takes log-probabilities, and the model gives others",
        STEPS,
    ),
    "dropout-on-logits": ("the last layer is dropout, which sets logits to 0", STEPS),
    "dropout-too-strong": ("dropout leaves hardly anything of its input", MODULES),
    "more-outputs-than-classes": ("the model has outputs that no label names", STEPS),
    "output-ignores-image": ("different images get the same outputs", FORWARDS),
    "output-depends-on-other-images": (
        "in eval mode the outputs of an image depend on the batch",
        FORWARDS,
    ),
    "output-differs-between-evaluations": (
        "two evaluations of the same images give other outputs",
        FORWARDS,
    ),
    "unregistered-layers": ("forward uses layers that are no part of the model", FORWARDS),
    "unregistered-parameters": ("a tensor gets a gradient and is no parameter of the model", STEPS),
    "repeated-block": ("the same block stands several times in one container", MODULES),
    "parameters-without-gradient": (
        "trainable parameters get no gradient although their layers run",
        STEPS,
    ),
    "no-gradient-at-all": ("no parameter gets a gradient", STEPS),
    "unused-branch": ("forward never calls a part that has parameters", STEPS),
    "frozen-random-weights": ("frozen layers have weights that nothing ever trained", MODULES),
    "parameters-not-optimized": ("trainable parameters are not in the optimizer", MODULES),
    "optimizer-of-other-parameters": ("the optimizer has parameters of another model", MODULES),
    "mode-not-reaching": ("train() or eval() of the model does not reach all layers", STEPS),
    "batchnorm-never-moves": ("running statistics of BatchNorm stay as they are", STEPS),
    "batchnorm-momentum": ("BatchNorm follows the last batch nearly alone", MODULES),
    "symmetric-weights": ("all units of a layer begin alike and stay so", STEPS),
    "dead-relus": ("units of a ReLU are 0 for every image", STEPS),
    "saturated-activations": ("a sigmoid or tanh is at the ends of its range", STEPS),
    "vanishing-gradients": ("gradients of early layers are next to nothing", STEPS),
    "no-nonlinearity": ("linear layers follow each other without an activation", STEPS),
    "images-scaled-again": ("forward scales images that are scaled already", STEPS),
    "step-raises": ("a forward and backward of a few images fails", STEPS),
    "checks-left-out": ("a model too slow for steps, or whose logits come second", FORWARDS),
    "model-not-copied": ("model or optimizer can not be copied for a trial", STEPS),
}
LOSS: Mapping[str, tuple[str, str]] = {
    "loss-without-gradient": ("the loss passes no gradient to the outputs", LOSSES),
    "loss-rewards-wrong-answers": ("the loss falls when the right output falls", LOSSES),
    "loss-ignores-labels": ("the loss is the same when images get each other's labels", LOSSES),
    "outputs-not-told-apart": ("the loss is the same whichever output is the largest", LOSSES),
    "softmax-for-several-labels": ("images have several labels, the loss one softmax", LOSSES),
    "loss-not-finite": ("the first loss is NaN or infinite", STEPS),
    "optimizer-maximizes": ("the optimizer climbs a loss that is to fall", LOSSES),
    "loss-of-few-images": ("some images of a batch never count in the loss", LOSSES),
    "class-without-loss": ("the images of a class never count in the loss", LOSSES),
    "loss-summed": ("the loss is a sum over the batch, not a mean", LOSSES),
    "weight-decay-too-strong": ("weight decay outweighs what the loss says", STEPS),
    "negative-loss": ("the loss is below 0", LOSSES),
    "first-loss-too-high": ("the first loss is far above that of a guess", STEPS),
    "learning-rate-too-high": ("a few steps blow the loss up, and a smaller rate does not", RATES),
    "learning-rate-too-low": ("steps move nothing, and a larger rate does", RATES),
    "batch-not-learned": ("no learning rate lets the model learn one batch by heart", HEART),
}
TRAINING: Mapping[str, tuple[str, str]] = {
    "validation-at-chance": ("training learns, and validation stays where guessing is", EVENTS),
    "loss-at-class-prior": ("the loss stands where predicting the class shares would", EVENTS),
    "validation-better-than-training": (
        "val loss is far below train loss without a reason",
        EVENTS,
    ),
    "still-improving": ("the last evaluation is the best, and the loss still falls", EVENTS),
    "schedule-ended-early": ("most steps are taken with a learning rate near 0", EVENTS),
    "schedule-barely-begun": ("a schedule made for all steps takes few of its own", EVENTS),
    "best-long-past": ("the best evaluation lies in the first half of the training", EVENTS),
    "skipped-steps": ("steps with a NaN or infinite loss were not applied", EVENTS),
    "one-class-predicted": ("all predictions of a split are one class", EVENTS),
    "suspected-labels": (
        "the model contradicts labels of images that it was not trained on",
        EVENTS,
    ),
    "train-eval-gap": ("trained images are far worse in eval mode than in training mode", BATCH),
}
LOOP: Mapping[str, tuple[str, str]] = {
    "gradients-not-cleared": ("gradients of the step before are still there", HOOKS),
    "step-never-called": ("there are backwards and no step", HOOKS),
    "step-without-gradient": ("the optimizer steps without a gradient to follow", HOOKS),
    "backward-twice": ("gradients of several backwards of one forward add up", HOOKS),
    "backward-without-step": ("gradients are cleared before a step used them", HOOKS),
    "batchnorm-of-few-images": ("BatchNorm is trained on one or two images at a time", HOOKS),
    "non-finite-gradients": ("gradients are NaN or infinite", HOOKS),
    "weights-unchanged": ("there are steps, and the weights are as before", HOOKS),
    "trained-in-eval-mode": ("steps are taken with the model in eval mode", HOOKS),
    "evaluated-in-train-mode": ("forwards without gradients in training mode", HOOKS),
    "scheduler-before-optimizer": ("the scheduler steps before the optimizer", HOOKS),
    "same-batch-each-step": ("each forward begins with the same image", HOOKS),
}
NAMES: Mapping[str, tuple[str, str]] = {**DATA, **MODEL, **LOSS, **TRAINING, **LOOP}


def refuse_unknown_names(ignored: Iterable[str]) -> None:
    """UsageError for a name in check.ignore that is no verdict's."""
    for name in ignored:
        if name not in NAMES:
            raise UsageError(
                f"check.ignore names {printable(name)!r}, and no verdict has that name",
                did_you_mean(name, NAMES, "docs/checks/index.md lists them all"),
            )
