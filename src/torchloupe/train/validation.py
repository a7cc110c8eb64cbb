"""The validation split, evaluated between two steps."""

from torch import nn

from torchloupe.evaluation.scoring import evaluate
from torchloupe.hardware.memory import release_cached
from torchloupe.hardware.peaks import Peaks
from torchloupe.prepare.session import Session
from torchloupe.run.folder import RunFolder
from torchloupe.system.seeding import rng_preserved
from torchloupe.train.loop import Evaluate


def make_validation(session: Session, run: RunFolder, peaks: Peaks) -> Evaluate | None:
    """What evaluates a model on the validation split, as `val_loss`, `val_accuracy` and so on.

    None if there is no such split. The function returns None if a stop was requested
    meanwhile; every rank must call it.
    """
    run_data, parallel, device = session.run_data, session.parallel, session.place.device
    if not run_data.has("val"):
        return None
    scan = run_data.scan("val", device)

    def validate(model: nn.Module) -> dict[str, float] | None:
        release_cached(device)
        with (
            rng_preserved(),  # what a model draws here must not change the steps that follow
            peaks.phase("evaluate"),
            parallel.for_inference(model) as module,
        ):
            values = evaluate(
                module,
                scan,
                loss=session.plan.loss,
                precision=session.precision,
                multi_label=run_data.contract.multi_label,
                stop=lambda: run.requests.received_signal != 0,
                world=parallel.world,
            )
        if values is None:  # all ranks know that it was cut short, but not yet why
            run.requests.agree_on(parallel.world.highest(run.requests.pending()))
        return values and {f"val_{name}": value for name, value in values.items()}

    return validate
