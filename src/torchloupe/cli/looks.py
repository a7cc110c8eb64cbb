"""What `loupe look` says, and where it writes when nobody said where."""

from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from torchloupe.cli.result import align
from torchloupe.errors import ResourceError, printable
from torchloupe.report.look import Look
from torchloupe.report.progress import format_share

_MOST_CLASSES = 5


def place_of(look: Look, run: Path) -> Path:
    """RUN/looks/NAME, the name that of the image in letters that any file system takes."""
    folder = run / "looks"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ResourceError(
            f"can't make {printable(folder)}: {error.strerror or error}",
            "say with --out where to write",
        ) from None
    name = Path(look.image_name).stem
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip("-.")[:80]
    return folder / (safe or "image")


def describe_look(look: Look, files: Sequence[Path]) -> Text:
    """The likeliest classes, the layer that heat is of, and where the files are."""
    rows = [
        [printable(name, 60), format_share(share)] for name, share in look.ranking[:_MOST_CLASSES]
    ]
    text = align(rows, right=(1,))
    text.append(f"Grad-CAM of layer {printable(look.heat_layer)}\n\n")
    for path in files:
        text.append(f"{printable(path, limit=4000)}\n")
    return text
