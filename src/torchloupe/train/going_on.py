"""Begin a run or go on with it: one command that torchrun, Slurm and Kubernetes may start again.

What a run has begun with lies in its folder on the host of rank 0, and maybe nowhere else.
"""

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torchloupe.config.settings import Settings, read_settings
from torchloupe.data.contract import Contract
from torchloupe.distributed.meeting import meet, open_store
from torchloupe.distributed.rank import find_rank
from torchloupe.errors import LoupeError, RankFailed, ResourceError, printable
from torchloupe.run.places import find_run
from torchloupe.trained.run import read_contract


def has_begun(folder: Path) -> bool:
    """Whether the run in `folder` has begun, as rank 0 sees it; every rank must call this.

    Raises ResourceError on every rank if another host has a run there and that of rank 0 has none:
    it would be begun again.
    """
    here = (folder / "config.json").is_file()
    launched = find_rank()
    if launched is None or launched.size == 1:
        return here
    _, found = meet(launched, open_store(), [here, socket.gethostname()], decide)
    if isinstance(found, str):
        raise ResourceError(
            f"rank 0 has no run in {printable(folder)}, but {printable(found)} has one",
            "start with that host first, or give an --out on a file system that all hosts share",
        )
    return bool(found)


def decide(words: Sequence[Any]) -> bool | str:
    """Whether rank 0 has the run; or the name of a host that has one in its stead."""
    if words[0][0]:
        return True
    return next((str(host) for here, host in words if here), False)


def read_begun(folder: Path) -> tuple[Settings, Contract]:
    """The settings and the contract of the run in `folder`, as rank 0 finds them there.

    Every rank must call this. The others get them from rank 0: they need no folder.
    """
    launched = find_rank()
    if launched is None or launched.size == 1:
        return _read(folder)
    if launched.rank:
        _, found = meet(launched, open_store())
        if "message" in found:
            raise RankFailed(found["message"], found["exit_code"])
        contract = Contract.from_json(found["contract"])
        return read_settings(folder / "config.json", found["settings"]), contract
    try:
        settings, contract = _read(folder)
    except LoupeError as error:
        told = {"message": error.message, "exit_code": error.exit_code}
        meet(launched, open_store(), None, lambda _: told)
        raise
    texts = {"settings": settings.to_json(), "contract": contract.to_json()}
    meet(launched, open_store(), None, lambda _: texts)
    return settings, contract


def _read(folder: Path) -> tuple[Settings, Contract]:
    found = find_run(folder)
    return read_settings(found / "config.json"), read_contract(found)
