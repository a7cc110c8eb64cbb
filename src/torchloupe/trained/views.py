"""Whether test-time views pay: measured on the val split of a run, by a paired test."""

import time
from dataclasses import asdict, dataclass
from typing import Any

from torchloupe.evaluation.calibration import brier_of_images, nll_of_images
from torchloupe.evaluation.paired_tests import (
    McNemar,
    ScoreDifference,
    apply_mcnemar,
    compare_scores,
)
from torchloupe.evaluation.power import LEVEL
from torchloupe.evaluation.resampling import Answers
from torchloupe.evaluation.scoring import Outputs
from torchloupe.evaluation.views import VIEWS, check_views
from torchloupe.trained.outputs import collect_outputs, open_run_data, require_val
from torchloupe.trained.run import Run


@dataclass(frozen=True)
class ViewsVerdict:
    """The scores of one view and of several on val, and whether several are better."""

    views: str
    forwards: int  # of each image
    images: int
    seconds: tuple[float, float]  # of one view, and of several
    mcnemar: McNemar
    scores: tuple[ScoreDifference, ...]  # several minus one

    @property
    def verdict(self) -> str:
        """pays, hurts, or none: no difference of accuracy that this val split can show."""
        if self.mcnemar.p_value > LEVEL:
            return "none"
        return "pays" if self.mcnemar.only_second > self.mcnemar.only_first else "hurts"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"verdict": self.verdict, **asdict(self)}


def weigh_views(run: Run, views: str, *, trust_code: bool = False) -> ViewsVerdict:
    """Evaluate `run` on its val split with one view and with `views`, and compare the answers.

    Val decides, so that the test split stays one that nothing was chosen on. McNemar's exact test
    says whether accuracy differs; the intervals are of the paired bootstrap.
    """
    check_views(views)
    run_data = open_run_data(run.folder, run.config, run.contract, trust_code=trust_code)
    require_val(run_data)
    outputs: list[Outputs] = []
    seconds: list[float] = []
    for kind in ("one", views):
        start = time.perf_counter()
        outputs.append(collect_outputs(run.model, run_data, "val", run.config, kind))
        seconds.append(time.perf_counter() - start)
    one, several = (answers_of(given, run.contract.temperature) for given in outputs)
    return ViewsVerdict(
        views,
        VIEWS[views],
        len(one.labels),
        (seconds[0], seconds[1]),
        apply_mcnemar(one.right, several.right),
        tuple(compare_scores(one, several)),
    )


def answers_of(outputs: Outputs, temperature: float) -> Answers:
    """The answers of a model as the bootstrap takes them, with NLL and Brier score."""
    p = outputs.probabilities(temperature)
    values = {
        "nll": nll_of_images(outputs.logits, outputs.labels, temperature),
        "brier": brier_of_images(p, outputs.labels),
    }
    return Answers(outputs.labels, outputs.predictions, p, p.shape[1], values)
