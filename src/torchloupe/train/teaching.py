"""A finished run as the teacher of another one: opened, checked, and its answers kept.

Answers are the teacher's logits for augmented views of the training images. They are a function of
its weights, the images, the augmentation and the seed, so that a resume finds or makes the same.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torchloupe.config.schema import Config
from torchloupe.data.augmentation.augment import Augment
from torchloupe.data.feeds.feed import PixelFeed
from torchloupe.data.feeds.taught import AskedAnswers, KeptAnswers, answer_views
from torchloupe.data.sources.source import name_some
from torchloupe.errors import CheckpointError, LoupeError, UsageError, printable
from torchloupe.evaluation.inference import eval_mode, forward
from torchloupe.model.distillation import Distillation
from torchloupe.model.weights import digest_weights
from torchloupe.prepare.data import prepare_data
from torchloupe.prepare.objects import UserObjects
from torchloupe.prepare.run_data import PackedData, RunData, ShardedData
from torchloupe.prepare.session import Session
from torchloupe.prepare.teacher import Teacher
from torchloupe.run.events import Announcement, Progress
from torchloupe.run.json_files import read_json
from torchloupe.run.listener import Listener
from torchloupe.system.cache import Kept, find_cache, read_kept, write_kept
from torchloupe.trained.outputs import laid_out, precision_of
from torchloupe.trained.run import Run, open_run
from torchloupe.units import format_bytes

FORMAT = 2  # raised when the same teacher would give other answers
MOST_BYTES = 4 * 10**9  # of answers that are kept
RECORD = "teacher.json"
# Settings that decide which images are held out.
_SPLIT = ("val_fraction", "test_fraction", "folds", "fold", "group", "copies", "split_column")


def with_teacher(
    session: Session,
    objects: UserObjects,
    listeners: Sequence[Listener],
    run: Path | None = None,
    *,
    trust_code: bool = False,
) -> Session:
    """`session`, its feed with a teacher's answers if the settings name one.

    `run` is the folder of a run that goes on: its teacher must be the one that it had.
    `trust_code` allows the code that the teacher's folder names. Every rank must call this.
    UsageError for a teacher that does not fit.
    """
    settings = session.config.distill
    if not settings.teacher:
        return session
    device = str(session.place.device)
    teacher = objects.teacher or open_run(settings.teacher, device=device, trust_code=trust_code)
    teacher.model.to(session.place.device)
    refuse_unfit(teacher, session)
    weights = digest_weights(teacher.model)
    facts = {
        "folder": str(teacher.folder),
        "weights": weights,
        "class_names": list(teacher.class_names),
    }
    if run is not None:
        refuse_other(run, facts)
    ask, shown = asking(teacher, session), open_shown(teacher, session)
    feed: Any = session.feed
    if settings.views:
        rows = np.sort(session.run_data.splits.train)
        answers = open_answers(teacher, session, shown, rows, weights, ask, listeners)
        feed = KeptAnswers(feed, rows, answers)
    else:
        feed = AskedAnswers(feed, shown, ask)
    loss = Distillation(session.plan.loss, settings.weight, settings.temperature)
    notes = (*session.notes, *notes_on(teacher, session))
    return replace(session, feed=feed, teacher=Teacher(loss, facts), notes=notes)


def refuse_unfit(teacher: Run, session: Session) -> None:
    """UsageError for a teacher of other classes, and for what can't be taught."""
    config, run_data = session.config, session.run_data
    name = printable(teacher.folder)
    own, known = set(run_data.contract.class_names), set(teacher.class_names)
    if own != known:
        missing, more = sorted(own - known), sorted(known - own)
        words = [f"it lacks {name_some(missing)}"] if missing else []
        words += [f"it has {name_some(more)} besides"] if more else []
        raise UsageError(
            f"the teacher {name} knows other classes than these data: {', and '.join(words)}",
            "give a teacher that was trained on the same classes, by name",
        )
    if run_data.contract.multi_label or teacher.contract.multi_label:
        raise UsageError(
            "a teacher is for images with one label each",
            "leave the teacher out where images have several labels",
        )
    if config.train.strategy == "head":
        raise UsageError(
            "strategy head fits the last layer to the labels, and a teacher would change nothing",
            "say --strategy finetune or scratch",
        )
    if not isinstance(run_data, PackedData):
        raise UsageError(
            "a Dataset of your own decides itself what an image looks like, so that its teacher "
            "can't be shown the same",
            "give files, arrays or shards",
        )
    if not config.distill.views:
        return
    if isinstance(run_data, ShardedData) or config.augment.mixup or config.augment.cutmix:
        raise UsageError(
            "answers of a teacher can't be kept for images that are streamed or mixed with others",
            "ask it in every step: --set distill.views=0",
        )


def refuse_other(run: Path, facts: dict[str, Any]) -> None:
    """CheckpointError if a run had another teacher before."""
    if not (run / RECORD).is_file():
        return  # it was killed before it began
    if read_json(run / RECORD)["weights"] != facts["weights"]:
        raise CheckpointError(
            f"the teacher {printable(facts['folder'])} has other weights than when "
            f"{printable(run)} was started",
            "put them back as they were, or start a new run",
        )


def asking(teacher: Run, session: Session) -> Callable[[Tensor], Tensor]:
    """What gives the teacher's logits [B, K], in the order of the student's classes."""
    device = session.place.device
    precision = precision_of(teacher.config, device)
    places = {name: place for place, name in enumerate(teacher.class_names)}
    order = torch.tensor([places[name] for name in session.run_data.contract.class_names])
    order = order.to(device)

    def ask(images: Tensor) -> Tensor:
        with ExitStack() as inside:
            inside.enter_context(eval_mode(teacher.model))
            inside.enter_context(laid_out(teacher.model, teacher.config))
            logits = forward(teacher.model, images, precision)
        return logits.clone()[:, order]  # outside inference mode: a loss may be computed of it

    return ask


def open_shown(teacher: Run, session: Session) -> PixelFeed:
    """The batches of the training as the teacher sees them: with its own size and normalisation."""
    config = session.config
    shown: RunData = prepare_data(
        session.run_data.source,
        config.data,
        seed=config.train.seed,
        contract=teacher.contract,
        world=session.parallel.world,
    )
    splits = session.run_data.splits  # images that can't be read were left out of them
    augment = Augment.from_settings(config.augment)
    feed: Any = replace(shown, splits=splits).feed(
        config.train.batch_total, config.train.seed, augment, session.place.device
    )
    assert isinstance(feed, PixelFeed)
    return feed


def open_answers(
    teacher: Run,
    session: Session,
    shown: PixelFeed,
    rows: NDArray[np.int64],
    weights: str,
    ask: Callable[[Tensor], Tensor],
    listeners: Sequence[Listener],
) -> NDArray[np.float32]:
    """Answers [V, N, K] to the views of the images at `rows` [N], from the cache or made now.

    Rank 0 makes them while the others wait; then each reads them.
    """
    config, world = session.config, session.parallel.world
    views = count_views(config)
    size = 4 * views * len(rows) * len(teacher.class_names)
    if size > MOST_BYTES:
        raise UsageError(
            f"the teacher's answers to {views} views of {len(rows):,} images take "
            f"{format_bytes(size)}, and {format_bytes(MOST_BYTES)} are kept at most",
            "keep fewer (--set distill.views=1), or ask it in every step (--set distill.views=0)",
        )
    content = session.run_data.pixels.content if session.run_data.pixels else None
    assert content is not None
    named = name_answers(teacher, session, views, weights)
    hashed = hashlib.sha256(json.dumps(named).encode())
    hashed.update(session.run_data.samples.keys[rows].tobytes())
    hashed.update(np.asarray(content)[rows].tobytes())
    cache = find_cache()
    path = cache / "answers" / f"{hashed.hexdigest()[:32]}.kept" if cache else None

    def record(done: int, total: int) -> None:
        for listener in listeners:
            listener.record(Progress("teacher", done, total))

    def answer() -> NDArray[np.float32]:
        kept = read_kept(path) if path else None
        if kept is not None:
            return kept.arrays["answers"]
        for listener in listeners:
            listener.record(Announcement(f"asking the teacher about {len(rows):,} images"))
        found = answer_views(shown, rows, views, ask, record)
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_kept(path, Kept({}, {"answers": found}))
            except (OSError, LoupeError):
                pass  # they are made again for the next run
        return found

    if world.leads:
        with world.others_told():
            found = answer()
        world.first(True)
        return found
    world.first(None)
    return answer()


def count_views(config: Config) -> int:
    """How many views there are: one without augmentation, and no more than epochs."""
    if Augment.from_settings(config.augment).is_off:
        return 1
    if config.train.minutes or not config.train.epochs:
        return config.distill.views
    return max(1, min(config.distill.views, int(np.ceil(config.train.epochs))))


def name_answers(teacher: Run, session: Session, views: int, weights: str) -> list[Any]:
    """All that the answers depend on, besides the images."""
    config = session.config
    return [
        *(list(session.run_data.contract.class_names), session.place.device.type),
        *(FORMAT, weights, teacher.contract.to_json(), asdict(config.augment), views),
        *(config.train.seed, teacher.config.hardware.precision, torch.__version__),
        torch.get_num_threads(),
    ]


def notes_on(teacher: Run, session: Session) -> list[str]:
    """What the run learns from; and whether the teacher may have seen held-out images."""
    settings = session.config.distill
    notes = [
        f"teacher: {printable(teacher.folder)}, weight {settings.weight:g}, "
        f"temperature {settings.temperature:g}"
    ]
    was = read_json(teacher.folder / "environment.json").get("data", {})
    if was.get("fingerprint") != session.run_data.fingerprint or split_facts(
        teacher.config
    ) != split_facts(session.config):
        notes.append(
            "the teacher was trained on other data or another split: it may have learned from "
            "images that are held out here, and the scores of this run may be too good"
        )
    return notes


def split_facts(config: Config) -> list[Any]:
    """What decides the split of the same images."""
    seed = config.data.seed_of_split(config.train.seed)
    return [seed, *(getattr(config.data, name) for name in _SPLIT)]
