"""`loupe probe`: the variants of a training step, measured, and what limits the training."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchloupe.cli.options import Device, Json, Quiet, Set, TrustCode, results_only
from torchloupe.cli.train import collect_settings, display
from torchloupe.errors import ResourceError, UsageError

if TYPE_CHECKING:
    from rich.text import Text

    from torchloupe.prepare.session import Session
    from torchloupe.speed.bottleneck import Rates
    from torchloupe.speed.trial import Trial

_TRIAL_SECONDS = 10.0  # for all variants together
_RATE_SECONDS = 1.5
_DECODED_IMAGES = 64


def probe(
    data: Annotated[
        str | None, typer.Argument(metavar="[DATA]", help="Anything that `loupe train` takes.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="M", help="As --model of `loupe train`.")
    ] = None,
    settings: Set = None,
    export: Annotated[
        bool,
        typer.Option(
            "--export", help="DATA is a run: compare PyTorch, ONNX Runtime and OpenVINO on it."
        ),
    ] = False,
    refresh: Annotated[
        bool,
        typer.Option(
            "--refresh", help="Measure this machine's profile anew, which decides defaults."
        ),
    ] = False,
    device: Device = None,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure how fast this model trains on these data, and why.

    Measures number formats, memory formats and threads on real steps; then the data alone, the
    model alone and both together, compared with the peak rates of this machine. Trains nothing
    and makes no run folder.

    loupe probe digits

    loupe probe photos/ --model timm:resnet18

    loupe probe digits --set hardware.compile=true  # tries torch.compile too

    loupe probe runs/photos-001 --export  # which library is fastest on this CPU

    loupe probe --refresh  # this machine's profile, as loupe info shows it
    """
    facts = renew_profile(quiet=quiet) if refresh else None
    if data is None:
        print_profile(facts, as_json=as_json)
        return
    if export:
        if settings or device:
            raise UsageError(
                "--export measures a trained run on the CPU", "leave --set and --device out"
            )
        probe_export(data, model=model, trust_code=trust_code, quiet=quiet, as_json=as_json)
        return
    typed = collect_settings(
        {"data.source": data, "model.name": model, "hardware.device": device}, settings
    )
    with results_only(quiet=quiet) as line:
        from torchloupe.prepare.objects import UserObjects
        from torchloupe.prepare.session import prepare_session
        from torchloupe.train.start import decide

        line.say(f"reading {data}")
        with display(quiet) as listeners:
            session = prepare_session(decide(typed, None), UserObjects(data), listeners)
        line.say("measuring steps")
        found = measure(session)
    from torchloupe.cli.text import print_text, to_json

    if as_json:
        print(to_json(to_object(found)))
    else:
        print_text(describe(found))


def renew_profile(*, quiet: bool) -> dict[str, Any]:
    """Measure the profile of this machine, keep it, and return its facts."""
    with results_only(quiet=quiet) as line:
        line.say("measuring this machine")
        from torchloupe.speed.machine import known_profile

        profile = known_profile(refresh=True)
        if profile is None:
            raise ResourceError(
                "the profile can't be kept in the cache folder",
                "`loupe info` says which folder that is",
            )
        facts: dict[str, Any] = profile.to_facts()
    return facts


def print_profile(facts: dict[str, Any] | None, *, as_json: bool) -> None:
    """Print the profile that was just measured; UsageError if none was."""
    if facts is None:
        raise UsageError("probe needs data", "loupe probe digits, or loupe probe --refresh")
    from torchloupe.cli.machine import describe_profile
    from torchloupe.cli.text import to_json

    print(to_json(facts) if as_json else describe_profile(facts))


def probe_export(
    run: str, *, model: str | None, trust_code: bool, quiet: bool, as_json: bool
) -> None:
    """Print how fast the network of a run computes in each library, and name the fastest."""
    from dataclasses import asdict

    from rich.text import Text

    from torchloupe.cli.text import align, print_text, to_json

    with results_only(quiet=quiet) as line:
        from torchloupe.deploy.artefact.pace import BATCHES, fastest, measure_paces
        from torchloupe.trained.run import open_run

        line.say(f"opening {run}")
        opened = open_run(run, model=model, trust_code=trust_code, device="cpu")
        line.say("measuring PyTorch, ONNX Runtime and OpenVINO")
        paces = measure_paces(opened)
    best = {batch: fastest(paces, batch) for batch in BATCHES}
    if as_json:
        names = {str(batch): pace.library for batch, pace in best.items()}
        print(to_json({"paces": [asdict(pace) for pace in paces], "fastest": names}))
        return
    rows = [["library", "batch", "images/s", "range", "differs by"]]
    for pace in paces:
        spread = f"{pace.slowest:,.0f} to {pace.fastest:,.0f}"
        gap = f"{pace.difference:.1e}" + ("" if pace.agrees else ", too much")
        rows.append([pace.library, str(pace.batch), f"{pace.images_per_second:,.0f}", spread, gap])
    text = Text().append_text(align(rows, right=(1, 2, 3, 4), header=True))
    for batch, pace in best.items():
        text.append(f"fastest at a batch of {batch}: {pace.library}\n")
    print_text(text)


@dataclass(frozen=True)
class Findings:
    """What was measured: `trials` of each variant, the first of them the one in use."""

    trials: Sequence["Trial"]
    best: "Trial"
    rates: "Rates"
    verdict: Sequence[str]  # what limits the training, and what would make it faster


def measure(session: "Session") -> Findings:
    """Time the variants of a step, then data, model and both; the weights are not used again."""
    from torchloupe.data.pack.decoding import thread_count
    from torchloupe.speed.bottleneck import name_bottleneck
    from torchloupe.speed.trial import choose_variant

    trials = _try_variants(session)
    rates = _measure_rates(session)
    pixels = session.run_data.pixels
    where = pixels.where if pixels is not None else ""
    verdict = name_bottleneck(rates, where=where, cores=thread_count())
    return Findings(trials, choose_variant(trials), rates, verdict)


def _try_variants(session: "Session") -> "Sequence[Trial]":
    from torchloupe.prepare.objects import UserObjects, build_optimizer
    from torchloupe.speed.choice import open_variants, repeat_batch
    from torchloupe.speed.trial import probe as try_variants

    config, run_data, device = session.config, session.run_data, session.place.device
    rows = run_data.some_rows(config.train.batch_total)
    batch = next(iter(run_data.scan_rows(rows, device)))
    return try_variants(
        session.state.model,
        session.plan.loss,
        lambda model: build_optimizer(config, UserObjects(), model),
        repeat_batch(batch, config.train.batch_total),
        open_variants(session.settings, device, everything=True),
        seconds=_TRIAL_SECONDS,
    )


def _measure_rates(session: "Session") -> "Rates":
    from torchloupe.hardware.step import take_step
    from torchloupe.speed.bottleneck import measure_rates, time_decoding

    run_data, state = session.run_data, session.state
    decode = (0.0, 0.0)
    if run_data.pixels is not None:
        rows = run_data.some_rows(session.config.train.batch_total)[:_DECODED_IMAGES].tolist()
        decode = time_decoding(run_data.source.reader.read, rows, run_data.contract)

    def batches() -> Iterator[Any]:
        return iter(session.feed.batches())

    def step(batch: Any) -> None:
        take_step(
            state.model,
            batch.images,
            batch.labels,
            session.plan.loss,
            session.precision,
            state.optimizer,
            max_norm=session.plan.clip_norm,
        )

    state.model.train()
    return measure_rates(batches, step, decode, seconds=_RATE_SECONDS)


def describe(found: Findings) -> "Text":
    """The findings as tables and the verdict."""
    from rich.text import Text

    from torchloupe.cli.text import align
    from torchloupe.speed.bottleneck import describe_rates

    cells = [["variant", "images/s", "loss differs by", "gradients by", ""]]
    for trial in sorted(found.trials, key=lambda trial: -trial.images_per_second):
        rate = f"{trial.images_per_second:,.0f}" if trial.rates else "-"
        gaps = [f"{trial.loss_gap:.1e}", f"{trial.gradient_gap:.1e}"]
        gaps = ["-", "-"] if trial.problem else gaps
        cells.append([str(trial.variant), rate, *gaps, _remark(trial, found)])
    text = Text().append_text(align(cells, right=(1, 2, 3), header=True)).append("\n")
    text.append_text(align([list(row) for row in describe_rates(found.rates)])).append("\n")
    return text.append("".join(f"{line}\n" for line in found.verdict))


def _remark(trial: "Trial", found: Findings) -> str:
    usual = found.trials[0]
    if trial is usual:
        return "training uses this"
    if trial is found.best:
        gain = trial.images_per_second / max(usual.images_per_second, 1e-9)
        return f"{gain:.2f} times as fast"
    return trial.problem or ("" if trial.agrees else "not within the tolerance of fp32")


def to_object(found: Findings) -> dict[str, Any]:
    """The findings for JSON."""
    return {
        "variants": [
            {
                **vars(trial.variant),
                "images_per_second": trial.images_per_second,
                "loss_gap": trial.loss_gap,
                "gradient_gap": trial.gradient_gap,
                "agrees": trial.agrees,
                "problem": trial.problem,
                "usual": trial is found.trials[0],
                "best": trial is found.best,
            }
            for trial in found.trials
        ],
        "rates": {**vars(found.rates), "data_fraction": found.rates.data_fraction},
        "verdict": found.verdict,
    }
