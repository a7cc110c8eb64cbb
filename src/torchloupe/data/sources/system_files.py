"""What lies among data and is never data: files of systems, and folders that programs wrote.

Known by name are the traces of operating systems, storage devices, notebooks and trackers; known by
what they hold are the folders of torchloupe itself.
"""

import os

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
    )
)


def is_system_name(name: str) -> bool:
    """Whether a file or folder of this name is hidden or a system's own, and never data."""
    return name.startswith(".") or name.lower() in _NAMES


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
