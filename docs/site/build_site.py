"""Build the site of these pages into build/site and check it: `python docs/site/build_site.py`.

It needs the extra `docs`. A warning of Sphinx is an error, and so is what check_site.py finds.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import check_site
import reference

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SITE = ROOT / "build" / "site"


def build_site() -> int:
    """Build all pages anew, so that no warning is missed; the exit code of Sphinx."""
    reference.write_pages()
    shutil.rmtree(SITE, ignore_errors=True)
    command = [sys.executable, "-m", "sphinx", "--builder", "html", "--conf-dir", HERE]
    command += ["--fresh-env", "--write-all", "--fail-on-warning", "--quiet"]
    command += ["--doctree-dir", ROOT / "build" / "doctrees", ROOT, SITE]
    return subprocess.run(command, check=False).returncode


def main() -> int:
    """Build, check, and say where the site is; 0 if nothing is wrong."""
    if build_site():
        return 1
    wrong = check_site.find_faults(SITE)
    print("\n".join(wrong) or f"{SITE.relative_to(ROOT)}/index.html", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
