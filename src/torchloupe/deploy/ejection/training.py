"""What a file does in training: durations, number format, what is kept, and the loss."""

from typing import Any

from torchloupe.config.schema import Config
from torchloupe.deploy.ejection.augmentation import describe_augmentation
from torchloupe.deploy.ejection.facts import Facts
from torchloupe.deploy.ejection.model import import_object
from torchloupe.deploy.ejection.optimizer import write_optimizer
from torchloupe.deploy.ejection.rate import write_rate
from torchloupe.deploy.ejection.text import Part, assign, call, keywords, literal
from torchloupe.errors import UsageError, printable
from torchloupe.hardware.device import choose_device
from torchloupe.model.import_paths import TENSORS
from torchloupe.model.losses import NAMES as LOSS_NAMES
from torchloupe.model.targets import class_weights
from torchloupe.prepare.objects import ONLY_AT_THE_END, make_plan
from torchloupe.prepare.plan import Plan

DTYPES = {"bf16": "torch.bfloat16", "fp16": "torch.float16"}


def describe_training(facts: Facts) -> Part:
    """Everything that happens to the model, as settings and functions of the file."""
    part = Part(packages={"torch", "numpy"})
    config = facts.config
    plan = _plan_of(facts)
    part.settings += [
        assign("SEED", config.train.seed, "of split, order, first weights and dropout"),
        assign("BATCH", config.train.batch_total),
        assign("EVALUATION_BATCH", 256),
        assign("STEPS", plan.total_steps),
    ]
    every = min(plan.evaluate_every, plan.total_steps)
    comment = "at the end" if plan.evaluate_every == ONLY_AT_THE_END else "steps"
    part.settings.append(assign("EVALUATE_EVERY", max(1, every), comment))
    _describe_hardware(config, part)
    _describe_choices(facts, part)
    part.values["loss"] = _write_loss(facts, part)
    part.values["optimizer"] = write_optimizer(config, part)
    part.values["rate"] = write_rate(config, part, plan.total_steps)
    if plan.total_steps:  # a head alone is solved without a step
        describe_augmentation(config.augment, facts, part)
    return part


def _plan_of(facts: Facts) -> Plan:
    """The plan of the run; of a budget in minutes, the steps that it came to."""
    config = facts.config
    per_epoch = -(-facts.train_count // config.train.batch_total)
    plan = make_plan(config, per_epoch, None)
    steps = [int(event["step"]) for event in facts.events if "train_loss" in event]
    if config.train.minutes and steps:
        return make_plan(_with_epochs(config, max(steps) / per_epoch), per_epoch, None)
    return plan


def _with_epochs(config: Config, epochs: float) -> Config:
    from_train = {**vars(config.train), "epochs": epochs}
    return Config(**{**vars(config), "train": type(config.train)(**from_train)})


def _describe_hardware(config: Config, part: Part) -> None:
    hardware = config.hardware
    device = choose_device(hardware.device).device
    part.settings.append(f"DEVICE = torch.device({literal(device.type)})")
    name = hardware.precision
    if name in DTYPES:
        part.flags |= {"autocast", name}
        part.settings.append(f"DTYPE = {DTYPES[name]}  # of the forward; weights stay float32")
    if device.type == "cuda":
        part.flags.add({"fp32": "exact_gpu", "tf32": "tf32"}.get(name, ""))
        part.differs.append("GPUs may add in another order from run to run")
    if name == "fp16":
        part.differs.append("fp16's scale starts anew")
    if hardware.threads:
        part.flags.add("threads")
        part.settings.append(assign("THREADS", hardware.threads))
    if hardware.channels_last:
        part.flags.add("channels_last")
    if hardware.compile:
        part.flags.add("compile")
    if hardware.gpus != "1":
        part.differs.append("the run had several GPUs, and this file is for one")


def _describe_choices(facts: Facts, part: Part) -> None:
    """Accumulation, clipping, averages, patience, and what decides the best weights."""
    train = facts.config.train
    for flag, name, value in (
        ("clip", "CLIP_NORM", train.clip_norm),
        ("average", "AVERAGE_DECAY", train.average),
        ("patience", "PATIENCE", train.patience),
        ("micro", "MICRO_BATCHES", train.micro_batches if train.micro_batches > 1 else 0),
    ):
        if value and (flag != "patience" or facts.has_val):
            part.flags.add(flag)
            part.settings.append(assign(name, value))
    if train.micro_batches > 1 and facts.config.loss.name.lower() not in LOSS_NAMES:
        part.differs.append("micro-batches count by their images, whatever the loss does")
    lower = train.monitor.endswith("loss")
    part.flags |= {"val"} if facts.has_val else set()
    part.values |= {
        "worst": "math.inf" if lower else "-math.inf",
        "monitored": "loss_now" if lower else "accuracy",
        "gains": "<" if lower else ">",
        "at_least": "<=" if lower else ">=",
        "judged": "average.module" if train.average else "model",
        "shown_loss": "{loss_sum:.4f}" if train.micro_batches > 1 else "{loss.item():.4f}",
        "tested": '"test", images.test' if facts.has_test else '"val", images.val',
    }
    if not facts.has_test and not facts.has_val:
        part.values["tested"] = '"train", images.train'
    if train.minutes:
        part.differs.append("the run had a budget of time, here are the steps that it came to")
    if any("bad_step" in event for event in facts.events):
        part.differs.append("the run left out steps whose loss was not finite; this file does not")
    if facts.train_count % train.batch_total == 1 and train.batch_total > 1:
        part.remarks.append(
            "The last batch of an epoch has one image: a BatchNorm after global pooling refuses it."
        )
    if any(str(event.get("told", "")).startswith("lr=") for event in facts.events):
        part.differs.append("the learning rate of the run was changed while it ran (loupe tell)")


def _write_loss(facts: Facts, part: Part) -> str:
    config, classes = facts.config, len(facts.contract.class_names)
    settings, name = config.loss, config.loss.name.lower()
    head = "def make_loss() -> Callable[[Tensor, Tensor], Tensor]:\n"
    if name not in LOSS_NAMES:
        words = keywords(settings.options)
        if settings.name.startswith("torch.nn:"):
            words = [
                f"{word.partition('=')[0]}=torch.tensor({value!r}, device=DEVICE)"
                if key in TENSORS
                else word
                for word, (key, value) in zip(words, settings.options.items(), strict=True)
            ]
        made = call(import_object(settings.name, part), words)
        return f'{head}    """Your own loss."""\n    return {made}'
    counts = facts.data.samples.class_counts(_rows(facts)).tolist()
    weight = class_weights(settings.weights, counts, classes)
    words = []
    if weight is not None:
        part.settings.append(assign("CLASS_WEIGHTS", [float(value) for value in weight]))
        words.append("weight=torch.tensor(CLASS_WEIGHTS, device=DEVICE)")
    if name in ("cross_entropy", "nll") and (name != "nll" or not settings.smoothing):
        kind = "CrossEntropyLoss" if name == "cross_entropy" else "NLLLoss"
        part.flags |= {"weighted"} if words else set()
        words += [f"label_smoothing={settings.smoothing}"] if settings.smoothing else []
        return f'{head}    """The loss."""\n    return {call(f"nn.{kind}", words)}'
    if name != "binary":
        raise UsageError(
            f"the loss {printable(name)} with these settings is not written out",
            "put it into a file of your own and train with it: --set loss.name=file.py:NAME",
        )
    rows = "labels"
    if not facts.contract.multi_label:
        rows = "F.one_hot(labels, len(CLASSES)).to(logits.dtype)"
    if settings.smoothing:
        share = 2 if facts.contract.multi_label else classes
        rows = f"{rows} * {1 - settings.smoothing!r} + {settings.smoothing / share!r}"
    return (
        f'{head}    """Each class against the rest."""\n'
        f"    criterion = {call('nn.BCEWithLogitsLoss', words)}\n\n"
        "    def loss(logits: Tensor, labels: Tensor) -> Tensor:\n"
        f"        value: Tensor = criterion(logits, {rows})\n"
        "        return value\n\n    return loss"
    )


def _rows(facts: Facts) -> Any:
    return (facts.parts == 0).nonzero()[0]
