"""`python -m torchloupe`, the same as the command `loupe` (torchrun needs a module)."""

import sys

from torchloupe.cli.main import run

if __name__ == "__main__":
    sys.exit(run())
