"""The whole of an ejected file: its head, its imports, and the template filled in."""

import re
from pathlib import Path

from torchloupe import __version__
from torchloupe.deploy.ejection.data import check_data, describe_data
from torchloupe.deploy.ejection.facts import Facts, read_facts
from torchloupe.deploy.ejection.model import describe_model
from torchloupe.deploy.ejection.pixels import check_pixels
from torchloupe.deploy.ejection.proof import Proof, prove
from torchloupe.deploy.ejection.stored import describe_stored, open_stored, write_stored
from torchloupe.deploy.ejection.text import (
    WIDTH,
    Part,
    assign,
    list_imports,
    read_template,
    render,
)
from torchloupe.deploy.ejection.training import describe_training
from torchloupe.errors import printable
from torchloupe.system.trust import trusted_name
from torchloupe.units import plural

_BODY = "# --- Settings"


def eject(
    folder: Path,
    *,
    model: str | None = None,
    trust_code: bool = False,
    images: Path | None = None,
    is_proved: bool = False,
) -> str:
    """The run as one file of plain PyTorch, which imports nothing of torchloupe.

    The data must be where they were: their names are compared with what the file finds. `model`
    is the code of the model, for a run with one of one's own. With `images`, a .npz, the decoded
    images and their split are written there, and the file reads that. With `is_proved` the file is
    trained, which takes as long as the run did, and its head says how its weights compare.

    Raises UsageError for runs that can't be written as such a file.
    """
    facts = read_facts(folder, trust_code=trust_code)
    name = model or trusted_name(facts.config.model.name, "model", facts.folder, trust_code)
    stored = None
    if images is not None:
        facts, data = open_stored(facts, trust_code=trust_code)
        stored = describe_stored(facts, images)
    part = _first_settings(facts)
    part.add(describe_data(facts, stored))
    part.add(describe_training(facts))
    part.add(describe_model(facts, name))
    if images is None:
        part.differs += check_data(facts, _data_code(part))
        part.differs += check_pixels(facts, _data_code(part))
    else:
        write_stored(facts, data, images)
    part.values["head"] = write_head(facts, part)
    page = _fill(part)
    if is_proved:
        own = Path(name.rpartition(":")[0])
        beside = own.absolute().parent if own.suffix == ".py" else None
        part.values["head"] = write_head(facts, part, prove(page, facts.folder, beside))
        page = _fill(part)
    return page


def _first_settings(facts: Facts) -> Part:
    part = Part()
    part.settings.append("TRAIN, VAL, TEST = 0, 1, 2")
    part.settings.append(assign("CLASSES", facts.contract.class_names))
    return part


def _fill(part: Part) -> str:
    """The page, with the imports that its code needs."""
    values = {"augment": "", **part.values, "imports": "IMPORTS", "settings": _order(part.settings)}
    page = render(read_template("train.txt"), part.flags, values)
    head, _, body = page.partition("\nIMPORTS\n")
    page = f"{head}\n{list_imports(body, part.imports)}\n{body}"
    page = re.sub(r"\n{4,}", "\n\n\n", page)
    return re.sub(r"\n{3,}(    |\)|\])", r"\n\n\1", page)


def _order(settings: list[str]) -> str:
    return "\n".join(settings)


def _data_code(part: Part) -> str:
    """The imports, settings and functions of the data part alone."""
    empty = dict.fromkeys(("head", "model", "loss", "optimizer", "rate"), "")
    plain = Part(part.flags, {**part.values, **empty}, part.settings)
    page = _fill(plain)
    start = page.index("# --- The data")
    settings = page[page.index(_BODY) : page.index("@dataclass")]
    data = page[start : page.index("# --- The model")]
    held = re.search(r"@dataclass\nclass Images:.*?(?=\n\n\n)", page, re.DOTALL)
    body = settings + (held[0] if held else "") + "\n\n\n" + data
    return f"{list_imports(body)}\n\n{body}"


def write_head(facts: Facts, part: Part, proof: Proof | None = None) -> str:
    """The docstring: what the file does, how to run it, and what is not as in the run."""
    config = facts.config
    title = f'"""Train {printable(config.model.name, 40)} on {printable(facts.data.name, 30)}'
    packages = " ".join(["torch", *sorted(part.packages - {"torch"})])
    version = facts.environment.get("versions", {}).get("torch", "")
    lines = [
        f"{title}, in plain PyTorch.",
        "",
        f"Written by `loupe eject` (torchloupe {__version__}) from the run "
        f"{printable(facts.folder.name, 60)}. It is yours now.",
        "",
        f"    pip install {packages}",
        "    python train.py             # writes last.pt and best.pt into this folder",
        "    python train.py --resume    # goes on from last.pt",
        "",
        *_where_to_start(part),
    ]
    threads = f", {plural(config.hardware.threads, 'thread')}" if config.hardware.threads else ""
    seen = f"on the same machine (torch {version or 'as it was'}{threads})"
    if part.differs:
        lines += ["The same images in the same order. Other than in the run:", ""]
        for text in part.differs:
            lines += _wrap(text[:1].upper() + text[1:] + ".", "- ", "  ")
    else:
        lines += _wrap(f"The same images in the same order, and the same steps {seen}.")
    if proof is not None:
        lines += ["", *_wrap(_describe_proof(proof))]
    elif not part.differs:
        lines += _wrap(
            "Nothing is known that would make its last weights others than those of the run; "
            "`loupe eject --prove` trains it and compares them."
        )
    for text in part.remarks:
        lines += ["", *_wrap(text)]
    return "\n".join(line.replace("\\", "\\\\").replace('"""', "'''") if n else line
                     for n, line in enumerate(lines)) + '\n"""'  # fmt: skip


def _where_to_start(part: Part) -> list[str]:
    """Lines on the folder to start in, where the file names its data by a relative path."""
    for text in part.settings:
        found = re.match(r"(?:DATA|TABLE) = Path\((['\"])(.+)\1\)", text)
        if found and not Path(found[2]).expanduser().is_absolute():
            shown = printable(found[2], 200)
            return [*_wrap(f"It looks for {shown} from the folder in which it is started."), ""]
    return []


def _describe_proof(proof: Proof) -> str:
    """How the weights of the trained file compare with those of the run."""
    if proof.is_equal:
        return (
            f"Proved when it was written: trained on that machine, all {proof.tensors:,} tensors "
            "of its last weights are those of the run, bit for bit."
        )
    return (
        f"Trained when it was written, {len(proof.different):,} of {proof.tensors:,} tensors of "
        f"its last weights differ from those of the run, by {proof.largest:.1e} at most and by "
        f"{proof.share:.1e} of their norm."
    )


def _wrap(text: str, first: str = "", rest: str = "") -> list[str]:
    lines, line = [], first
    for word in text.split():
        if len(line) + len(word) > WIDTH and line.strip():
            lines.append(line.rstrip())
            line = rest
        line += word + " "
    return [*lines, line.rstrip()]
