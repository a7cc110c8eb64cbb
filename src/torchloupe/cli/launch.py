"""`loupe launch`: the script that starts a training on many machines."""

import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from torchloupe.cli.options import count
from torchloupe.errors import UsageError, did_you_mean, printable


def launch(
    context: typer.Context,
    where: Annotated[str, typer.Argument(metavar="WHERE", help="slurm, k8s or ssh.")],
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="TRAIN...", help="After --: a `loupe train` with its options, as train DATA."
        ),
    ],
    nodes: Annotated[
        int, typer.Option("--nodes", metavar="N", parser=count, help="How many hosts.")
    ] = 2,
    ranks: Annotated[
        int,
        typer.Option(
            "--ranks", metavar="N", parser=count, help="Processes on each host: one for each GPU."
        ),
    ] = 1,
    cpu: Annotated[bool, typer.Option("--cpu", help="Ask for no GPUs.")] = False,
    minutes: Annotated[
        int,
        typer.Option("--minutes", metavar="M", parser=count, help="The time limit of the job."),
    ] = 24 * 60,
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="The name of the job.")
    ] = "loupe",
    hosts: Annotated[
        str, typer.Option("--hosts", metavar="A,B", help="ssh: the hosts; the first one leads.")
    ] = "",
    image: Annotated[
        str, typer.Option("--image", metavar="NAME", help="k8s: an image with torchloupe in it.")
    ] = "",
    claim: Annotated[
        str,
        typer.Option(
            "--claim", metavar="NAME", help="k8s: the volume claim with data and runs: /shared."
        ),
    ] = "",
    to_stdout: Annotated[
        bool, typer.Option("--print", help="Print the script, and write no file.")
    ] = False,
) -> None:
    """Write the script that trains on many machines: for Slurm, Kubernetes or ssh.

    It starts nothing by itself. The options of the training are checked now, not in the queue.
    --resume is added: whatever is restarted goes on with the run.

    loupe launch slurm --nodes 2 --ranks 8 -- train photos/ --out runs/photos

    loupe launch ssh --hosts one,two --print -- train photos/ --out runs/photos

    loupe launch k8s --image me/loupe --claim data --print -- train photos/ --out runs/photos
    """
    from torchloupe.distributed.clusters import FILES, SUBMIT, WRITERS, Job, complete_words

    if where not in WRITERS:
        raise UsageError(
            f"{printable(where)} is no place to launch to", did_you_mean(where, WRITERS)
        )
    if not re.fullmatch("[a-z]([-a-z0-9]{0,38}[a-z0-9])?", name):
        raise UsageError(
            f"--name {printable(name)} is no name of a job",
            "small letters, digits and -, beginning with a letter",
        )
    complete = complete_words(words)
    check_command(context, complete)
    job = Job(
        words=complete,
        name=name,
        nodes=nodes,
        ranks=ranks,
        gpus=not cpu,
        minutes=minutes,
        hosts=tuple(host.strip() for host in hosts.split(",") if host.strip()),
        image=image,
        claim=claim,
    )
    text = WRITERS[where](job)
    if to_stdout:
        print(text, end="")
        return
    from torchloupe.cli.predict import write_whole

    file = Path(FILES[where].format(name=name))
    if file.exists():
        raise UsageError(f"{printable(file)} exists", "give another --name, or remove it")
    write_whole(file, text.encode())
    print(file)
    print(f"start it with: {SUBMIT[where].format(file=file)}", file=sys.stderr)


def check_command(context: typer.Context, words: tuple[str, ...]) -> None:
    """Refuse what `loupe train` would refuse when it reads its options and settings."""
    root: Any = context.find_root().command
    with root.commands["train"].make_context("loupe train", list(words[1:]), obj={}) as train:
        settings = train.params["settings"]
    from torchloupe.cli.train import collect_settings
    from torchloupe.config.schema import Config
    from torchloupe.config.text import change

    change(Config(), collect_settings({}, settings))
