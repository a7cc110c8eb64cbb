"""`loupe eval RUN --samples`: the ranking, in words and in JSON."""

import json
from pathlib import Path

import numpy as np
import pytest

from torchloupe.cli.main import run
from torchloupe.cli.samples import describe_samples
from torchloupe.data.samples import Samples, make_ids
from torchloupe.run.ledger import VALUES, write_header, write_index
from torchloupe.trained.samples import read_samples


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of four samples: sure, forgotten once, never learned, learned last."""
    right = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 0, 1]], dtype=np.float16)
    values = np.stack([1 - right, 2 * right - 1, right], axis=2)
    write_index(
        tmp_path / "samples.parquet",
        Samples(make_ids(["a", "b", "c", "d"]), np.array([0, 1, 0, 1]), ("cat", "dog")),
        np.arange(4),
    )
    with (tmp_path / VALUES).open("wb") as file:
        write_header(file, values.shape)
        file.write(values.tobytes())
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def test_samples_are_listed_by_kind(folder: Path) -> None:
    text = str(describe_samples(read_samples(folder)))
    assert text.startswith("4 training samples, 3 epochs\n")
    assert "forgotten most often (right, then wrong again): 1\n  b  dog  forgotten 1" in text
    assert "never learned (wrong in every epoch): 1\n  c  cat  forgotten 0, never learned" in text
    assert "learned last: 2\n  d  dog  forgotten 0, learned in epoch 3" in text


def test_command_prints_them_and_refuses_other_data(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["eval", str(folder), "--samples", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [sample["id"] for sample in told["never_learned"]] == ["c"]
    assert (told["samples"], told["epochs"]) == (4, 3)
    assert run(["eval", str(folder), "digits", "--samples"]) == 2
    assert "leave the data out" in capsys.readouterr().err
