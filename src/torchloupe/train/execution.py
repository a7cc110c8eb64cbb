"""A prepared session run in its folder: started or restored, trained, tested, results written."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torchloupe.config.schema import Config
from torchloupe.data.pack.set_aside import write_set_aside
from torchloupe.display.trackers import make_trackers
from torchloupe.errors import printable
from torchloupe.hardware.layout import release
from torchloupe.hardware.peaks import Peaks
from torchloupe.lens.anatomy import parameter_count
from torchloupe.model.closures import closures_named
from torchloupe.model.transfer import Transfer
from torchloupe.prepare.data import describe_bad
from torchloupe.prepare.objects import facts_of, load_backbone
from torchloupe.prepare.run_data import ShardedData
from torchloupe.prepare.session import Session, watching
from torchloupe.recipes.choice import explain_augmentation
from torchloupe.run import checkpoint
from torchloupe.run.data_record import DataChange
from torchloupe.run.events import Announcement, read_events
from torchloupe.run.folder import RunFolder
from torchloupe.run.json_files import read_json
from torchloupe.run.ledger import Ledger
from torchloupe.run.listener import Listener
from torchloupe.run.parts import make_parts, read_newest
from torchloupe.run.places import SET_ASIDE
from torchloupe.system.environment import describe_environment
from torchloupe.train.changes import (
    describe_machine,
    describe_settings,
    refuse_other_order,
    remember_data,
    settle_end,
)
from torchloupe.train.head_stage import describe_stages, run_head_stage
from torchloupe.train.loop import train as run_loop
from torchloupe.train.outcome import write_results
from torchloupe.train.owners import hand_over, own_model
from torchloupe.train.reopening import confirm_reopening
from torchloupe.train.teaching import RECORD
from torchloupe.train.validation import make_validation
from torchloupe.train.verdicts import end_training, follow_training
from torchloupe.trained.report import PAGE
from torchloupe.trained.results import collect_results
from torchloupe.trained.run import Run, write_page


@dataclass(frozen=True)
class PreviousRun:
    """What a resume knows of the run so far: its settings, and what changed in its data."""

    config: Config
    changes: DataChange | None  # known to rank 0 alone


def run_session(
    session: Session,
    folder: Path,
    listeners: Sequence[Listener],
    previous: PreviousRun | None = None,
) -> Run:
    """Train in `folder` to the end of the plan, test the best weights and write the results.

    Every rank must call this; rank 0 writes.
    """
    state, peaks, leads = session.state, Peaks(session.place.device), session.parallel.world.leads
    with open_folder(session, folder, listeners) as run:
        run.parts, notes = make_parts(folder, session.parallel)
        notes = [*session.notes, *notes, *begin_or_restore(run, session, previous)]
        run.write_json("config.json", session.settings.to_json())
        announce(session, run)
        for note in notes:
            run.note(note)
        for verdict in session.verdicts:
            run.record(verdict)
        if isinstance(state.model, Transfer) and not has_checkpoint(run, session):
            run_head_stage(
                state,
                session.run_data,
                session.config,
                session.precision,
                run,
                session.parallel.world,
            )
        run.ledger = open_ledger(run, session)
        validate = make_validation(session, run, peaks)
        plan = session.plan_now()
        with peaks.phase("train"), watching(session.config, state.model):
            checks = follow_training(session, run)
            with closures_named(state.optimizer):
                run_loop(
                    state, session.feed, plan, run, session.precision, validate, session.parallel
                )
            end_training(checks, session)
        if leads and (stages := describe_stages(read_events(folder), plan.monitor)):
            run.note(stages)
        contract = write_results(run, session, peaks)
        note_found_unreadable(run, session)
        if leads and session.config.track:
            run.record(collect_results(folder, session.run_data))
        model = session.parallel.gather_model()
        confirm_reopening(folder, session, model)
        release(model)
        done = Run(folder, model, contract, session.config, state.step)
        own_model(done)
        if leads and session.config.train.report:
            leave_page(done, session, run)
    return done


def leave_page(done: Run, session: Session, run: RunFolder) -> None:
    """Write the page of the run; a failure is a note, since the run is complete without it.

    With a budget in minutes the page has no map and no heat maps, which take seconds.
    """
    run.record(Announcement("writing the report"))
    try:
        write_page(done, session.run_data, run.path / PAGE, is_brief=bool(session.budget))
    except Exception as error:
        run.note(f"report.html was not written ({type(error).__name__}: {printable(error)})")


def note_found_unreadable(run: RunFolder, session: Session) -> None:
    """Name the images of a stream that could not be decoded; every rank must call this.

    Others were found, and noted, before the run began.
    """
    if not isinstance(session.run_data, ShardedData):
        return
    pixels = session.run_data.pixels
    found = session.parallel.world.gather(pixels.bad if pixels else ())
    bad = {image.row: image for rank in found for image in rank}
    if not bad or not session.parallel.world.leads:
        return
    images = [bad[row] for row in sorted(bad)]
    write_set_aside(run.path / SET_ASIDE, images)
    for text in describe_bad(images):
        run.note(text)


@contextmanager
def open_folder(
    session: Session, folder: Path, listeners: Sequence[Listener]
) -> Iterator[RunFolder]:
    """The run folder, locked; on rank 0 `listeners` and the trackers of the settings follow it."""
    world, train = session.parallel.world, session.config.train
    trackers = make_trackers(session.config.track, folder) if world.leads else []
    try:
        with RunFolder(
            folder,
            [*listeners, *trackers] if world.leads else [],
            keep=train.keep,
            save_every_seconds=60 * train.save_every_minutes,
            ranks=world.size,
            writes=world.leads,
        ) as run:
            yield run
    finally:
        for tracker in trackers:
            tracker.close()


def open_ledger(run: RunFolder, session: Session) -> Ledger | None:
    """The ledger of the training samples, at the epoch of the state; None for a stream."""
    run_data, state = session.run_data, session.state
    if not session.config.lens.samples or not len(run_data.rows("train")):
        return None
    ledger = Ledger(
        run.path, run_data.samples, run_data.rows("train"), session.parallel.world, run.note
    )
    if state.step:
        ledger.go_on(state.step // session.plan.steps_per_epoch)
    else:
        ledger.begin()
    return ledger


def has_checkpoint(run: RunFolder, session: Session) -> bool:
    """Whether a checkpoint was written before, as rank 0 sees it."""
    return session.parallel.world.first(bool(checkpoint.list_checkpoints(run.checkpoints)))


def begin_or_restore(run: RunFolder, session: Session, previous: PreviousRun | None) -> list[str]:
    """Write what a new run begins with, or restore the state of the `previous` one; notes on it.

    config.json is not among it: written last, it makes the folder a run that can be resumed.
    """
    if previous is not None:
        return restore_state(run, session, previous)
    run_data, world = session.run_data, session.parallel.world
    run.write_json("contract.json", run_data.contract.to_json())
    if world.leads:
        remember_data(run.path, run_data)
    environment = describe_environment(session.place.device, run_data.facts(), world.size)
    run.write_json("environment.json", environment)
    if session.teacher is not None:
        run.write_json(RECORD, session.teacher.facts)
    return [] if session.parallel.is_sharded else hand_over(session.state.model)


def restore_state(run: RunFolder, session: Session, previous: PreviousRun) -> list[str]:
    """Bring the state to where the run stopped; notes on what is not as it was.

    A run that was killed before its first checkpoint begins again.
    """
    state, config, world = session.state, session.config, session.parallel.world
    with world.others_told():
        read = read_json(run.path / "environment.json") if world.leads else None
    was = world.first(read)
    refuse_other_order(was, session.run_data)
    notes = describe_machine(was, describe_environment(session.place.device, {}, world.size))
    notes += describe_settings(previous.config, config)
    if previous.changes:
        notes.append(f"new data accepted: {previous.changes}")
        remember_data(run.path, session.run_data)
        run.write_json("environment.json", {**was, "data": session.run_data.facts()})
    if not has_checkpoint(run, session):
        run.forget_events_after(-1)
        if isinstance(state.model, Transfer) and world.leads:
            notes += load_backbone(config, state.model)
        return [*notes, "there is no checkpoint yet: the run begins again"]
    fresh = [dict(group) for group in state.optimizer.param_groups]
    trees, path, passed_over = read_newest(run.checkpoints, world, run.parts)
    state.load(trees)
    has_budget = session.budget is not None
    end = settle_end(state, session.plan, previous.config, config, has_budget=has_budget)
    if config.optimizer != previous.config.optimizer:
        # The checkpoint holds the old rate, decay and options; what was typed now counts.
        for group, options in zip(state.optimizer.param_groups, fresh, strict=True):
            group.update({name: value for name, value in options.items() if name != "params"})
    run.forget_events_after(state.step)
    lost = state.own.lost if state.own is not None else []
    return [*notes, *passed_over, f"resumed from {path.name}", *end, *lost]


def announce(session: Session, run: RunFolder) -> None:
    """Tell the listeners what is about to happen."""
    config, run_data, plan = session.config, session.run_data, session.plan
    facts = {
        "run": str(run.path),
        "data": run_data.source.name,
        "train_count": run_data.train_count,
        "val_count": len(run_data.splits.val),
        "test_count": len(run_data.splits.test),
        "class_count": len(run_data.contract.class_names),
        "image_size": [run_data.contract.channels, *run_data.contract.size],
        "model": config.model.name,
        "parameters": parameter_count(session.state.model),
        "device": str(session.place.device),
        "device_reason": session.place.reason,
        "precision": session.precision.name,
        "epochs": plan.total_steps / plan.steps_per_epoch,
        "minutes": config.train.minutes if session.budget else 0.0,
        "total_steps": plan.total_steps,
        "steps_per_epoch": plan.steps_per_epoch,
        "start_step": session.state.step,
        "batch_total": config.train.batch_total,
        "augmentation": explain_augmentation(session.settings, facts_of(run_data)),
    }
    for listener in run.listeners:
        listener.start(facts)
