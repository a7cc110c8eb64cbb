"""Run folders on disk: making a new one, finding an existing one."""

import difflib
from pathlib import Path

from torchloupe.errors import ResourceError, UsageError, printable

SET_ASIDE = "set-aside.csv"  # images that can't be read
FOLDS = "folds.json"  # marks the folder of a cross-validation, which holds a run for each fold
SWEEP = "sweep.json"  # marks the folder of a sweep, which holds a run for each trial


BEFORE_THE_FIRST_STEP = {"contract.json", "data.npz", "environment.json", SET_ASIDE}


def create_run(out: Path | None, name: str) -> Path:
    """Make a new, empty run folder: `out`, or the next free `runs/NAME-001`.

    Raises UsageError if `out` already holds something, so that no run is overwritten.
    """
    try:
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            if not _is_free(out):
                is_run = (out / "config.json").exists()
                raise UsageError(
                    f"--out {printable(out)} is not empty",
                    f"continue it with `loupe resume {printable(out)}`, or give another --out"
                    if is_run
                    else "give a new folder for --out",
                )
            return out
        parent = Path("runs")
        safe = safe_name(name, 40)
        parent.mkdir(exist_ok=True)
        for number in range(1, 1_000_000):
            path = parent / f"{safe or 'run'}-{number:03d}"
            try:
                path.mkdir()
            except FileExistsError:
                if not path.is_dir() or {entry.name for entry in path.iterdir()} != {SET_ASIDE}:
                    continue  # else no run: images that could not be read are listed in it
            return path
    except (FileExistsError, NotADirectoryError):
        raise UsageError(
            f"--out {printable(out or 'runs')} is a file, not a folder",
            "give a new folder for --out",
        ) from None
    except OSError as error:
        raise ResourceError(
            f"can't make the run folder {printable(out or 'runs')}: {error.strerror or error}",
            "give an --out that can be written",
        ) from error
    raise ResourceError("runs/ is full", "give --out")


def safe_name(text: str, limit: int = 80) -> str:
    """`text` as a file name for any system: letters, digits, `-`, `_` and `.`; may be empty."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in text).strip("-.")[:limit]


def _is_free(folder: Path) -> bool:
    """Whether a run may begin in `folder`: it is empty, or one was killed there before it began."""
    before = {f".{name}.writing" for name in (*BEFORE_THE_FIRST_STEP, "config.json")}
    return {entry.name for entry in folder.iterdir()} <= {".lock", *BEFORE_THE_FIRST_STEP, *before}


def find_run(path: Path) -> Path:
    """`path` if it is a run folder; UsageError says what is there instead."""
    if (path / FOLDS).is_file():
        raise UsageError(
            f"{printable(path)} is a cross-validation, which has a run for each fold",
            f"give one of them, such as {printable(path / 'fold-1')}",
        )
    if (path / SWEEP).is_file():
        raise UsageError(
            f"{printable(path)} is a sweep, which has a run for each trial",
            f"give one of them, such as {printable(path / 'trial-000')}",
        )
    if (path / "config.json").is_file():
        return path
    if not path.exists():
        raise UsageError(f"there is no run folder {printable(path)}", _suggest_run(path))
    if path.is_dir() and any(path.iterdir()) and _is_free(path):
        raise UsageError(
            f"the run in {printable(path)} was stopped before it began (it has no config.json)",
            f"start it again: loupe train DATA --out {printable(path)}",
        )
    raise UsageError(
        f"{printable(path)} is not a run folder (it has no config.json)",
        "give the folder that `loupe train` printed, such as runs/digits-001",
    )


def _suggest_run(path: Path) -> str:
    """Runs with a name like that of `path`, else the latest beside it."""
    beside = [found.parent for found in path.parent.glob("*/config.json")]
    if not beside:
        return "loupe train makes one"
    names = {run.name: run for run in beside}
    near = difflib.get_close_matches(path.name, sorted(names), n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(printable(names[name].as_posix()) for name in near)}?"
    latest = sorted(beside, key=lambda run: (run / "config.json").stat().st_mtime)[-3:]
    return f"the latest runs beside it: {', '.join(printable(run.as_posix()) for run in latest)}"
