import sys

import numpy as np
import pytest
from PIL import Image

from cs_recon.reconstruction import Reconstruction
from segmentation.figures import (
    OUTLINE,
    UNSAMPLED,
    _histogram,
    outline_overlay,
    result_figure,
    sampled_frame,
    scale_bar_nm,
)
from segmentation.instances import Instances
from segmentation.measure import measure
from simulate import InputError, Measurement


def result(shape=(48, 64), sigma=True, pixel_size_nm=0.5, empty=False):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = 0 * x
    if not empty:
        labels[(x - 20) ** 2 + (y - 20) ** 2 < 64] = 1
        labels[(x - 45) ** 2 + (y - 30) ** 2 < 100] = 2
    image = ((labels > 0) + 0.1 * rng.normal(size=shape)).astype(np.float32)
    measurement = Measurement(image, rng.random(shape) < 0.3, pixel_size_nm=pixel_size_nm)
    error = np.full(shape, 0.1, np.float32) if sigma else None
    reconstruction = Reconstruction(image, error, "tv", pixel_size_nm)
    instances = Instances(labels, pixel_size_nm=pixel_size_nm)
    return measurement, reconstruction, instances, measure(instances)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sigma": False, "pixel_size_nm": None},
        {"empty": True},
        {"pixel_size_nm": (0.5, 0.25)},
        {"shape": (40, 150), "pixel_size_nm": 400.0},
    ],
)
def test_the_figure_is_drawn_for_every_kind_of_result(tmp_path, options):
    path = result_figure(*result(**options), tmp_path / "out" / "result.png")
    with Image.open(path) as image:
        assert image.width > 1500
        assert round(image.info["dpi"][0]) == 150
    assert [file.name for file in path.parent.iterdir()] == ["result.png"]


def test_nothing_global_is_touched(tmp_path):
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 7.5}):
        result_figure(*result(), tmp_path / "result.png")
        assert mpl.rcParams["font.size"] == 7.5
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def test_unsampled_pixels_have_their_own_colour():
    measurement = result()[0]
    colors = sampled_frame(measurement)
    assert np.allclose(colors[~measurement.mask], UNSAMPLED)
    assert np.ptp(colors[measurement.mask], axis=1).max() == 0
    assert np.ptp(UNSAMPLED) > 0.1


def test_outlines_lie_inside_and_part_touching_particles():
    labels = np.zeros((9, 12), int)
    labels[2:7, 2:6], labels[2:7, 6:10] = 1, 2
    overlay = outline_overlay(np.zeros(labels.shape), labels)
    drawn = np.isclose(overlay, OUTLINE).all(axis=2)
    assert not drawn[labels == 0].any()
    assert drawn[4].tolist() == [False, False, True, False, False, True, True, False, False, True, False, False]
    assert not overlay[~drawn].any()
    assert not np.isclose(outline_overlay(np.zeros((4, 4)), np.zeros((4, 4), int)), OUTLINE).all(axis=2).any()


@pytest.mark.parametrize("width", [0.3, 1.0, 7.9, 8.0, 100.0, 12345.0])
def test_scale_bars_are_round_and_fit(width):
    length = scale_bar_nm(width)
    assert width / 10 - 1e-9 <= length <= width / 4 + 1e-9
    assert round(length / 10 ** np.floor(np.log10(length) + 1e-9), 6) in (1, 2, 5)


def test_shapes_must_agree(tmp_path):
    measurement, reconstruction, _, table = result()
    with pytest.raises(InputError, match="the scan has shape"):
        result_figure(measurement, reconstruction, Instances(np.zeros((9, 9), int)), table, tmp_path / "result.png")
    with pytest.raises(InputError, match="expected equal shapes"):
        outline_overlay(np.zeros((3, 4)), np.zeros((4, 3), int))


def test_an_empty_frame_says_so():
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    _histogram(axes, result(empty=True)[3])
    assert [text.get_text() for text in axes.texts] == ["no particles"]
