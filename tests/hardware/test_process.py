"""What a run changes in its process is put back, whatever happens inside."""

import pytest
import torch

from torchloupe.hardware.process import process_settings_kept


def test_threads_and_strictness_are_put_back_after_an_error_too() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="inside"), process_settings_kept():
        torch.set_num_threads(before + 1)
        torch.use_deterministic_algorithms(True)
        raise ValueError("inside")
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()


def test_gradients_are_recorded_inside_and_off_again_afterwards():
    with torch.no_grad():
        with process_settings_kept():
            assert torch.is_grad_enabled()
        assert not torch.is_grad_enabled()
