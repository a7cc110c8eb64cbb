"""The collector is off for the first import of torch alone, and on again after an error."""

import gc
import subprocess
import sys

import torch

from torchloupe.system.collector import collector_off

CODE = """
import gc
from torchloupe.system.collector import collector_off
try:
    with collector_off():
        print(gc.isenabled())
        1 / 0
except ZeroDivisionError:
    print(gc.isenabled(), gc.get_freeze_count() > 0)
gc.disable()
with collector_off():
    pass
print(gc.isenabled())
"""


def test_the_collector_is_off_inside_and_as_before_afterwards() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False", "True True", "False"]


def test_nothing_changes_once_torch_is_there() -> None:
    assert torch.__name__ in sys.modules
    before = gc.get_freeze_count()
    with collector_off():
        assert gc.isenabled()
    assert gc.get_freeze_count() == before
