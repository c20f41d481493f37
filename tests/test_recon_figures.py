"""Pictures of reconstructions show what they say."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from cs_recon import InputError, psnr
from cs_recon.figures import LEVELS, draw_methods, draw_reliability, draw_sigma, interval_coverage, methods_size
from cs_recon.reconstruction import Reconstruction
from simulate import Measurement

TRUTH = np.add.outer(np.arange(40.0), np.arange(40.0))
RNG = np.random.default_rng(0)
SCAN = Measurement(TRUTH, RNG.random((40, 40)) < 0.2)
ERROR = RNG.normal(size=(40, 40))


def result(method="made-up", error=ERROR, sigma=1.0):
    spread = None if sigma is None else np.full((40, 40), sigma, np.float32)
    return Reconstruction((TRUTH + error).astype(np.float32), spread, method)


def test_every_method_has_its_picture_and_its_psnr():
    figure = Figure(figsize=methods_size(7, 4), layout="constrained")
    results = [result(f"method-{k}", k * ERROR) for k in range(1, 8)]
    draw_methods(figure, SCAN, results, truth=TRUTH, columns=4, zoom=slice(5, 25))
    drawn = [axis for axis in figure.axes if axis.images]
    assert len(drawn) == 9
    assert drawn[0].images[0].get_array().mask.mean() == pytest.approx(1 - SCAN.mask[5:25, 5:25].mean())
    for axis, one in zip(drawn[2:], results, strict=True):
        assert axis.get_title() == f"{one.method}\n{psnr(TRUTH, one.image):.1f} dB"
        np.testing.assert_array_equal(axis.images[0].get_array(), one.image[5:25, 5:25])
    assert len({axis.images[0].get_clim() for axis in drawn}) == 1


def test_without_a_truth_there_is_no_figure_of_merit():
    figure = Figure(layout="constrained")
    draw_methods(figure, SCAN, [result()])
    assert [axis.get_title() for axis in figure.axes if axis.images][1:] == ["made-up\n"]
    with pytest.raises(InputError, match="no reconstructions"):
        draw_methods(figure, SCAN, [])


def test_coverage_of_normal_errors_is_what_is_promised():
    assert np.abs(interval_coverage(result(), TRUTH) - LEVELS).max() < 0.04
    assert (interval_coverage(result(sigma=0.5), TRUTH) < LEVELS - 0.02).all()


def test_error_and_sigma_share_a_scale():
    figure = Figure(layout="constrained")
    draw_sigma(figure, result(), TRUTH)
    assert figure.axes[1].images[0].get_clim() == figure.axes[2].images[0].get_clim()
    bar = figure.axes[2].images[0].colorbar
    assert bar.ax.get_ylabel() == "in the unit of the image"
    assert bar.vmax == pytest.approx(1.0)
    draw_reliability(Figure().subplots(), {"twice": [(result(), TRUTH)] * 2})
    with pytest.raises(InputError, match="'linear' has no sigma"):
        draw_sigma(Figure(), result("linear", sigma=None), TRUTH)
