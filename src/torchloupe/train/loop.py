"""The training loop: what runs, on one page.

`state` is everything that must survive a crash, `plan` a frozen value already in steps, `run`
the only thing with side effects. In fp32, with augmentation off, the weights after n steps are
bit-equal to those of a bare torch loop over the same batches (tests/laws/test_bare_loop.py).
"""

import time
from collections.abc import Callable, Mapping

from torch import nn

from torchloupe.data.feeds.feed import Batch, Feed, until
from torchloupe.distributed.parallel import Parallel
from torchloupe.errors import NumericError
from torchloupe.hardware.precision import Buffers, Precision, StepResult
from torchloupe.lens.signals import Signals
from torchloupe.model.norms import steady_norms
from torchloupe.model.shares import weighed
from torchloupe.prepare.plan import Plan
from torchloupe.run import events
from torchloupe.run.folder import RunFolder
from torchloupe.run.state import State, Step, Window, read_steps
from torchloupe.run.weights import checksum_weights, find_overflow
from torchloupe.train.gradients import Attempt, attempts
from torchloupe.train.told import obey
from torchloupe.units import is_due, plural

Evaluate = Callable[[nn.Module], Mapping[str, float] | None]


def train(
    state: State,
    feed: Feed,
    plan: Plan,
    run: RunFolder,
    precision: Precision,
    evaluate: Evaluate | None = None,
    parallel: Parallel | None = None,
) -> None:
    """Advance `state` to `plan.total_steps` and record everything in `run`. Every rank calls this.

    With a budget of time the last step is moved to where the pace so far will end with it.
    Ends early when `plan.patience` runs out or a signal asks for it; a checkpoint of the last
    finished step is written either way. `evaluate(model)` returns named numbers, or None when it
    was cut short by a stop. Raises NumericError after `plan.bad_steps` bad steps in a row.
    """
    model, optimizer = state.model, state.optimizer
    parallel = parallel or Parallel(model)
    book = Bookkeeping(state, plan, run, evaluate, parallel)
    signals, buffers = Signals(model, optimizer), Buffers(model)
    with run.stopping_on_signals():
        book.catch_up()
        model.train()
        for batch in until(book.is_over, feed.batches(state.step)):
            lr = plan.set_lr(optimizer, state.step, book.total_steps)
            buffers.remember()
            with signals.looking(is_due(state.step + 1, plan.signals_every, book.total_steps)):
                # --- the step ------------------------------------------------------------------
                for attempt in attempts(state, batch, plan, parallel, run, buffers):
                    with attempt:  # there is a second attempt only if memory ran out
                        for micro, weight in attempt.micro_batches():
                            with precision.autocast(), steady_norms(model, micro.images):
                                logits = parallel.module(micro.images)
                                loss = plan.loss(logits, *micro.targets)
                            loss = weighed(loss, weight)
                            precision.backward(loss)
                            attempt.add(loss, logits, micro)
                    logits = loss = None  # type: ignore[assignment]  # they hold on to a graph
                result = precision.step(optimizer, attempt.loss, max_norm=plan.clip_norm)
                # -------------------------------------------------------------------------------
            buffers.settle(result.applied)
            if result.applied is not False:
                state.update_average()
            state.step += 1
            book.after_step(batch, attempt, result, lr, signals)
        book.finish()


class Bookkeeping:
    """What is done once in a while around the steps: count, log, validate, save, stop."""

    def __init__(
        self,
        state: State,
        plan: Plan,
        run: RunFolder,
        evaluate: Evaluate | None,
        parallel: Parallel,
    ) -> None:
        self.state, self.plan, self.run, self.evaluate = state, plan, run, evaluate
        self.world = parallel.world
        self.total_steps = plan.fit_steps(state.step, state.seconds)
        self._unread: list[Step] = []  # steps whose loss may still be on the device
        self._saved_step = -1
        self._clock = time.perf_counter() - state.seconds
        self._window_start = state.seconds
        if state.own is not None:
            state.own.begin(plan.seed)

    def is_over(self) -> bool:
        """Whether the last step is done, patience has run out, or a stop was requested."""
        state = self.state
        return state.step >= self.total_steps or state.stopped_early or self.run.stop_requested()

    def catch_up(self) -> None:
        """Validate what a stop left out, or a head that was solved before the first step."""
        state, plan, run = self.state, self.plan, self.run
        if self.evaluate is None:
            return
        if state.step and is_due(state.step, plan.evaluate_every, self.total_steps):
            validate(state, plan, run, self.evaluate)
            if state.best_step == state.step:
                run.save(state)
        if state.evaluated_step < state.step == 0:
            validate(state, plan, run, self.evaluate)
            run.save(state)
            self._saved_step = 0

    def after_step(
        self, batch: Batch, attempt: Attempt, result: StepResult, lr: float, signals: Signals
    ) -> None:
        """Count the step that was just taken; log, validate and save if that is due."""
        state, plan, run = self.state, self.plan, self.run
        if run.ledger is not None:
            run.ledger.add(attempt.answers)
        state.seconds = time.perf_counter() - self._clock
        if plan.seconds and state.step % plan.log_every == 0:
            (seconds,) = self.world.highest([state.seconds])
            self.total_steps = plan.fit_steps(state.step, seconds)
        facts = (state.step, result.loss, result.applied, batch.rows, batch.step_total)
        self._unread.append(Step(*facts, result.overflowed))

        obey(state, plan, run, self.world.size)  # once in a while: what `loupe tell` says
        logs = is_due(state.step, plan.log_every, self.total_steps)
        validates = self.evaluate and is_due(state.step, plan.evaluate_every, self.total_steps)
        saves = is_due(state.step, plan.save_every, self.total_steps) or run.save_wanted()
        if result.applied is False or logs or validates or saves:
            count_steps(state, plan, run, self._unread)  # not each step: it may wait for the device
        if logs:  # once in a while: a line in events.jsonl
            self._log(result, lr, signals)
        if self.evaluate and validates:  # once in a while: the validation split
            validate(state, plan, run, self.evaluate)
            state.model.train()
            state.seconds = self._window_start = time.perf_counter() - self._clock
        if saves or state.best_step == state.step:  # once in a while: a checkpoint
            self._save()
            self._window_start = time.perf_counter() - self._clock

    def finish(self) -> None:
        """Save the last step, wait until it is on disk, and raise the stop that was requested."""
        if self._saved_step != self.state.step:
            count_steps(self.state, self.plan, self.run, self._unread)
            self._save()
        self.run.finish_saving()
        if self.run.ledger is not None:
            self.run.ledger.finish()
        if self.run.stop_requested():
            raise self.run.stop_error(self.state.step)

    def _save(self) -> None:
        require_finite(self.state)
        if self.run.ledger is not None:
            self.run.ledger.flush()
        for note in self.state.own.unsaved() if self.state.own else ():
            self.run.note(note)
        self.run.save(self.state)
        self._saved_step = self.state.step

    def _log(self, result: StepResult, lr: float, signals: Signals) -> None:
        """Record what happened since the last log line; start a new window."""
        state, window = self.state, self.state.window
        self.run.record(
            events.Step(
                step=state.step,
                epoch=state.step / self.plan.steps_per_epoch,
                seconds=state.seconds,
                train_loss=window.loss_sum / max(window.steps, 1),
                lr=lr,
                grad_norm=float(result.grad_norm),
                signals=signals.read() or None,
                weights=checksum_weights(state.model),
                images_per_second=window.images / max(state.seconds - self._window_start, 1e-9),
                total_steps=self.total_steps if self.plan.seconds else None,
            )
        )
        state.window = Window(bad_steps_in_row=window.bad_steps_in_row)
        self._window_start = state.seconds


def validate(state: State, plan: Plan, run: RunFolder, evaluate: Evaluate) -> None:
    """Evaluate, record the values, and keep track of the best; does nothing a second time."""
    if state.evaluated_step == state.step:
        return
    require_finite(state)
    values = evaluate(state.evaluated_model)
    if values is None:
        return
    state.evaluated_step = state.step
    value = values[plan.monitor]
    gains = plan.is_better(value, state.best_value)
    if gains or value == state.best_value:  # of equal ones the later was trained for longer
        state.best_value, state.best_step = value, state.step
    if gains:
        state.evaluations_without_gain = 0
    else:
        state.evaluations_without_gain += 1
        state.stopped_early = 0 < plan.patience <= state.evaluations_without_gain
    if state.schedule is not None:
        state.schedule.update(value)
    epoch, is_best = state.step / plan.steps_per_epoch, state.best_step == state.step
    run.record(events.Evaluation(state.step, epoch, state.seconds, values, is_best))
    if state.stopped_early:
        run.note(
            f"stopped early: {plan.monitor} has not improved on {state.best_value:.4f} for "
            f"{plural(plan.patience, 'evaluation')}; step {state.best_step:,} is the latest that "
            "had it"
        )


def count_steps(state: State, plan: Plan, run: RunFolder, unread: list[Step]) -> None:
    """Read the outcome of the steps in `unread`, and empty it.

    A step that was not applied is recorded; raises NumericError after `plan.bad_steps` in a row.
    """
    window = state.window
    for step in read_steps(unread):
        window.images += step.images
        if step.applied:
            window.loss_sum += float(step.loss)
            window.steps += 1
            window.bad_steps_in_row = 0
            continue
        if step.overflowed:
            run.record(events.Overflow(step.number, state.precision.scale))
            continue
        window.bad_steps_in_row += 1
        rows = [int(row) for row in step.rows[:8]]
        run.record(events.BadStep(step.number, str(step.loss), rows))
        if window.bad_steps_in_row >= plan.bad_steps:
            unread.clear()
            require_finite(state)
            run.save(state)
            run.finish_saving()
            raise NumericError(
                f"loss or gradient was not finite for {plan.bad_steps} steps in a row, up to step "
                f"{step.number:,} (loss {step.loss}, first sample rows {rows}); none of them was "
                "applied",
                "lower the learning rate (--set optimizer.lr=...), clip gradients "
                "(--set train.clip_norm=1), or look at those samples",
            )
    unread.clear()


def require_finite(state: State) -> None:
    """Refuse to validate or keep weights with a NaN or an infinity that training brought."""
    name = find_overflow(state.model, state.infinite)
    if name:
        raise NumericError(
            f"{name} is not finite after step {state.step:,}: an update overflowed",
            "lower the learning rate (--set optimizer.lr=...) or clip gradients "
            "(--set train.clip_norm=1); the last checkpoint is from before it",
        )
