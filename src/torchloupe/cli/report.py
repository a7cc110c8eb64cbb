"""`loupe report`: the page of a run, written again or followed while it trains."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from torchloupe.cli.options import (
    Device,
    RunFolder,
    RunModel,
    TrustCode,
    results_only,
    whole_number,
)
from torchloupe.errors import ResourceError, UsageError, printable
from torchloupe.run.places import FOLDS, SWEEP


def report(
    run: RunFolder,
    open_page: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser of this machine.")
    ] = False,
    live: Annotated[
        bool,
        typer.Option("--live", help="Follow a run while it trains, on a port of this machine."),
    ] = False,
    port: Annotated[
        int,
        typer.Option(
            "--port", metavar="P", parser=whole_number, help="The port for --live; 0: any free one."
        ),
    ] = 0,
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="FILE", help="The page; RUN/report.html if left out."),
    ] = None,
    device: Device = None,
    model: RunModel = None,
    trust_code: TrustCode = False,
) -> None:
    """Write a run's page: results, data, mistakes with heat maps, a map, what to do next.

    Every training writes it at its end. With --live the page follows a training that goes on.

    loupe report runs/photos-001 --open

    loupe report runs/photos-001 --live
    """
    if live:
        follow(Path(run), port, open_page=open_page)
        return
    with results_only() as line:
        from torchloupe.studies.folds_page import write_folds_page
        from torchloupe.studies.sweep.results import report_sweep
        from torchloupe.trained.run import open_run

        if (Path(run) / FOLDS).is_file():
            page = write_folds_page(Path(run), None if out is None else Path(out))
        elif (Path(run) / SWEEP).is_file():
            page = report_sweep(Path(run), None if out is None else Path(out))
        else:
            line.say(f"opening {run}")
            opened = open_run(run, model=model, trust_code=trust_code, device=device or "auto")
            line.say(f"writing the report of {run}")
            page = opened.report(out, trust_code=trust_code)
    print(printable(page, limit=4000))
    if open_page:
        show(page.resolve().as_uri())


def follow(run: Path, port: int, *, open_page: bool) -> None:
    """Serve the page of a run until the run has ended, or until Ctrl-C."""
    with results_only():
        from torchloupe.run.places import find_run
        from torchloupe.trained.live import HOST, LivePage, open_server, serve_until_end

        live = LivePage(find_run(run))
        if live.has_ended:
            raise UsageError(
                f"no process trains {printable(run)} now", f"loupe report {printable(run)}"
            )
        try:
            server = open_server(live, port)
        except (OSError, OverflowError) as error:
            raise ResourceError(
                f"can't listen on port {port} of {HOST}: {error}", "leave --port out"
            ) from None
        address = f"http://{HOST}:{server.server_address[1]}/"
        print(f"the page of {printable(run)}: {address} (Ctrl-C ends it)", file=sys.stderr)
        if open_page:
            show(address)
        try:
            serve_until_end(server, live)
        except KeyboardInterrupt:
            return
        ending = "is finished" if live.is_complete else "has ended before its time"
        print(f"the run {ending}", file=sys.stderr)


def show(address: str) -> None:
    """Open an address in the browser; a note where there is none."""
    import webbrowser

    if not webbrowser.open(address):
        print(f"note: no browser could be opened for {address}", file=sys.stderr)
