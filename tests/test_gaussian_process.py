"""Gaussian-process regression against the dense formulas."""

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve, gaussian_filter

from cs_recon import reconstruct
from cs_recon.classical.gaussian_process import conjugate_gradients, make_process, posterior_sd
from cs_recon.classical.kernels import KERNELS, kernel, most_likely
from simulate import InputError, Measurement, measure, scan_path

SHAPE = (14, 17)


def process_of(kind, length=3.0, sill=1.3, noise=0.2, ratio=0.3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.rand((1, 1, *SHAPE), generator=generator) < ratio).double()
    variance = noise**2 * (0.5 + torch.rand((1, 1, *SHAPE), generator=generator).double())
    full = [torch.full((1, 1, 1, 1), value, dtype=torch.float64) for value in (length, sill)]
    return make_process([kind], full[0], full[1], mask, variance), mask, variance


def dense(kind, length, sill, mask, variance):
    """Return the covariances pixels x pixels and pixels x samples, that of the samples with noise, and the samples."""
    at = torch.stack(torch.meshgrid(*(torch.arange(n) for n in SHAPE), indexing="ij"), -1).reshape(-1, 2).double()
    all_pairs = sill * kernel(kind, torch.cdist(at, at) / length)
    seen = mask.flatten() > 0
    return all_pairs, all_pairs[:, seen], all_pairs[seen][:, seen] + torch.diag(variance.flatten()[seen]), seen


@pytest.mark.parametrize("kind", KERNELS)
def test_the_posterior_mean_is_that_of_the_dense_formula(kind):
    process, mask, variance = process_of(kind)
    _, cross, inner, seen = dense(kind, 3.0, 1.3, mask, variance)
    y = mask * torch.randn((1, 1, *SHAPE), generator=torch.Generator().manual_seed(1)).double()
    weights, residuals = conjugate_gradients(process, y, 200, 1e-10)
    expected = cross @ torch.linalg.solve(inner, y.flatten()[seen])
    assert residuals[-1] <= 1e-10
    torch.testing.assert_close(process.covariance(weights).flatten(), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["matern12", "matern52"])
def test_the_preconditioner_takes_few_steps_where_plain_gradients_take_many(kind):
    process, mask, _ = process_of(kind, length=6.0, noise=0.01)
    y = mask * torch.randn((1, 1, *SHAPE), generator=torch.Generator().manual_seed(1)).double()
    _, residuals = conjugate_gradients(process, y, 200, 1e-6)
    assert len(residuals) < 45


def test_the_posterior_sd_is_that_of_the_dense_formula():
    process, mask, variance = process_of("matern32", noise=0.3)
    full, cross, inner, _ = dense("matern32", 3.0, 1.3, mask, variance)
    expected = (full - cross @ torch.linalg.solve(inner, cross.T)).diagonal().reshape(SHAPE)
    expected = torch.from_numpy(convolve(expected.numpy(), np.outer([1, 2, 1], [1, 2, 1]) / 16)).sqrt()
    found = posterior_sd(process, 400, 100, 1e-6, torch.Generator().manual_seed(2))[0, 0]
    ratio = found[2:-2, 2:-2] / expected[2:-2, 2:-2]
    assert abs(float(ratio.mean()) - 1) < 0.03
    assert float(ratio.std()) < 0.12


def test_prior_samples_have_the_kernel_as_their_covariance():
    process, mask, _ = process_of("gaussian", sill=2.0)
    field, data = process.sample(800, torch.Generator().manual_seed(0))
    assert float((data * (1 - mask)).abs().max()) == 0
    centre = field[:, 0, 7, 8]
    for lag in (0, 2, 5):
        expected = 2.0 * float(kernel("gaussian", torch.tensor(lag / 3.0)))
        assert abs(float((centre * field[:, 0, 7, 8 - lag]).mean()) - expected) < 0.35


def test_the_most_likely_length_is_the_true_one():
    lengths = []
    for true in (2.0, 4.0, 8.0):
        mask = torch.ones(1, 1, 96, 96)
        parameters = [torch.full((1, 1, 1, 1), value) for value in (true, 1.0)]
        few = torch.zeros_like(mask)
        few[..., ::5, ::7] = 1
        process = make_process(["matern32"], *parameters, few, 0.04 * mask)
        field = process.sample(1, torch.Generator().manual_seed(3))[0]
        y = field + 0.2 * torch.randn(field.shape, generator=torch.Generator().manual_seed(4))
        seen = (torch.rand(field.shape, generator=torch.Generator().manual_seed(5)) < 0.4).float()
        fit = most_likely(y * seen, seen, 0.04 * mask, torch.tensor([True]), kind="matern32")
        lengths.append(float(fit.length_px) / true)
    assert 0.6 < np.median(lengths) < 1.6
    assert max(lengths) < 2.5 and min(lengths) > 0.4  # noqa: PT018


def test_nine_in_ten_errors_lie_within_the_interval():
    """On a frame drawn from a Gaussian process with counting noise known by its variance."""
    parameters = [torch.full((1, 1, 1, 1), value) for value in (5.0, 1.0)]
    thin = torch.zeros(1, 1, 64, 64)
    thin[..., ::9, ::9] = 1
    field = make_process(["matern32"], *parameters, thin, thin + 1).sample(1, torch.Generator().manual_seed(6))[0]
    frame = field[0, 0].numpy().astype(float)
    rng = np.random.default_rng(0)
    scan = Measurement(frame + 0.3 * rng.standard_normal(frame.shape), rng.random(frame.shape) < 0.2, read_noise=0.3)
    result = reconstruct(scan, "gp", device="cpu")
    assert result.sigma is not None
    inside = np.abs(result.image - frame) < 1.645 * result.sigma
    assert 0.83 < inside.mean() < 0.96


def test_a_batch_gives_what_each_scan_gives():
    frames = [np.add.outer(np.sin(np.arange(24) / k), np.cos(np.arange(30) / 3)) for k in (2, 6)]
    scans = [measure(f, scan_path("random", f.shape, 0.3, rng=k), rng=k) for k, f in enumerate(frames)]
    for one, scan in zip(reconstruct(scans, "gp", device="cpu", samples=2), scans, strict=True):
        alone = reconstruct(scan, "gp", device="cpu", samples=2)
        np.testing.assert_allclose(one.image, alone.image, atol=2e-3)
        assert one.info["kind"] == alone.info["kind"]


@pytest.mark.parametrize(
    "options", [{"kind": "mattern32"}, {"length_px": 0}, {"samples": -1}, {"tolerance": 0}, {"iterations": 0}]
)
def test_bad_options(options):
    scan = measure(np.outer(np.arange(16.0), np.arange(16.0)), scan_path("random", (16, 16), 0.3, rng=0))
    with pytest.raises(InputError, match=next(iter(options))):
        reconstruct(scan, "gp", **options)


def test_steps_are_counted_for_each_scan_by_itself():
    frame = np.add.outer(np.sin(np.arange(24) / 4), np.cos(np.arange(30) / 3))
    scans = [measure(frame, scan_path("random", frame.shape, r, rng=0), peak_counts=50, rng=1) for r in (0.1, 0.7)]
    together = reconstruct(scans, "gp", samples=0, device="cpu")
    for one, scan in zip(together, scans, strict=True):
        alone = reconstruct(scan, "gp", samples=0, device="cpu")
        assert one.info["iterations"] == alone.info["iterations"] == len(one.trace["residual"]) - 1
    assert together[0].info["iterations"] != together[1].info["iterations"]
    assert reconstruct(scans[0], "gp", samples=0, iterations=1, device="cpu").info["iterations"] == 1


def test_as_many_samples_are_told_as_were_drawn():
    scan = measure(np.add.outer(np.arange(16.0), np.arange(16.0)), scan_path("random", (16, 16), 0.3, rng=0))
    assert [reconstruct(scan, "gp", samples=n, device="cpu").info["samples"] for n in (0, 3, 4)] == [0, 4, 4]


@pytest.mark.parametrize("method", ["gp", "pnp", "ksvd"])
def test_strong_unknown_noise_is_found_by_itself(method):
    """Counts of 3 and 5 in fields of 32 pixels: two thirds of the samples' variance is noise."""
    rows, cols = np.indices((96, 96)) // 32
    mean = 3.0 + 2 * ((rows + cols) % 2)
    counts = np.random.default_rng(0).poisson(mean)
    unknown, told = (Measurement(counts, counts >= 0, read_noise=noise) for noise in (0.0, 2.0))
    errors = [np.sqrt(np.mean((reconstruct(m, method, device="cpu").image - mean) ** 2)) for m in (unknown, told)]
    assert errors[0] < 1.15 * errors[1] < 0.7


def test_the_noise_is_that_of_the_samples_own_exposures():
    rng = np.random.default_rng(0)
    frame = gaussian_filter(rng.normal(size=(96, 96)), 3)
    frame = 8 + 2 * frame / frame.std()
    mask, exposure = rng.random(frame.shape) < 0.2, np.where(rng.random(frame.shape) < 0.5, 0.2, 5.0)
    scan = Measurement(rng.poisson(2 * exposure * frame) / exposure / 2, mask, exposure=exposure, counts_per_unit=2.0)
    found = reconstruct(scan, "gp", device="cpu")
    assert np.sqrt(np.mean((found.image - frame) ** 2)) < 0.8
    assert 0.85 < np.mean(np.abs(found.image - frame) < 1.645 * found.sigma) < 0.96
