"""Draw docs/report.png, the top of a real report: `python docs/make_report.py [RUN]`.

Without RUN, a run over the digits is trained. Needs Chromium.
"""

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

PICTURE = Path(__file__).with_name("report.png")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")


def main() -> None:
    """Train, open the page and keep its top."""
    chromium = shutil.which("chromium") or "chromium-browser"
    with tempfile.TemporaryDirectory() as folder:
        run = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder) / "digits"
        loupe = [sys.executable, "-m", "torchloupe"]
        if len(sys.argv) < 2:
            subprocess.run([*loupe, "train", "digits", "--out", str(run)], check=True)
        page, shot = (Path(folder) / name for name in ("page.html", "shot.png"))
        subprocess.run([*loupe, "report", str(run), "--out", str(page)], check=True)
        words = [f"--screenshot={shot}", "--window-size=1280,2500", page.as_uri()]
        subprocess.run([chromium, *FLAGS, *words], check=True, capture_output=True)
        picture = Image.open(io.BytesIO(shot.read_bytes())).convert("RGB")
    picture = picture.resize((picture.width * 3 // 4, picture.height * 3 // 4))
    picture.quantize(128).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
