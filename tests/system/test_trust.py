"""Names in a run folder: what is used, what is refused, and what the refusal says to do."""

from pathlib import Path

import pytest

from torchloupe.errors import UsageError
from torchloupe.system.trust import is_own_code, trusted_name
from torchloupe.system.user_code import PYTHON_OBJECT

RUN = Path("runs/a")


@pytest.mark.parametrize(
    "name",
    [
        *("cross_entropy", "adam", "photos/train", "timm:resnet18", "torchvision:resnet18"),
        *("torch.nn:CrossEntropyLoss", "torch.optim:Adam", "torch.optim.lr_scheduler:StepLR"),
        "torch.optim.swa_utils:SWALR",
    ],
)
def test_names_that_run_nobodys_own_code_are_used(name) -> None:
    assert not is_own_code(name)
    assert trusted_name(name, "loss", RUN, False) == name


@pytest.mark.parametrize(
    "name",
    [
        *("own.py:Loss", "package.module:Loss", "torch.hub:load", "torch.nn:Linear"),
        *(
            "torch.nn.evil:SomeLoss",
            "torchs.nn:SomeLoss",
            "torch.optim:adam",
            "torch.nn:a.SomeLoss",
        ),
    ],
)
def test_names_of_code_are_refused_unless_it_is_trusted(name) -> None:
    assert is_own_code(name)
    with pytest.raises(UsageError, match="someone's own code") as caught:
        trusted_name(name, "loss", RUN, False)
    assert caught.value.hint == (
        "give it again (--set loss.name=file.py:NAME, or loss=... in Python), or say --trust-code "
        "to run it"
    )
    assert trusted_name(name, "loss", RUN, True) == name


@pytest.mark.parametrize(
    ("what", "option", "hint"),
    [
        ("data", "", "give it again (file.py:NAME, or data=... in Python)"),
        (
            "data",
            "--set data.source=",
            "give it again (--set data.source=file.py:NAME, or data=... in Python)",
        ),
        ("model", "", "give it again (--model file.py:NAME, or model=... in Python)"),
        ("hook", "", "give it again (--set lens.hook=file.py:NAME)"),
    ],
)
def test_python_objects_can_only_be_given_again(what, option, hint) -> None:
    with pytest.raises(UsageError, match=f"the {what} of runs/a is from Python") as caught:
        trusted_name(PYTHON_OBJECT, what, RUN, True, option)
    assert caught.value.hint == hint
