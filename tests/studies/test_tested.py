"""predictions.parquet, read for a comparison."""

from pathlib import Path

import pytest

from torchloupe.errors import CheckpointError
from torchloupe.studies.tested import read_tested


def test_a_run_without_predictions_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="can't be read") as raised:
        read_tested(tmp_path)
    assert "loupe resume" in raised.value.hint
