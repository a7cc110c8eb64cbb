"""One small sweep for all tests of this room."""

import pytest


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A finished sweep that nothing disturbed, and what it said."""
    from small_sweep import SETTINGS, WISH

    from torchloupe.studies.sweep.start import start_sweep

    said = []
    folder = tmp_path_factory.mktemp("whole") / "sweep"
    return start_sweep("digits", SETTINGS, None, WISH, folder, tell=said.append), said
