"""Every setting of a run with its default, frozen.

A Config is plain data; config/text.py has its text form, config/settings.py each value's origin.
The text "auto", or 0 if the comment says so, stands for a choice that is made and recorded
once the data and the machine are known.
"""

import re
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from torchloupe.errors import UsageError, did_you_mean, printable

INSTALLED = "timm:tf_efficientnet_lite0"  # the backbone whose weights come with torchloupe


@dataclass(frozen=True)
class DataConfig:
    """What to read and how to preprocess it."""

    source: str = ""  # a folder, file, set name or file.py:name, as typed
    image_column: str = "auto"  # tables: the column of paths; shards: the ending of images
    label_column: str = "auto"  # tables: labels; "a,b,c" for 0 and 1; shards: txt, json.NAME
    label_separator: str = "auto"  # tables: what separates labels in a cell, or space; none
    image_folder: str = "auto"  # tables: the folder that paths are relative to, if not the table's
    split_column: str = "auto"  # tables: the column of splits; fold:val=3:test=4 says its values
    label_pattern: str = "auto"  # folders: a regex on paths whose group is the class; auto; none
    layout: str = "auto"  # arrays, and tables of pixels in colour: NHW, NHWC or NCHW
    class_names: tuple[str, ...] = ()  # for data that carries numbers only
    mode: str = "auto"  # L or RGB
    size: str = "auto"  # "64" or "48x64" (height x width)
    fit: str = "auto"  # crop, pad or stretch
    kernel: str = "bilinear"  # nearest, bilinear, bicubic or lanczos
    val_fraction: float = 0.1  # fraction set aside to choose the best checkpoint
    test_fraction: float = 0.15  # fraction set aside for the test at the end
    folds: int = 0  # cross-validation: how many equal parts the images are divided into; 0 is off
    fold: int = 0  # which of the folds, from 1, is the test split; 0 if `--folds` takes them all
    split_seed: int | None = None  # of the split; null: train.seed
    group: str = "auto"  # a regex on image paths: what it matches stays in one split; auto; none
    copies: str = "keep"  # once: train on one of identical images with the same label; keep: on all
    bad_fraction: float = 0.01  # up to this fraction of unreadable images is set aside
    pack: str = "auto"  # disk, memory, off (decode on the fly), stream (shards, as far ones are)
    lanes: int = 8  # streamed shards: how many are read side by side; a multiple of the ranks
    mixed_shards: int = 4  # streamed shards: how many in a row are mixed, in each lane
    shard_cache_gb: float = 20.0  # of far shards that are kept on this machine, at most
    workers: int = 0  # worker processes for a Dataset
    download: bool = False  # let a named set be fetched

    def seed_of_split(self, seed: int) -> int:
        """The seed that decides the split, in a run with this `seed`."""
        return seed if self.split_seed is None else self.split_seed


@dataclass(frozen=True)
class ModelConfig:
    """Which network; `options` are keyword arguments of its constructor."""

    name: str = "auto"  # a name, torchvision:NAME, timm:NAME, file.py:Class or package.module:Class
    options: dict[str, Any] = field(default_factory=dict)  # e.g. model.options.width=32
    weights: str = "auto"  # pretrained weights: a file; auto: those of the model; none
    outputs: str = "auto"  # logits, or probabilities: softmax, sigmoid; eval_...: in eval mode only


@dataclass(frozen=True)
class LossConfig:
    """Which loss, and how it weighs classes."""

    name: str = "auto"  # cross_entropy, binary, focal, nll, or file.py:Loss
    smoothing: float = 0.0  # fraction of the target spread over the other classes
    weights: tuple[float, ...] | str = "none"  # none, balanced, or a number per class, in order
    gamma: float = 2.0  # focal loss: how much less easy samples count
    options: dict[str, Any] = field(default_factory=dict)  # arguments of your own loss


@dataclass(frozen=True)
class OptimizerConfig:
    """Which optimizer, and how fast."""

    name: str = "auto"  # muon, or any class of torch.optim, such as adam, sgd, adamw
    lr: float = 0.0  # base learning rate; 0: the optimizer's own default
    weight_decay: float | None = None  # on weights, never on norms and biases; null: its default
    options: dict[str, Any] = field(default_factory=dict)  # e.g. optimizer.options.momentum=0.9


@dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate moves."""

    name: str = "auto"  # constant, cosine, onecycle, step, plateau, or file.py:Scheduler
    every: str = "auto"  # of a torch scheduler: stepped once a step or once an epoch
    warmup_fraction: float = 0.0  # fraction of all steps over which the rate rises
    options: dict[str, Any] = field(default_factory=dict)  # e.g. schedule.options.gamma=0.1


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of training images, drawn for each sample and epoch."""

    policy: str = "auto"  # by the kind of data; or none, randaugment, trivialaugment
    policy_count: int = 2  # randaugment: how many operations for each sample
    policy_strength: float = 0.3  # randaugment: from 0 to 1
    translate: float = 0.0  # shift by whole pixels, up to this share of the side: crop with padding
    padding: str = "edge"  # what moves in at the border: edge, reflect or zero (the mean)
    flip: bool = False  # left-right, half of the samples
    rotate_degrees: float = 0.0  # up to this angle, either way
    scale: float = 0.0  # zoom by up to this share, in or out
    resized_crop: float = 0.0  # smallest area share of a random resized crop; 0 is off
    brightness: float = 0.0  # up to this share darker or brighter
    contrast: float = 0.0  # up to this share less or more
    saturation: float = 0.0  # colour images: up to this share less or more
    hue: float = 0.0  # colour images: up to this share of a full turn, either way
    erase: float = 0.0  # side of the erased square, as a share of the image's side
    mixup: float = 0.0  # Beta(alpha, alpha) mixing with the next in the batch; 0 is off
    cutmix: float = 0.0  # Beta(alpha, alpha), a rectangle of the next in the batch; 0 is off


@dataclass(frozen=True)
class TrainConfig:
    """How long, how much at a time, and what is kept."""

    strategy: str = "auto"  # head or finetune (from pretrained weights), scratch
    epochs: float = 0.0  # 0: chosen by the size of the data
    minutes: float = 0.0  # for the whole command, instead of epochs; 0 is off
    batch_total: int = 0  # samples per optimizer step; 0: chosen
    micro_batches: int = 1  # micro-batches per optimizer step (gradient accumulation)
    clip_norm: float = 0.0  # largest gradient norm; 0 is off
    average: float = 0.0  # decay of an exponential moving average of the weights; 0 is off
    monitor: str = "val_accuracy"  # what decides the best checkpoint
    patience: int = 0  # evaluations without improvement before stopping; 0 is off
    evaluate_every_epochs: float = 1.0  # 0: only at the end
    save_every_epochs: float = 1.0  # 0: only at the end and at a new best
    save_every_steps: int = 0  # instead of epochs; 0 is off
    save_every_minutes: float = 5.0  # besides; 0 is off
    keep: int = 2  # checkpoints kept besides the best
    log_every_steps: int = 0  # 0: twenty times per epoch or run; fewer in short epochs
    report: bool = True  # write RUN/report.html at the end
    test: bool = True  # test the best weights at the end; a sweep tests its winner alone
    bad_steps: int = 10  # non-finite losses in a row before giving up (exit 5)
    seed: int = 0  # of the split, the order, augmentation, weights and dropout


@dataclass(frozen=True)
class DistillConfig:
    """A trained run as a teacher, whose answers are learned beside the labels."""

    teacher: str = ""  # a run folder; empty: none
    weight: float = 0.5  # of the teacher's answers in the loss; the labels have the rest
    temperature: float = 2.0  # by which both logits are divided
    views: int = 4  # augmented views of an image, answered once and kept; 0: asked every step


@dataclass(frozen=True)
class HardwareConfig:
    """Where and in which number format."""

    device: str = "auto"  # auto, cpu, cuda, cuda:1, mps
    gpus: str = "1"  # how many GPUs of this machine; all
    parallel: str = "ddp"  # with several GPUs: ddp, fsdp, or dp (one process, nn.DataParallel)
    precision: str = "auto"  # fp32, tf32, bf16, fp16
    channels_last: bool | str = "auto"  # memory format of images and convolutions
    threads: int = 0  # 0: measured if the run is long enough, else torch's own choice
    compile: bool = False  # torch.compile the model; give it to `loupe probe` to see if it pays
    timeout_seconds: float = 60.0  # how long a rank waits for the others in a step
    deterministic: bool = False  # refuse GPU operations whose results vary between runs


@dataclass(frozen=True)
class LensConfig:
    """What is observed while training; none of it changes the weights."""

    signals: bool = True  # mean, std, dead units, gradient and update of each layer, logged
    signals_every_steps: int = 0  # 0: about each fiftieth step, when a log line is due
    samples: bool = True  # loss, margin and correctness of each training sample, each epoch
    watch: str = ""  # layers to watch with your own hook, such as conv*|fc1
    hook: str = ""  # file.py:function, called with (module, inputs, output) of those layers
    watch_every: int = 100  # forwards between two calls of the hook


@dataclass(frozen=True)
class CheckConfig:
    """What is said of silent mistakes in data, model and training."""

    level: str = "warn"  # off; warn; strict: an error found before training ends the run (exit 7)
    ignore: tuple[str, ...] = ()  # verdicts that are not told, by name


@dataclass(frozen=True)
class Config:
    """All settings of a run, frozen."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    lens: LensConfig = field(default_factory=LensConfig)
    check: CheckConfig = field(default_factory=CheckConfig)
    track: tuple[str, ...] = ()  # tensorboard, mlflow, wandb; model, `tag:NAME` or `tag:NAME=VALUE`


def flatten(config: Config) -> dict[str, Any]:
    """The settings as one dict of dotted names, e.g. `{"optimizer.lr": 0.001, ...}`."""
    flat: dict[str, Any] = {}
    for section, value in ((f.name, getattr(config, f.name)) for f in fields(config)):
        if is_dataclass(value):
            flat |= {f"{section}.{f.name}": getattr(value, f.name) for f in fields(value)}
        else:
            flat[section] = value
    return flat


def differing(before: Config, after: Config) -> dict[str, tuple[Any, Any]]:
    """Settings that differ, by dotted name: (before, after)."""
    old, new = flatten(before), flatten(after)
    return {name: (old[name], new[name]) for name in new if old[name] != new[name]}


_CHOICES: dict[str, tuple[str, ...]] = {
    "check.level": ("off", "warn", "strict"),
    "data.mode": ("auto", "L", "RGB"),
    "data.fit": ("auto", "crop", "pad", "stretch"),
    "data.copies": ("keep", "once"),
    "data.kernel": ("nearest", "bilinear", "bicubic", "lanczos"),
    "data.layout": ("auto", "NHW", "NHWC", "NCHW"),
    "model.outputs": ("auto", "logits", "softmax", "sigmoid", "eval_softmax", "eval_sigmoid"),
    "train.strategy": ("auto", "head", "finetune", "scratch"),
    "data.pack": ("auto", "disk", "memory", "off", "stream"),
    "augment.policy": ("auto", "none", "randaugment", "trivialaugment"),
    "augment.padding": ("edge", "reflect", "zero"),
    "schedule.every": ("auto", "step", "epoch"),
    "hardware.parallel": ("ddp", "fsdp", "dp"),
    "hardware.precision": ("auto", "fp32", "tf32", "bf16", "fp16"),
}

_RANGES: dict[str, tuple[float, float]] = {
    "data.val_fraction": (0, 0.9),
    "data.test_fraction": (0, 0.9),
    "data.split_seed": (0, 2**63 - 1),
    "data.folds": (0, 1000),
    "data.fold": (0, 1000),
    "data.bad_fraction": (0, 1),
    "data.workers": (0, 1024),
    "loss.smoothing": (0, 0.999),
    "data.lanes": (1, 2**20),
    "data.mixed_shards": (1, 2**20),
    "data.shard_cache_gb": (0.0, 1e9),
    "optimizer.lr": (0, 1e6),
    "optimizer.weight_decay": (0, 1e6),
    "schedule.warmup_fraction": (0, 1),
    "augment.policy_count": (1, 4),
    "augment.policy_strength": (0, 1),
    "augment.translate": (0, 1),
    "augment.rotate_degrees": (0, 180),
    "augment.scale": (0, 0.9),
    "augment.erase": (0, 1),
    "augment.resized_crop": (0, 1),
    "augment.brightness": (0, 1),
    "augment.contrast": (0, 1),
    "augment.saturation": (0, 1),
    "augment.hue": (0, 0.5),
    "augment.mixup": (0, 100),
    "augment.cutmix": (0, 100),
    "train.epochs": (0, 1e9),
    "train.minutes": (0, 1e6),
    "train.batch_total": (0, 2**31),
    "train.micro_batches": (1, 2**20),
    "train.clip_norm": (0, 1e12),
    "train.average": (0, 0.999999),
    "train.patience": (0, 2**31),
    "train.evaluate_every_epochs": (0, 1e9),
    "train.save_every_epochs": (0, 1e9),
    "train.save_every_steps": (0, 2**31),
    "train.save_every_minutes": (0, 1e6),
    "train.keep": (1, 10_000),
    "train.log_every_steps": (0, 2**31),
    "train.bad_steps": (1, 2**31),
    "train.seed": (0, 2**63 - 1),
    "distill.weight": (0, 1),
    "distill.temperature": (0.01, 1000),
    "distill.views": (0, 1000),
    "hardware.threads": (0, 4096),
    "lens.signals_every_steps": (0, 2**31),
    "lens.watch_every": (1, 2**31),
    "hardware.timeout_seconds": (1, 86_400),
}


def check(config: Config) -> None:
    """Refuse values outside their range or list, all of them at once."""
    flat = flatten(config)
    problems = [
        f"{name}={printable(flat[name])} ({did_you_mean(str(flat[name]), options)})"
        for name, options in _CHOICES.items()
        if flat[name] not in options
    ]
    problems += [
        f"{name}={flat[name]} (from {low:g} to {high:g})"
        for name, (low, high) in _RANGES.items()
        if flat[name] is not None and not low <= flat[name] <= high
    ]
    if flat["hardware.gpus"] != "all" and not re.fullmatch("[1-9][0-9]{0,3}", config.hardware.gpus):
        problems.append(f"hardware.gpus={printable(config.hardware.gpus)} (a number, or all)")
    if config.data.val_fraction + config.data.test_fraction >= 1:
        problems.append("data.val_fraction + data.test_fraction (they leave nothing to train on)")
    if config.data.folds == 1 or config.data.fold > config.data.folds:
        problems.append("data.folds and data.fold (two folds or more, and one of them)")
    if bool(config.lens.watch) != bool(config.lens.hook):
        problems.append("lens.watch and lens.hook (one needs the other)")
    if problems:
        raise UsageError(
            "these settings are out of range: " + "; ".join(problems),
            "docs/settings.md lists every setting with what it takes",
        )
