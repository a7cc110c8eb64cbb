"""What a page needs from outside of the run folder."""

from types import SimpleNamespace

import numpy as np
import pytest

from torchloupe.config.schema import Config
from torchloupe.config.text import change
from torchloupe.data.contract import Contract
from torchloupe.errors import DataError
from torchloupe.trained.report import MOST_AUDITED, audit_for_page, reopen_data

CONTRACT = Contract("L", 1, (8, 8), mean=(0.5,), std=(0.5,), class_names=tuple("0123456789"))


def test_data_are_opened_again_or_the_reason_is_told(tmp_path):
    config = change(Config(), {"data.source": "digits"})
    found, why = reopen_data(tmp_path, config, CONTRACT, trust_code=False)
    assert (len(found.samples), why) == (1797, "")
    gone = change(Config(), {"data.source": str(tmp_path / "gone")})
    found, why = reopen_data(tmp_path, gone, CONTRACT, trust_code=False)
    assert found is None
    assert "gone" in why
    own = change(Config(), {"data.source": "python object"})
    assert reopen_data(tmp_path, own, CONTRACT, trust_code=True)[0] is None


def test_data_that_were_given_must_fit(tmp_path):
    images = np.zeros((30, 8, 8), dtype=np.uint8)
    with pytest.raises(DataError):
        reopen_data(tmp_path, Config(), CONTRACT, (images, ["x"] * 30), trust_code=False)


def test_only_pretrained_networks_on_few_images_are_audited():
    few = SimpleNamespace(samples=range(10))
    assert audit_for_page(object(), few, Config(), "cpu").suspected_labels == ()
    assert MOST_AUDITED >= 1000
