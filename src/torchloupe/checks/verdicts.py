"""What becomes of verdicts: some are ignored, some end a run before it begins."""

from collections.abc import Iterable, Sequence

from torchloupe.config.schema import CheckConfig
from torchloupe.errors import VerdictError, printable
from torchloupe.run.events import Verdict

ORDER = ("error", "warning", "note")


def sift(found: Iterable[Verdict], config: CheckConfig) -> list[Verdict]:
    """The verdicts to tell: without ignored and repeated ones, errors first.

    None at all where check.level is off.
    """
    if config.level == "off":
        return []
    kept = {(v.verdict, v.where): v for v in found if v.verdict not in config.ignore}
    return sorted(kept.values(), key=lambda verdict: ORDER.index(verdict.level))


def refuse_errors(verdicts: Sequence[Verdict], config: CheckConfig) -> None:
    """VerdictError (exit 7) where check.level is strict and a verdict is an error."""
    errors = [verdict for verdict in verdicts if verdict.level == "error"]
    if config.level != "strict" or not errors:
        return
    told = "; ".join(f"{error.verdict}: {printable(error.seen, 500)}" for error in errors)
    raise VerdictError(
        told,
        f"{printable(errors[0].remedy, 500)} (check.level=strict ends the run; "
        f"--set check.ignore={errors[0].verdict} passes over it)",
    )
