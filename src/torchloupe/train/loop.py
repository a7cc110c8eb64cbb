"""The training loop: what runs, on one page.

`state` is everything that must survive a crash, `plan` a frozen value already in steps, `run`
the only thing with side effects. In fp32, with augmentation off, the weights after n steps are
bit-equal to those of a bare torch loop over the same batches (tests/laws/test_bare_loop.py).
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from torchloupe.data.feeds.feed import Feed, until
from torchloupe.distributed.parallel import Parallel
from torchloupe.errors import NumericError
from torchloupe.hardware.precision import Buffers, Precision
from torchloupe.lens.signals import Signals
from torchloupe.prepare.plan import Plan
from torchloupe.run.folder import RunFolder
from torchloupe.run.state import State, Step, Window, read_steps
from torchloupe.run.weights import checksum_weights, find_overflow
from torchloupe.train.gradients import collect_gradients
from torchloupe.units import is_due

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
    """Advance `state` to `plan.total_steps` and leave every fact in `run`. Every rank calls this.

    With a budget of time the last step is moved to where the pace so far will end with it.
    Ends early when `plan.patience` runs out or a signal asks for it; a checkpoint of the last
    finished step is written either way. `evaluate(model)` gives named numbers, or None when it
    was cut short by a stop. Raises NumericError after `plan.bad_steps` bad steps in a row.
    """
    model, optimizer = state.model, state.optimizer
    parallel = parallel or Parallel(model)
    clock = time.perf_counter() - state.seconds
    window_start, saved_step = state.seconds, -1
    total_steps = plan.fit_steps(state.step, state.seconds)
    signals = Signals(model, optimizer)
    with run.stopping_on_signals():
        if evaluate and is_due(state.step, plan.evaluate_every, total_steps) and state.step:
            validate(state, plan, run, evaluate)  # a stop came between a step and its evaluation
            if state.best_step == state.step:
                run.save(state)
        if evaluate and state.evaluated_step < state.step == 0:
            validate(state, plan, run, evaluate)  # a head that was solved before the first step
            run.save(state)
            saved_step = 0
        buffers, unread = Buffers(model), list[Step]()

        def is_over() -> bool:
            return state.step >= total_steps or state.stopped_early or run.stop_requested()

        model.train()
        for batch in until(is_over, feed.batches(state.step)):
            lr = plan.set_lr(optimizer, state.step, total_steps)
            buffers.remember()
            with signals.looking(is_due(state.step + 1, plan.signals_every, total_steps)):
                loss_sum = collect_gradients(state, batch, plan, precision, parallel, run, buffers)
                result = precision.step(optimizer, loss_sum, max_norm=plan.clip_norm)
            buffers.settle(result.applied)
            if result.applied is not False:
                state.update_average()
            state.step += 1
            state.seconds = time.perf_counter() - clock

            if plan.seconds and state.step % plan.log_every == 0:
                (seconds,) = parallel.world.highest([state.seconds])
                total_steps = plan.fit_steps(state.step, seconds)
            facts = (state.step, result.loss, result.applied, batch.rows, batch.step_total)
            unread.append(Step(*facts, result.overflowed))
            logs = is_due(state.step, plan.log_every, total_steps)
            judges = evaluate and is_due(state.step, plan.evaluate_every, total_steps)
            saves = is_due(state.step, plan.save_every, total_steps) or run.save_wanted()
            if result.applied is False or logs or judges or saves:
                count_steps(state, plan, run, unread)  # not each step: it may wait for the device
            if logs:
                seen = {"lr": lr, "grad_norm": float(result.grad_norm), "signals": signals.read()}
                log_window(state, plan, run, total_steps, seen, window_start)
                window_start = state.seconds
            if evaluate and judges:
                validate(state, plan, run, evaluate)
                model.train()
                state.seconds = window_start = time.perf_counter() - clock
            if saves or state.best_step == state.step:
                require_finite(state)
                run.save(state)
                saved_step = state.step
                window_start = time.perf_counter() - clock
        if saved_step != state.step:
            count_steps(state, plan, run, unread)
            require_finite(state)
            run.save(state)
        run.finish_saving()
        if run.stop_requested():
            raise run.stop_error(state.step)


def log_window(
    state: State,
    plan: Plan,
    run: RunFolder,
    total_steps: int,
    seen: Mapping[str, Any],
    since: float,
) -> None:
    """Record what happened since the last log line, and what was `seen`; start a new window."""
    window = state.window
    run.record(
        {
            "step": state.step,
            "epoch": state.step / plan.steps_per_epoch,
            "seconds": state.seconds,
            "train_loss": window.loss_sum / max(window.steps, 1),
            **{name: value for name, value in seen.items() if value != {}},
            "weights": checksum_weights(state.model),
            "images_per_second": window.images / max(state.seconds - since, 1e-9),
            **({"total_steps": total_steps} if plan.seconds else {}),
        }
    )
    state.window = Window(bad_steps_in_row=window.bad_steps_in_row)


def validate(state: State, plan: Plan, run: RunFolder, evaluate: Evaluate) -> None:
    """Evaluate, record the numbers, and keep track of the best; does nothing a second time."""
    if state.evaluated_step == state.step:
        return
    require_finite(state)
    values = evaluate(state.evaluated_model)
    if values is None:
        return
    state.evaluated_step = state.step
    value = values[plan.monitor]
    gains = plan.is_better(value, state.best_value)
    if gains or value == state.best_value:  # of equals the later one has been trained for longer
        state.best_value, state.best_step = value, state.step
    if gains:
        state.evaluations_without_gain = 0
    else:
        state.evaluations_without_gain += 1
        state.stopped_early = 0 < plan.patience <= state.evaluations_without_gain
    if state.schedule is not None:
        state.schedule.update(value)
    run.record(
        {
            "step": state.step,
            "epoch": state.step / plan.steps_per_epoch,
            "seconds": state.seconds,
            **values,
            "best": state.best_step == state.step,
        }
    )
    if state.stopped_early:
        run.note(
            f"stopped early: {plan.monitor} has not gained for {plan.patience} evaluations; "
            f"the best, {state.best_value:.4f}, was at step {state.best_step:,}"
        )


def count_steps(state: State, plan: Plan, run: RunFolder, unread: list[Step]) -> None:
    """Read what became of the steps in `unread`, and empty it.

    A step that was not applied is recorded; after `plan.bad_steps` in a row NumericError.
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
            run.record({"step": step.number, "overflow": True, "scale": state.precision.scale})
            continue
        window.bad_steps_in_row += 1
        rows = [int(row) for row in step.rows[:8]]
        run.record({"step": step.number, "bad_step": True, "loss": str(step.loss), "rows": rows})
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
