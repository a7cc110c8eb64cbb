"""What lies among data and is never data: files of systems, and folders that programs wrote.

Known by name are the traces of operating systems, storage devices, notebooks and trackers; known by
what they hold are environments of Python, logs of trainings and the folders of torchloupe itself.
"""

import os
from itertools import islice

_NAMES = frozenset(
    (
        # Windows
        *("$recycle.bin", "recycler", "recycled", "system volume information", "thumbs.db"),
        *("ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "found.000", "$windows.~bt"),
        # macOS, and archives made there
        *(
            "__macosx",
            "icon\r",
            "network trash folder",
            "temporary items",
            "thevolumesettingsfolder",
        ),
        # Linux and storage devices
        *("lost+found", "@eadir", "@eastream", "@tmp", "@recycle", "#recycle", "#snapshot"),
        *("@recently-snapshot", "@sharebin", "@synologyphoto"),
        # notebooks, interpreters and trackers
        *("__pycache__", "node_modules", "mlruns", "wandb", "lightning_logs"),
        *("site-packages", "dist-packages", "bower_components", "readme_files", "index_files"),
    )
)

_ENVIRONMENTS = ("venv", "env", "virtualenv")
_LOGS = ("runs", "logs", "log", "tb_logs", "tensorboard")
_LOG_FILES = ("events.out.tfevents", "args.yaml", "results.csv", "hparams.yaml")
_LOOKED_AT = 2000  # files of logs
PAGES = (".html", ".htm", ".md", ".ipynb", ".rmd", ".qmd")  # X.html has its pictures in X_files


def is_system_name(name: str) -> bool:
    """Whether a file or folder of this name is hidden or a system's own, and never data."""
    return name.startswith(".") or name.lower() in _NAMES


def is_program_folder(folder: str) -> bool:
    """Whether a folder is an environment of Python or conda, or holds the logs of trainings."""

    def has(name: str) -> bool:
        return os.path.exists(os.path.join(folder, name))  # noqa: PTH110, PTH118

    name = os.path.basename(folder).lower()  # noqa: PTH119
    if has("pyvenv.cfg") or has("conda-meta") or (name in _ENVIRONMENTS and _has_python(folder)):
        return True
    found = (file for _, _, files in os.walk(folder) for file in files) if name in _LOGS else ()
    return any(file.startswith(_LOG_FILES) for file in islice(found, _LOOKED_AT))


def _has_python(folder: str) -> bool:
    """Whether packages of Python are below a folder, as in an environment."""
    lib = os.path.join(folder, "lib")  # noqa: PTH118
    if not os.path.isdir(lib):  # noqa: PTH112
        return os.path.isdir(os.path.join(folder, "Lib", "site-packages"))  # noqa: PTH112, PTH118
    return any(name.startswith("python") for name in os.listdir(lib))  # noqa: PTH208


def name_own_folder(folder: str) -> str:
    """What torchloupe wrote `folder` as: "a run", "an export" or "a pack"; "" for any other."""

    def has(name: str) -> bool:
        return os.path.isfile(os.path.join(folder, name))  # noqa: PTH113, PTH118

    if has("config.json") and any(map(has, ("events.jsonl", "contract.json", "folds.json"))):
        return "a run"
    if has("contract.json"):
        return "an export"
    if has("pixels.bin") and any(map(has, ("manifest.json", "journal", "about.json"))):
        return "a pack"
    return ""
