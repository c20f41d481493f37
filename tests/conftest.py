"""Fixtures that several test modules share."""

import pytest
from io_files import FRAME, NEEDS_EXTRA, SAVE


@pytest.fixture(params=SAVE)
def saved(request, tmp_path):
    """One file of each format that holds FRAME."""
    if request.param in NEEDS_EXTRA:
        pytest.importorskip("rsciio", reason="needs the extra io")
    path = tmp_path / f"grid{request.param}"
    SAVE[request.param](path, FRAME)
    return path
