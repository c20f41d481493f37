"""Block matching, plug-and-play and the full-scan route."""

import numpy as np
import pytest
import torch

from cs_recon import psnr, reconstruct
from cs_recon.classical.block_matching import Groups, bm3d, filter_groups, match_blocks
from simulate import InputError, Measurement, SceneConfig, make_scene, measure, scan_path

SCENE = make_scene(SceneConfig(shape=(64, 72), n_particles=8, diameter_nm=9), rng=3).frame


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def one(value):
    return torch.full((1, 1, 1, 1), value)


def test_blocks_are_matched_as_by_brute_force():
    image = random(1, 1, 23, 26)
    groups = match_blocks(image, search=4)
    rows, cols = groups.shape
    padded = np.pad(image[0, 0].numpy(), ((0, rows - 23), (0, cols - 26)), mode="edge")
    for index in (0, 17, groups.corners.shape[1] - 1):
        found = groups.corners[0, index].tolist()
        r0, c0 = divmod(found[0], cols)
        block = padded[r0 : r0 + 8, c0 : c0 + 8]
        distances = {
            r * cols + c: ((padded[r : r + 8, c : c + 8] - block) ** 2).sum()
            for r in range(max(0, r0 - 4), min(rows - 8, r0 + 4) + 1)
            for c in range(max(0, c0 - 4), min(cols - 8, c0 + 4) + 1)
        }
        best = sorted(distances, key=distances.__getitem__)[: len(found)]
        assert found[0] == r0 * cols + c0
        assert set(best) == set(found)


def test_without_noise_the_image_stays():
    image = random(2, 1, 30, 33)
    groups = match_blocks(image)
    torch.testing.assert_close(filter_groups(image, groups, one(0.0)), image, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(bm3d(image, one(1e-6)), image, atol=1e-4, rtol=1e-4)


def test_a_group_of_one_block_is_thresholded_cosines():
    from scipy.fft import dctn, idctn

    image = random(1, 1, 8, 8)
    groups = Groups(torch.zeros(1, 1, 1, dtype=torch.int64), (8, 8), 8)
    spectrum = dctn(image[0, 0].numpy(), norm="ortho")
    kept = np.where((np.abs(spectrum) > 2.7 * 0.4) | (np.arange(64).reshape(8, 8) == 0), spectrum, 0)
    np.testing.assert_allclose(
        filter_groups(image, groups, one(0.4))[0, 0].numpy(), idctn(kept, norm="ortho"), atol=1e-5
    )


@pytest.mark.parametrize("sigma", [0.1, 0.3])
def test_bm3d_beats_the_best_gaussian_filter(sigma):
    from scipy.ndimage import gaussian_filter

    clean = (SCENE - SCENE.mean()) / SCENE.std()
    noisy = clean + sigma * np.random.default_rng(0).standard_normal(clean.shape)
    denoised = bm3d(torch.from_numpy(noisy).float()[None, None], one(sigma))[0, 0].numpy()
    gaussian = max(psnr(clean, gaussian_filter(noisy, width)) for width in (0.4, 0.6, 0.8, 1.0, 1.5, 2.0))
    assert psnr(clean, denoised) > gaussian + 1.5


def test_bm3d_works_on_each_image_of_a_batch_by_itself():
    images = random(2, 1, 32, 32)
    sigmas = torch.tensor([0.5, 2.0])[:, None, None, None]
    together = bm3d(images, sigmas)
    for index in range(2):
        torch.testing.assert_close(together[index], bm3d(images[index : index + 1], sigmas[index : index + 1])[0])


def scan_of(ratio=0.2, **options):
    return measure(SCENE, scan_path("random", SCENE.shape, ratio, rng=1), rng=2, **options)


def test_pnp_beats_interpolation():
    scan = scan_of(peak_counts=50)
    result = reconstruct(scan, "pnp", device="cpu")
    assert psnr(SCENE, result.image) > psnr(SCENE, reconstruct(scan, "linear").image) + 0.3
    assert len(result.trace["change"]) == result.info["iterations"] == 16
    assert 0.5 < result.trace["residual"][-1] < 1.5


def test_pnp_takes_any_denoiser_and_gives_it_falling_sigmas():
    seen = []

    def keep(image, sigma):
        seen.append((tuple(image.shape), float(sigma)))
        return image

    scan = scan_of()
    result = reconstruct(scan, "pnp", device="cpu", denoiser=keep, sigmas=(0.5, 0.05), iterations=6)
    assert [shape for shape, _ in seen] == [(1, 1, *SCENE.shape)] * 6
    np.testing.assert_allclose([s for _, s in seen], np.geomspace(0.5, 0.05, 6), rtol=1e-5)
    assert result.info["denoiser"] == "keep"
    # A denoiser that does nothing leaves the start off the samples, and the data steps pull it to the samples.
    start = reconstruct(scan, "gp", device="cpu", samples=0).image
    np.testing.assert_allclose(result.image[~scan.mask], start[~scan.mask], rtol=1e-5)
    off = [np.abs(image[scan.mask] - scan.samples).mean() for image in (result.image, start)]
    assert off[0] < off[1]


@pytest.mark.parametrize(
    "options", [{"denoiser": "bm4d"}, {"sigmas": (1.0, -1.0)}, {"sigmas": (1.0,)}, {"trust": 0}, {"iterations": 0}]
)
def test_bad_options_of_pnp(options):
    with pytest.raises(InputError, match=next(iter(options))):
        reconstruct(scan_of(), "pnp", **options)


def full(counts):
    return measure(SCENE, scan_path("raster", SCENE.shape, 1.0), peak_counts=counts, rng=0)


@pytest.mark.parametrize("counts", [5, 50])
def test_a_full_scan_is_denoised(counts):
    scan = full(counts)
    result = reconstruct(scan, "full-scan", device="cpu")
    assert psnr(SCENE, result.image) > psnr(SCENE, scan.values) + 5
    assert result.info["stabilised"]
    assert result.info["filled"] == 0


def test_few_counts_are_not_biased():
    flat = np.full((48, 48), 3.0)
    counts = np.random.default_rng(0).poisson(flat)
    image = reconstruct(Measurement(counts, counts >= 0, counts_per_unit=1.0), "full-scan", device="cpu").image
    assert image.mean() == pytest.approx(counts.mean(), rel=0.03)


def test_unknown_noise_is_estimated():
    noisy = SCENE + 0.3 * SCENE.std() * np.random.default_rng(0).standard_normal(SCENE.shape)
    scan = Measurement(noisy, np.ones(SCENE.shape, bool))
    result = reconstruct(scan, "full-scan", device="cpu")
    assert not result.info["stabilised"]
    assert psnr(SCENE, result.image) > psnr(SCENE, scan.values) + 3
    with pytest.raises(InputError, match="noise"):
        reconstruct(scan, "full-scan", noise=-1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", ["gp", "pnp", "bpfa", "ksvd", "full-scan"])
def test_cuda_agrees_with_the_cpu(method):
    scan = scan_of(peak_counts=50)
    on_cpu, on_gpu = (reconstruct(scan, method, device=device).image for device in ("cpu", "cuda"))
    assert np.abs(on_cpu - on_gpu).mean() < 0.01 * np.ptp(SCENE)


def test_every_pixel_of_a_flat_area_is_in_some_group():
    image = torch.ones(1, 1, 64, 64)
    image[..., 0, 0] = 2
    assert filter_groups(image, match_blocks(image), one(0.01)).min() > 0.8
