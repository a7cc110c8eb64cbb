"""`loupe probe`: every way of computing a step, measured, and what limits the training."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from torchloupe.cli.options import Device, Json, Quiet, Set, Traceback
from torchloupe.cli.train import collect_settings, display


def probe(
    data: Annotated[str, typer.Argument(metavar="DATA", help="Anything that `loupe train` takes.")],
    model: Annotated[
        str | None, typer.Option("--model", metavar="M", help="As --model of `loupe train`.")
    ] = None,
    settings: Set = None,
    device: Device = None,
    quiet: Quiet = False,
    as_json: Json = False,
    traceback: Traceback = False,  # noqa: ARG001 - its callback tells the door
) -> None:
    """Measure how fast this model trains on these data, and why.

    Tries number formats, memory formats and threads on real steps; then the data alone, the
    model alone and both together, beside what this machine could do at best. Trains nothing and
    leaves no run folder.

    loupe probe digits

    loupe probe photos/ --model timm:resnet18

    loupe probe digits --set hardware.compile=true  # tries torch.compile too
    """
    typed = collect_settings(
        {"data.source": data, "model.name": model, "hardware.device": device}, settings
    )
    with display(quiet) as listeners:
        from torchloupe.prepare.objects import UserObjects
        from torchloupe.prepare.session import prepare_session
        from torchloupe.train.start import decide

        findings = _look(prepare_session(decide(typed, None), UserObjects(data), listeners))
    from torchloupe.cli.text import print_text, to_json

    if as_json:
        print(to_json({name: value for name, value in findings.items() if name != "text"}))
    else:
        print_text(findings["text"])


def _look(work: Any) -> dict[str, Any]:
    """All findings for JSON, and as `text`."""
    from rich.text import Text

    from torchloupe.cli.text import align
    from torchloupe.data.pack.decoding import thread_count
    from torchloupe.speed.bottleneck import (
        describe_rates,
        measure_rates,
        name_bottleneck,
        time_decoding,
    )
    from torchloupe.speed.choice import open_variants, repeat_batch
    from torchloupe.speed.trial import choose_variant
    from torchloupe.speed.trial import probe as try_ways

    config, run_data, device = work.config, work.run_data, work.place.device
    rows = run_data.some_rows(config.train.batch_total)
    batch = next(iter(run_data.scan_rows(rows, device)))
    trials = try_ways(
        work.state.model,
        work.plan.loss,
        lambda model: _make_optimizer(config, model),
        repeat_batch(batch, config.train.batch_total),
        open_variants(work.settings, device, everything=True),
        seconds=10.0,
    )
    best = choose_variant(trials)
    usual = max(trials[0].images_per_second, 1e-9)
    decode = (0.0, 0.0)
    if run_data.pixels is not None:
        decode = time_decoding(run_data.source.reader.read, rows[:64].tolist(), run_data.contract)

    def batches() -> Iterator[Any]:
        return iter(work.feed.batches())

    def step(now: Any) -> None:
        with work.precision.autocast():
            loss = work.plan.loss(work.state.model(now.images), now.labels)
        work.precision.backward(loss)
        work.precision.step(work.state.optimizer, loss.detach(), max_norm=work.plan.clip_norm)

    work.state.model.train()
    rates = measure_rates(batches, step, decode, seconds=1.5)
    where = run_data.pixels.where if run_data.pixels is not None else ""
    verdict = name_bottleneck(rates, where=where, cores=thread_count())

    cells = [["variant", "images/s", "loss differs by", "gradients by", ""]]
    for trial in sorted(trials, key=lambda trial: -trial.images_per_second):
        remark = trial.problem or ("" if trial.agrees else "not within the tolerance of fp32")
        rate = f"{trial.images_per_second:,.0f}" if trial.rates else "-"
        gaps = [f"{trial.loss_gap:.1e}", f"{trial.gradient_gap:.1e}"]
        cells.append(
            [str(trial.variant), rate, *(gaps if not trial.problem else ["-", "-"]), remark]
        )
        if trial is trials[0]:
            cells[-1][-1] = "training uses this"
        elif trial is best:
            cells[-1][-1] = f"{best.images_per_second / usual:.2f} times as fast"
    text = Text().append_text(align(cells, right=(1, 2, 3), header=True)).append("\n")
    text.append_text(align([list(row) for row in describe_rates(rates)])).append("\n")
    text.append("".join(f"{line}\n" for line in verdict))
    return {
        "variants": [
            {
                **vars(trial.variant),
                "images_per_second": trial.images_per_second,
                "loss_gap": trial.loss_gap,
                "gradient_gap": trial.gradient_gap,
                "agrees": trial.agrees,
                "problem": trial.problem,
                "usual": trial is trials[0],
                "best": trial is best,
            }
            for trial in trials
        ],
        "rates": {**vars(rates), "data_fraction": rates.data_fraction},
        "verdict": verdict,
        "text": text,
    }


def _make_optimizer(config: Any, model: Any) -> Any:
    from torchloupe.prepare.objects import UserObjects, build_optimizer

    return build_optimizer(config, UserObjects(), model)
