"""Laws of the operator, the wavelets and the solvers: adjointness, closed forms, brute force."""

import numpy as np
import pytest
import pywt
import torch

from cs_recon import MaskedScan, OrthogonalWavelet, reconstruct
from cs_recon.fill import pyramid_fill
from cs_recon.ista import fista, ista, ista_step, shrink
from cs_recon.noise import estimate_noise
from cs_recon.wavelets import pad_to_multiple, soft_threshold
from simulate import InputError, Measurement, SceneConfig, Support, make_scene, measure, scan_path


@pytest.fixture
def scan():
    generator = torch.Generator().manual_seed(0)
    mask = (torch.rand((2, 1, 16, 24), generator=generator, dtype=torch.float64) < 0.4).double()
    weights = torch.rand(mask.shape, generator=generator, dtype=torch.float64) + 0.1
    return MaskedScan(mask, weights), generator


def random_like(scan):
    operator, generator = scan
    return torch.randn(operator.mask.shape, generator=generator, dtype=torch.float64)


def test_the_adjoint_is_the_adjoint(scan):
    operator, _ = scan
    x, y = random_like(scan), random_like(scan)
    torch.testing.assert_close((operator.A(x) * y).sum(), (x * operator.A_adjoint(y)).sum())


def test_the_pseudo_inverse_satisfies_moore_penrose(scan):
    operator, _ = scan
    x = random_like(scan)
    torch.testing.assert_close(operator.A(operator.A_dagger(operator.A(x))), operator.A(x))


def test_the_operator_agrees_with_deepinv(scan):
    deepinv = pytest.importorskip("deepinv")
    mask = scan[0].mask
    operator, x, z = MaskedScan(mask), random_like(scan), random_like(scan)
    physics = deepinv.physics.Inpainting(img_size=tuple(mask.shape[1:]), mask=mask)
    y = operator.A(x)
    torch.testing.assert_close(physics.A(x), y)
    torch.testing.assert_close(physics.A_adjoint(z), operator.A_adjoint(z))
    torch.testing.assert_close(physics.A_dagger(z), operator.A_dagger(z))
    torch.testing.assert_close(physics.prox_l2(z, y, 1.7), operator.prox_l2(z, y, 1.7))


def test_the_gradient_is_the_derivative_of_the_misfit(scan):
    operator, _ = scan
    x, y = random_like(scan).requires_grad_(), operator.A(random_like(scan))
    misfit = 0.5 * (operator.weights * (operator.A(x) - y) ** 2).sum()
    torch.testing.assert_close(operator.gradient(x.detach(), y), torch.autograd.grad(misfit, x)[0])


def test_prox_l2_minimises_its_objective(scan):
    operator, _ = scan
    x, y = random_like(scan), operator.A(random_like(scan))
    z = operator.prox_l2(x, y, 1.7).requires_grad_()
    objective = 0.85 * (operator.weights * (operator.A(z) - y) ** 2).sum() + 0.5 * ((z - x) ** 2).sum()
    assert torch.autograd.grad(objective, z)[0].abs().max() < 1e-12


@pytest.mark.filterwarnings("ignore:Level value of")
@pytest.mark.parametrize("name", ["haar", "db2", "sym4", "coif2", "db10"])
@pytest.mark.parametrize("levels", [1, 3])
def test_wavelets_equal_pywavelets(name, levels):
    x = np.random.default_rng(0).normal(size=(64, 48))
    ours = OrthogonalWavelet(name, levels).analysis(torch.from_numpy(x)[None, None])
    theirs = pywt.wavedec2(x, name, mode="periodization", level=levels)
    np.testing.assert_allclose(ours[0][0, 0], theirs[0], atol=1e-10)
    for mine, yours in zip(ours[1:], theirs[1:], strict=True):
        np.testing.assert_allclose(mine[0], np.stack(yours), atol=1e-10)


@pytest.mark.parametrize("name", ["haar", "sym4", "db10"])
def test_wavelets_are_orthogonal(name):
    x = torch.randn((2, 1, 32, 64), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    transform = OrthogonalWavelet(name, 3)
    coefficients = transform.analysis(x)
    torch.testing.assert_close(transform.synthesis(coefficients), x, atol=1e-9, rtol=0)
    torch.testing.assert_close(sum((c**2).sum() for c in coefficients), (x**2).sum())


def test_a_misspelt_wavelet_gets_the_nearest_name():
    with pytest.raises(InputError, match="did you mean 'sym4'"):
        OrthogonalWavelet("symm4")
    with pytest.raises(InputError, match="orthogonal"):
        OrthogonalWavelet("bior2.2")


def test_soft_threshold_is_the_prox_of_the_absolute_value():
    grid = torch.linspace(-5, 5, 100_001, dtype=torch.float64)
    for value in (-3.0, -0.4, 0.0, 0.7, 2.2):
        brute = grid[torch.argmin(0.5 * (grid - value) ** 2 + 0.9 * grid.abs())]
        assert soft_threshold(torch.tensor(value), 0.9).item() == pytest.approx(brute.item(), abs=1e-4)


def test_one_ista_step_on_full_data_is_the_closed_form():
    """With A the identity, the minimiser is the thresholded transform of the data, reached in one step."""
    y = torch.randn((1, 1, 32, 32), dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    transform, operator = OrthogonalWavelet("sym4", 2), MaskedScan(torch.ones_like(y))
    prox = shrink(transform, [0.3, 0.5])
    for start in (torch.zeros_like(y), 3 * y):
        torch.testing.assert_close(ista_step(start, lambda x: operator.gradient(x, y), prox, 1.0), prox(y))


def test_fista_and_ista_reach_the_same_minimum_and_satisfy_its_optimality(scan):
    operator = MaskedScan(scan[0].mask)
    y = operator.A(random_like(scan))
    transform = OrthogonalWavelet("haar", 3)
    prox = shrink(transform, [0.1] * 3)

    def gradient(x):
        return operator.gradient(x, y)

    *_, slow = ista(torch.zeros_like(y), gradient, [prox] * 4000)
    fast = next(x for i, x in enumerate(fista(torch.zeros_like(y), gradient, prox)) if i == 400)
    objectives = [
        float(0.5 * ((operator.A(x) - y) ** 2).sum() + 0.1 * sum(c.abs().sum() for c in transform.analysis(x)[1:]))
        for x in (slow, fast)
    ]
    assert objectives[0] == pytest.approx(objectives[1], rel=1e-6)
    torch.testing.assert_close(ista_step(fast, gradient, prox, 1.0), fast, atol=1e-4, rtol=0)


def test_fill_keeps_constants_and_needs_one_sample():
    mask = torch.zeros((1, 1, 33, 47))
    mask[0, 0, 5, 40] = 1
    torch.testing.assert_close(pyramid_fill(7 * mask, mask), torch.full_like(mask, 7))


def test_fill_is_linear_in_the_samples(scan):
    mask = scan[0].mask
    a, b = random_like(scan), random_like(scan)
    combined = 2 * pyramid_fill(mask * a, mask) - pyramid_fill(mask * b, mask)
    torch.testing.assert_close(pyramid_fill(mask * (2 * a - b), mask), combined)


def test_padding_is_a_multiple_and_keeps_the_image():
    x = torch.rand((1, 1, 33, 50))
    padded = pad_to_multiple(x, 16)
    assert padded.shape[-2:] == (48, 64)
    torch.testing.assert_close(padded[..., :33, :50], x)


@pytest.mark.parametrize("ratio", [0.1, 1.0])
def test_noise_is_estimated_from_the_samples(ratio):
    frame = make_scene(
        SceneConfig(shape=(256, 256), n_particles=20, diameter_nm=15, support=Support(texture=0)), rng=0
    ).frame
    noisy = frame + np.random.default_rng(0).normal(0, 0.2, frame.shape)
    scan = measure(noisy, scan_path("random", frame.shape, ratio, rng=0))
    assert estimate_noise(scan) == pytest.approx(0.2, rel=0.15)


def test_fista_stops_at_the_noise():
    scene = make_scene(
        SceneConfig(shape=(128, 128), n_particles=10, diameter_nm=10, support=Support(thickness_nm=100)), rng=0
    )
    scan = measure(scene.frame, scan_path("random", (128, 128), 0.5, rng=0), peak_counts=50, rng=0)
    result = reconstruct(scan, "fista", rule="discrepancy")
    residual = np.sqrt(np.mean((result.image - scan.values)[scan.mask] ** 2))
    expected = np.sqrt(np.mean(scan.noise_sigma(scene.frame)[scan.mask] ** 2))
    assert residual == pytest.approx(expected, rel=0.25)
    assert result.info["iterations"] == len(result.trace["objective"])


def test_fista_descends():
    scene = make_scene(SceneConfig(shape=(64, 64), n_particles=5, diameter_nm=10), rng=0)
    scan = measure(scene.frame, scan_path("random", (64, 64), 0.3, rng=0), peak_counts=50, rng=0)
    objective = reconstruct(scan, "fista", threshold=0.2).trace["objective"]
    assert objective[-1] < objective[0]  # it starts from the walk down to this threshold, near the minimum
    assert np.diff(objective).max() < 0.01 * objective[0]


def test_exposure_decides_which_sample_is_believed():
    """Two halves of a flat frame, alternating samples 0 and 1: the longer exposed samples win."""
    values = np.indices((32, 32)).sum(axis=0) % 2 * 1.0
    mask = np.ones((32, 32), bool)
    believed = reconstruct(Measurement(values, mask, exposure=np.where(values > 0, 10.0, 1.0)), "fista", threshold=3.0)
    equal = reconstruct(Measurement(values, mask), "fista", threshold=3.0)
    assert equal.image.mean() == pytest.approx(0.5, abs=0.02)
    assert believed.image.mean() > 0.8
