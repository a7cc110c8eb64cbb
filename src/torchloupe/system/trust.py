"""What a run folder names and may be used, and how the rest of it is given again.

A run folder never names code that is run: one's own has to be given again, or trusted. torch's
losses, optimizers and schedulers, and the models of libraries, are no code of anyone's own.
"""

import re
from pathlib import Path

from torchloupe.errors import UsageError, printable
from torchloupe.system.user_code import PYTHON_OBJECT, is_object_spec


def trusted_name(name: str, what: str, run: Path, trust_code: bool, option: str = "") -> str:
    """`name` from a run folder; raises UsageError if using it would run the user's own code.

    `option` of the command, up to the value, gives it again; else that of the table below.
    """
    is_code = is_own_code(name)
    if (is_code or name == PYTHON_OBJECT) and not (trust_code and is_code):
        given = "from Python" if name == PYTHON_OBJECT else f"{printable(name)}, someone's own code"
        raise UsageError(
            f"the {what} of {printable(run)} is {given}",
            f"give it again ({option or _OPTIONS[what]}file.py:NAME"
            + (f", or {_ARGUMENTS[what]} in Python)" if what in _ARGUMENTS else ")")
            + (", or say --trust-code to run it" if is_code else ""),
        )
    return name


# How the commands, and `loupe.resume`, take what a run folder doesn't hold.
_OPTIONS = {
    "data": "",  # an argument of the commands that evaluate
    "model": "--model ",
    "loss": "--set loss.name=",
    "optimizer": "--set optimizer.name=",
    "schedule": "--set schedule.name=",
    "hook": "--set lens.hook=",
}
_ARGUMENTS = {
    "data": "data=...",
    "model": "model=...",
    "loss": "loss=...",
    "optimizer": "optimizer=...",
    "schedule": 'settings={"schedule": ...}',
}


def is_own_code(name: str) -> bool:
    """Whether a name from a run folder means code that is neither torch's nor a library's."""
    if name.startswith(("torchvision:", "timm:")) or re.fullmatch(_OF_TORCH, name):
        return False
    return is_object_spec(name)


_OF_TORCH = r"torch\.(nn:\w+Loss|optim(\.lr_scheduler|\.swa_utils)?:[A-Z]\w+)"
