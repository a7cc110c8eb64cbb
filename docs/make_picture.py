"""Draw docs/train-digits.svg from a real run: `python docs/make_picture.py`."""

import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).with_name("train-digits.svg")
REMOTE_FONT = re.compile(r"\n *@font-face \{.*?\}", re.DOTALL)  # a picture asks no other host


def main() -> None:
    """Run the command in an empty folder and draw what it printed, messages first."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "torchloupe", "train", "digits"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(Text("$ loupe train digits", style="bold"))
    console.print(Text(done.stderr.rstrip(), style="dim"))
    console.print(Text(done.stdout.rstrip()))
    picture = console.export_svg(title="loupe train digits")
    PICTURE.write_text(REMOTE_FONT.sub("", picture), encoding="utf-8")


if __name__ == "__main__":
    main()
