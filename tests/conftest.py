"""Fixtures that several test modules share."""

import pytest
from io_files import FRAME, NEEDS_EXTRA, SAVE

import cs_recon
import simulate


@pytest.fixture(params=SAVE)
def saved(request, tmp_path):
    """One file of each format that holds FRAME."""
    if request.param in NEEDS_EXTRA:
        pytest.importorskip("rsciio", reason="needs the extra io")
    path = tmp_path / f"grid{request.param}"
    SAVE[request.param](path, FRAME)
    return path


@pytest.fixture
def single_precision():
    """Networks compute alike on every processor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cs_recon.device.has_bfloat16", lambda device: False)
        yield


@pytest.fixture(scope="session")
def scene():
    config = simulate.SceneConfig(
        shape=(128, 144),
        pixel_size_nm=0.5,
        n_particles=9,
        diameter_nm=10,
        shapes=("sphere",),
        support=simulate.Support(thickness_nm=100, texture=0.02),
    )
    return simulate.make_scene(config, rng=2)


@pytest.fixture
def frame(tmp_path, scene):
    file = tmp_path / "grid.tif"
    cs_recon.write_image(file, scene.frame, pixel_size_nm=0.5)
    return file
