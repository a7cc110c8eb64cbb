"""`loupe export`: a run as an artefact that is proved equal to it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchloupe.cli.options import Json, Quiet, RunFolder, RunModel, TrustCode, count, results_only

if TYPE_CHECKING:
    from pathlib import Path

    from rich.text import Text


def points(text: str | float) -> float:
    """A number of percentage points, 0 or more, from the command line."""
    try:
        found = float(text)
    except ValueError:
        raise typer.BadParameter(f"{str(text)[:40]!r} is not a number") from None
    if not 0 <= found <= 100:
        raise typer.BadParameter(f"it is {found:g} and should be 0 to 100")
    return found


def export(
    run: RunFolder,
    to: Annotated[
        str, typer.Option("--to", metavar="KIND", help="onnx, pt2, openvino or safetensors.")
    ] = "onnx",
    precision: Annotated[
        str, typer.Option("--precision", metavar="F", help="fp32, fp16 or int8.")
    ] = "fp32",
    input_: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="I",
            help="any: images of any size, resized in the graph; fixed: of the model's size. Any "
            "where the graph can resize to the last bit, if left out.",
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="RUN/export if left out.")
    ] = None,
    max_drop: Annotated[
        float,
        typer.Option(
            "--max-drop",
            metavar="P",
            parser=points,
            help="Percentage points of validation accuracy that fp16 or int8 may cost.",
        ),
    ] = 0.5,
    files: Annotated[
        int,
        typer.Option(
            "--files", metavar="N", parser=count, help="Validation images to compare, at most."
        ),
    ] = 1000,
    model: RunModel = None,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Export a run, and prove that the artefact says what the run says.

    Images go from file bytes through the run and through the artefact in a process without
    torchloupe and PyTorch. Where they differ nothing is written, and the exit code is 4.

    loupe export runs/photos-001  # RUN/export: model.onnx, predict.py and a model card

    loupe export runs/photos-001 --precision int8 --max-drop 1

    loupe export runs/photos-001 --to openvino --out served/
    """
    from torchloupe.cli.text import print_text, to_json

    with results_only(quiet=quiet) as line:
        from torchloupe.deploy.artefact.exporting import export_run
        from torchloupe.deploy.artefact.folder import FACTS
        from torchloupe.run.json_files import read_json
        from torchloupe.trained.run import open_run

        line.say(f"opening {run}")
        opened = open_run(run, model=model, trust_code=trust_code, device="cpu")
        line.say("exporting, and comparing with the run")
        folder = export_run(
            opened,
            to=to,
            precision=precision,
            input=input_,
            out=out,
            max_drop=max_drop,
            files=files,
            trust_code=trust_code,
        )
        facts = read_json(folder / FACTS)
    if as_json:
        print(to_json({"folder": str(folder), **facts}))
    else:
        print_text(describe(folder, facts))


def describe(folder: "Path", facts: Mapping[str, Any]) -> "Text":
    """The summary of an export: what was compared, what it cost, and what lies in the folder."""
    from rich.text import Text

    from torchloupe.cli.text import align, quote
    from torchloupe.errors import printable
    from torchloupe.units import format_bytes, plural

    rows = [["exported", f"{facts['to']}, {facts['precision']}, {_input_of(facts)}"]]
    if "opset" in facts:
        rows.append(["", f"opset {facts['opset']}, IR version {facts['ir_version']}"])
    rows += [[name, words] for name, words in _proof(facts)]
    rows += [["note", printable(note, limit=1000)] for note in facts.get("notes") or ()]
    sizes = [f"{p.name} ({format_bytes(p.stat().st_size)})" for p in sorted(folder.iterdir())]
    rows.append(["folder", printable(folder, limit=4000)])
    rows.append(["", f"{plural(len(sizes), 'file')}: {', '.join(sizes)}"])
    text = Text().append_text(align(rows))
    if facts["to"] != "safetensors":
        text.append("\nnext:\n", "bold")
        text.append(f"  python {quote(folder / 'predict.py')} IMAGES...\n")
        text.append(f"  loupe predict {quote(folder)} IMAGES...\n")
    return text


def _input_of(facts: Mapping[str, Any]) -> str:
    height, width = facts["size"]
    return "images of any size" if facts["input"] == "any" else f"images of {height} x {width}"


def _proof(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    parity, price = facts.get("parity"), facts.get("price")
    if parity is None:
        return [("weights", f"{facts['tensors']:,} tensors, those of the checkpoint")]
    compared = f"{parity['compared']:,} images ({parity['files']:,} of the run's data)"
    lines = [
        ("same class", f"{100 * parity['agreement']:.2f} % of {compared}"),
        ("largest difference", f"{parity['largest_difference']:.1e} of a probability"),
    ]
    if parity["largest_in_graph"] is not None:
        lines.append(("", f"{parity['largest_in_graph']:.1e} with the resize in the graph"))
    if price is not None:
        lines.append(
            (
                f"{price['split']} accuracy",
                f"{100 * price['accuracy_after']:.2f} %, in fp32 "
                f"{100 * price['accuracy_before']:.2f} % ({price['images']:,} images, McNemar p = "
                f"{price['p_value']:.2g})",
            )
        )
    return lines
