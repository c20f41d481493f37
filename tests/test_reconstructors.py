"""Every registered reconstruction method, by the same tests: a new one gets them free."""

import numpy as np
import pytest
import torch

from cs_recon import psnr, reconstruct, reconstructors, ssim
from simulate import InputError, Measurement, SceneConfig, make_scene, measure, scan_path

SCENE = make_scene(SceneConfig(shape=(61, 75), n_particles=8, diameter_nm=9), rng=3).frame


LEARNED = ("unrolled-ista", "inpainting")
MONTE_CARLO = ("bpfa",)


def scan_of(frame, ratio=0.2, **options):
    return measure(frame, scan_path("random", frame.shape, ratio, rng=1), rng=2, **options)


@pytest.mark.parametrize("method", reconstructors.names)
class TestEveryMethod:
    def test_it_is_better_than_the_mean(self, method):
        result = reconstruct(scan_of(SCENE, peak_counts=100, pixel_size_nm=0.5), method)
        assert result.image.shape == SCENE.shape
        assert result.image.dtype == np.float32
        assert (result.method, result.pixel_size_nm) == (method, 0.5)
        assert psnr(SCENE, result.image) > psnr(SCENE, np.full_like(SCENE, SCENE.mean())) + 4

    def test_it_follows_the_unit_of_the_input(self, method):
        """Scale and offset of the values carry over to the image: a network or solver sees the same numbers."""
        scan = scan_of(SCENE)
        base = reconstruct(scan, method)
        for scale, offset in ((1e6, 0.0), (1e-6, 0.0), (3.0, -50.0), (-1.0, 0.0)):
            other = reconstruct(Measurement(scan.values * scale + offset, scan.mask), method)
            expected = base.image.astype(np.float64) * scale + offset
            tolerance = 0.02 * abs(scale) * np.ptp(SCENE)
            if method in LEARNED and scale < 0:
                continue  # a learnt method may know bright from dark
            if method in MONTE_CARLO:  # rounding sends the chain another way: another sample of the same posterior
                tolerance = 0.06 * abs(scale) * np.ptp(SCENE)
                assert np.sqrt(np.mean((other.image - expected) ** 2)) < tolerance
                continue
            assert np.abs(other.image - expected).max() < tolerance
            if base.sigma is not None:
                np.testing.assert_allclose(other.sigma, base.sigma * abs(scale), rtol=0.02)

    def test_it_does_not_read_what_was_not_scanned(self, method):
        scan = scan_of(SCENE)
        garbage = np.where(scan.mask, scan.values, 1e9)
        np.testing.assert_array_equal(
            reconstruct(Measurement(garbage, scan.mask), method).image, reconstruct(scan, method).image
        )

    @pytest.mark.parametrize(("shape", "ratio"), [((16, 16), 0.1), ((8, 8), 1.0), ((37, 90), 0.005), ((64, 8), 0.3)])
    def test_extremes_of_size_and_ratio(self, method, shape, ratio):
        frame = np.add.outer(np.arange(shape[0]), np.sin(np.arange(shape[1]))) + 5.0
        scan = measure(frame, scan_path("jittered-grid", shape, ratio, rng=0))
        image = reconstruct(scan, method).image
        assert image.shape == shape
        assert np.isfinite(image).all()

    def test_a_single_line_and_a_single_pixel(self, method):
        mask = np.zeros((32, 32), bool)
        mask[7] = True
        assert np.isfinite(reconstruct(Measurement(SCENE[:32, :32], mask), method).image).all()
        mask[:] = False
        mask[3, 4] = True
        image = reconstruct(Measurement(np.full((32, 32), 5.0), mask), method).image
        assert np.isfinite(image).all()

    def test_one_count_a_pixel(self, method):
        assert np.isfinite(reconstruct(scan_of(SCENE, 0.3, peak_counts=1), method).image).all()

    def test_it_gives_the_same_twice(self, method):
        scan = scan_of(SCENE, peak_counts=30)
        np.testing.assert_array_equal(reconstruct(scan, method).image, reconstruct(scan, method).image)

    def test_an_unknown_option_is_refused(self, method):
        with pytest.raises(InputError, match=r"has no option 'lamda'"):
            reconstruct(scan_of(SCENE), method, lamda=3)


@pytest.mark.parametrize("method", ["nearest", "linear", "natural", "biharmonic"])
def test_interpolators_pass_through_the_samples(method):
    scan = scan_of(SCENE)
    image = reconstruct(scan, method, smooth_px=0).image
    np.testing.assert_allclose(image[scan.mask], scan.samples, rtol=1e-5)


def test_linear_interpolation_is_exact_on_a_plane():
    plane = np.add.outer(2.0 * np.arange(40), -3.0 * np.arange(50)) + 7
    scan = measure(plane, scan_path("jittered-grid", plane.shape, 0.2, rng=0))
    image = reconstruct(scan, "linear", smooth_px=0).image
    np.testing.assert_allclose(image[8:-8, 8:-8], plane[8:-8, 8:-8], atol=1e-3)


def test_a_misspelt_method_gets_the_nearest_name():
    with pytest.raises(InputError, match="did you mean 'unrolled-ista'"):
        reconstruct(scan_of(SCENE), "unroled-ista")


@pytest.mark.parametrize("options", [{"wavelet": "symm4"}, {"threshold": -1}, {"threshold": np.nan}, {"iterations": 0}])
def test_bad_options_of_fista(options):
    with pytest.raises(InputError):
        reconstruct(scan_of(SCENE), "fista", **options)


@pytest.mark.parametrize("smooth_px", [-1, np.nan, np.inf])
def test_bad_smoothing(smooth_px):
    with pytest.raises(InputError, match="smooth_px"):
        reconstruct(scan_of(SCENE), "linear", smooth_px=smooth_px)


def test_device_errors():
    with pytest.raises(InputError, match="expected auto, cpu or cuda"):
        reconstruct(scan_of(SCENE), "fista", device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no CUDA device"):
            reconstruct(scan_of(SCENE), "unrolled-ista", device="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", ["fista", "unrolled-ista"])
def test_cuda_agrees_with_the_cpu(method):
    scan = scan_of(SCENE, peak_counts=100)
    on_cpu, on_gpu = (reconstruct(scan, method, device=device).image for device in ("cpu", "cuda"))
    assert np.abs(on_cpu - on_gpu).max() < 0.01 * np.ptp(SCENE)


def test_metrics_against_their_definitions():
    truth = np.array([[0.0, 2.0], [1.0, 1.0]])
    assert psnr(truth, truth) == np.inf
    assert psnr(truth, truth + 0.2) == pytest.approx(20)
    assert psnr(10 * truth, 10 * truth + 2) == pytest.approx(20)
    assert ssim(SCENE, SCENE) == pytest.approx(1)
    assert ssim(SCENE, SCENE[::-1]) < 0.9
    with pytest.raises(InputError, match="make them equal"):
        psnr(truth, truth[:1])
    with pytest.raises(InputError, match="constant"):
        psnr(np.ones((8, 8)), np.ones((8, 8)))
