"""`loupe serve`: predictions over HTTP, and a page for people."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from torchloupe.cli.options import (
    Device,
    RunFolder,
    RunModel,
    TrustCode,
    count,
    results_only,
    whole_number,
)
from torchloupe.errors import UsageError


def serve(
    context: typer.Context,
    run: RunFolder,
    host: Annotated[
        str, typer.Option("--host", metavar="H", help="127.0.0.1: this machine only.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="N", parser=whole_number, help="8000; 0 takes any.")
    ] = 8000,
    workers: Annotated[
        int, typer.Option("--workers", metavar="N", parser=count, help="Processes; 1 if left out.")
    ] = 1,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            metavar="T",
            help="What requests have to show; drawn if left out. Better in LOUPE_TOKEN. "
            "none: no token, on this machine only.",
        ),
    ] = None,
    write_deploy: Annotated[
        str | None,
        typer.Option(
            "--write-deploy", metavar="DIR", help="Write a Dockerfile and a systemd unit instead."
        ),
    ] = None,
    device: Device = None,
    model: RunModel = None,
    trust_code: TrustCode = False,
) -> None:
    """Serve predictions of a run or an exported folder over HTTP, with a page for images.

    The address that it prints has the token in it. docs/serving.md has requests and limits.

    loupe serve runs/photos-001

    loupe serve runs/photos-001 --host 0.0.0.0 --workers 2
    """
    missing = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing and write_deploy is None:
        raise UsageError(
            f"loupe serve needs {' and '.join(missing)}", "pip install 'torchloupe[serve]'"
        )
    with results_only() as line:
        if write_deploy is not None:
            from torchloupe.deploy.artefact.folder import is_export
            from torchloupe.deploy.serving.files import write_files
            from torchloupe.run.places import find_run

            place = Path(run) if is_export(run) else find_run(Path(run))
            written = write_files(place, Path(write_deploy))
        else:
            from torchloupe.deploy.serving.server import ServerOptions
            from torchloupe.deploy.serving.server import serve as start

            line.say(f"opening {run}")
            options = ServerOptions(
                run=run,
                host=host,
                port=port,
                workers=workers,
                token=token or os.environ.get("LOUPE_TOKEN", ""),
                device=device,
                model=model,
                trust_code=trust_code,
            )

            def say(text: str) -> None:
                line.clear()
                print(text, file=sys.stderr, flush=True)

            context.find_root().obj["is_serving"] = True
            start(options, say)
            return
    print("\n".join(map(str, written)))
