"""Laws of the classical solvers: minima against closed forms, batches against single scans, automatic parameters."""

import numpy as np
import pytest
import torch

from cs_recon import MaskedScan, OrthogonalWavelet, psnr, reconstruct
from cs_recon.admm import admm
from cs_recon.classical.automatic import _at, _crossing, _lowest, choose, held_out
from cs_recon.classical.driver import log_grid
from cs_recon.classical.iterate import misfit, run
from cs_recon.classical.smooth import solve_smooth
from cs_recon.classical.sparse import frame_solver, orthogonal_solver
from cs_recon.classical.total_variation import tv_solver
from cs_recon.stationary import StationaryWavelet
from cs_recon.wavelets import soft_threshold
from simulate import InputError, Measurement, SceneConfig, make_scene, measure, scan_path

SOLVERS = {"ista": "threshold", "fista": "threshold", "admm-wavelet": "threshold", "admm-dct": "threshold",
           "iht": "threshold", "tv": "weight", "cls": "smoothness"}  # fmt: skip
CONVEX = {name: parameter for name, parameter in SOLVERS.items() if name != "iht"}
FRAMES = [make_scene(SceneConfig(shape=(48, 56), n_particles=6, diameter_nm=9), rng=seed).frame for seed in (1, 2)]


def scan_of(frame, ratio=0.3, seed=0, **options):
    return measure(frame, scan_path("random", frame.shape, ratio, rng=seed), rng=seed, **options)


def problem(shape=(12, 10), ratio=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.rand((2, 1, *shape), generator=generator, dtype=torch.float64) < ratio).double()
    weights = torch.rand(mask.shape, generator=generator, dtype=torch.float64) / 2 + 0.5
    y = mask * torch.randn(mask.shape, generator=generator, dtype=torch.float64)
    return MaskedScan(mask, weights), y


def full(value, like):
    return like.new_full((len(like), 1, 1, 1), value)


def solved(solver, scan, y, parameter, iterations=1500):
    return run(solver(scan, y, full(parameter, y), (torch.zeros_like(y),)), y, iterations, 0.0)


def test_admm_on_the_identity_is_soft_thresholding():
    y = torch.randn((1, 1, 8, 8), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    iterates = admm((0 * y,), lambda x: x, lambda q: (y + 2 * q) / 3, lambda z: soft_threshold(z, 0.4 / 2), 2.0)
    x = next(state[0] for index, (state, _) in enumerate(iterates) if index == 200)
    torch.testing.assert_close(x, soft_threshold(y, 0.4))


def test_admm_goes_on_from_its_state_at_another_rho():
    scan, y = problem()
    solver = frame_solver(StationaryWavelet("haar", 2), 1.0)
    first = solved(solver, scan, y, 0.2)
    again = run(solver(scan, y, full(0.2, y), first.state), y, 2, 0.0)
    torch.testing.assert_close(again.x, first.x, atol=1e-6, rtol=0)


def test_smoothness_is_the_closed_form():
    """Against the normal equations, written out as a matrix."""
    scan, y = problem()
    rows, cols = y.shape[-2:]
    one = [np.diff(np.eye(n), axis=0) for n in (rows, cols)]
    laplacian = np.kron(one[0].T @ one[0], np.eye(cols)) + np.kron(np.eye(rows), one[1].T @ one[1])
    x = solved(solve_smooth, scan, y, 0.3, 200).x
    for index in range(2):
        weight = (scan.mask * scan.weights)[index].flatten().numpy()
        exact = np.linalg.solve(np.diag(weight) + 0.3 * laplacian @ laplacian, weight * y[index].flatten().numpy())
        np.testing.assert_allclose(x[index].flatten(), exact, atol=1e-8)


def test_total_variation_of_one_line_is_the_taut_string():
    """A step of full data: each side moves towards the other by lambda over its length."""
    y = torch.cat([torch.zeros(1, 1, 1, 6), torch.ones(1, 1, 1, 4)], dim=-1).double()
    expected = torch.cat([torch.full((6,), 0.3 / 6), torch.full((4,), 1 - 0.3 / 4)]).double()
    for anisotropic in (False, True):
        x = solved(tv_solver(anisotropic=anisotropic), MaskedScan(torch.ones_like(y)), y, 0.3).x
        torch.testing.assert_close(x.flatten(), expected, atol=1e-5, rtol=0)


def test_isotropic_and_anisotropic_total_variation_differ_on_a_diagonal():
    y = torch.from_numpy((np.add.outer(np.arange(16), np.arange(16)) > 15) * 1.0)[None, None]
    scan = MaskedScan(torch.ones_like(y))
    isotropic, anisotropic = (solved(tv_solver(anisotropic=flag), scan, y, 0.3, 800) for flag in (False, True))
    assert float(isotropic.objective[-1]) < 0.95 * float(anisotropic.objective[-1])


@pytest.mark.parametrize(
    "solver",
    [
        frame_solver(StationaryWavelet("haar", 2), 1.0),
        tv_solver(anisotropic=False),
        tv_solver(anisotropic=True),
        solve_smooth,
        orthogonal_solver(OrthogonalWavelet("haar", 1), 1.0, 1.0, accelerated=True),
    ],
    ids=["frame", "tv", "tv-anisotropic", "smooth", "fista"],
)
def test_no_image_nearby_has_a_lower_objective(solver):
    """The objective of a convex problem rises in every direction from its minimum."""
    scan, y = problem((16, 12), 0.6)
    solution = solved(solver, scan, y, 0.2, 1000)
    lowest = solution.objective[-1]
    generator = torch.Generator().manual_seed(5)
    for size in (1e-1, 1e-2):
        for _ in range(5):
            step = size * torch.randn(y.shape, generator=generator, dtype=y.dtype)
            # One iteration from a point tells the objective after at best a small descent from there.
            nearby = misfit(scan, solution.x + step, y) + _penalty(solver, scan, y, solution.x + step)
            assert (nearby > lowest - 1e-4).all()
    torch.testing.assert_close(
        misfit(scan, solution.x, y) + _penalty(solver, scan, y, solution.x), lowest, rtol=1e-3, atol=1e-4
    )


def _penalty(solver, scan, y, x):
    """The objective that the solver itself reports at `x`, without data: its first iterate may not move."""
    name = solver.__qualname__
    if "frame" in name:
        frame = StationaryWavelet("haar", 2)
        weights = frame.level_weights(x)
        return (0.2 * 2 * weights**2 * frame.analysis(x).abs()).sum(dim=(1, 2, 3))
    if "tv" in name:
        d = torch.stack([x.diff(dim=-2, append=x[..., -1:, :]), x.diff(dim=-1, append=x[..., -1:])])
        anisotropic = solver.__closure__ is not None and _flag(solver)
        return 0.2 * (d.abs().sum(dim=0) if anisotropic else d.norm(dim=0)).sum(dim=(1, 2, 3))
    if "smooth" in name:
        return 0.0 * misfit(scan, x, y) + 0.1 * _laplacian(x).square().sum(dim=(1, 2, 3))
    return 0.2 * OrthogonalWavelet("haar", 1).analysis(x)[1].abs().sum(dim=(1, 2, 3))


def _flag(solver):
    cells = dict(zip(solver.__code__.co_freevars, solver.__closure__, strict=True))
    penalty = cells["penalty"].cell_contents
    return dict(zip(penalty.__code__.co_freevars, penalty.__closure__, strict=True))["anisotropic"].cell_contents


def _laplacian(x):
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
    return 4 * x - padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1] - padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]


@pytest.mark.parametrize("method", SOLVERS)
def test_a_batch_gives_what_each_scan_gives_by_itself(method):
    scans = [scan_of(FRAMES[0], 0.3, peak_counts=20), scan_of(FRAMES[1], 0.3, seed=1)]
    together = reconstruct(scans, method)
    for scan, result in zip(scans, together, strict=True):
        alone = reconstruct(scan, method)
        assert np.abs(alone.image - result.image).max() < 0.02 * np.ptp(scan.samples)
        assert alone.info[SOLVERS[method]] == pytest.approx(result.info[SOLVERS[method]], rel=0.05)
        assert len(result.trace["objective"]) == result.info["iterations"]


@pytest.mark.parametrize("method", CONVEX)
def test_a_solver_descends(method):
    scan = scan_of(FRAMES[0], peak_counts=50)
    objective = np.array(
        reconstruct(scan, method, **{SOLVERS[method]: 0.05}, tolerance=0.0, iterations=60).trace["objective"]
    )
    assert len(objective) <= 60
    assert objective[-1] <= objective[0] * (1 + 1e-3)
    assert np.abs(np.diff(objective[-5:])).max() < 0.01 * objective[-1]


@pytest.mark.parametrize("method", SOLVERS)
def test_bad_options(method):
    scan = scan_of(FRAMES[0])
    for value in (-1.0, 0.0, np.nan, np.inf, "x"):
        with pytest.raises(InputError, match=SOLVERS[method]):
            reconstruct(scan, method, **{SOLVERS[method]: value})
    with pytest.raises(InputError, match="iterations is 0"):
        reconstruct(scan, method, iterations=0)
    with pytest.raises(InputError, match="tolerance"):
        reconstruct(scan, method, tolerance=-1)
    with pytest.raises(InputError, match="did you mean 'held-out'"):
        reconstruct(scan, method, rule="heldout")


def test_a_diverging_solver_stops_says_so_and_returns_its_best_iterate():
    scan = scan_of(FRAMES[0])
    with pytest.warns(UserWarning, match="ista diverged on scan"):
        result = reconstruct(scan, "ista", threshold=0.1, step=2.7, tolerance=0.0)
    assert result.info["diverged"] is True
    assert result.info["iterations"] < 100
    assert np.isfinite(result.image).all()
    assert psnr(FRAMES[0], result.image) > psnr(FRAMES[0], np.full_like(FRAMES[0], FRAMES[0].mean()))


def test_one_diverging_scan_leaves_the_others_alone():
    y = torch.ones(2, 1, 4, 4)

    def iterates():
        x = torch.ones_like(y)
        while True:
            x = x * torch.tensor([4.0, 0.5])[:, None, None, None]
            yield (x,), x.square().sum(dim=(1, 2, 3))

    solution = run(iterates(), y, 100, 1e-3)
    assert solution.diverged.tolist() == [True, False]
    assert solution.x[0].max() == 4  # the first iterate was the best
    assert solution.x[1].max() < 1e-3
    assert len(solution.trace(0)["objective"]) < len(solution.trace(1)["objective"])


def test_a_scan_that_is_done_keeps_its_image():
    y = torch.ones(2, 1, 4, 4)

    def iterates():
        for count in range(1000):
            x = torch.stack(
                [torch.full((1, 4, 4), 1 + 0.5 ** min(count, 12) + (count > 12)), torch.full((1, 4, 4), 2.0**count)]
            )
            yield (x.float(),), torch.ones(2)

    solution = run(iterates(), y, 30, 1e-3)
    assert solution.iterations.tolist() == [11, 30]
    assert solution.x[0].max() < 1.01


def test_held_out_samples_are_a_tenth_of_the_samples():
    mask = (torch.rand((3, 1, 40, 50), generator=torch.Generator().manual_seed(0)) < 0.3).float()
    mask[2] = 1
    out = held_out(mask)
    torch.testing.assert_close(out.sum(dim=(1, 2, 3)), (0.1 * mask.sum(dim=(1, 2, 3))).round())
    assert ((out == 0) | (mask == 1)).all()
    torch.testing.assert_close(held_out(mask[:1]), out[:1])


def test_positions_on_the_grid_by_hand():
    residuals = torch.tensor([[3.0, 3.0, 0.5], [2.0, 2.5, 0.4], [1.0, 2.2, 0.3]])
    torch.testing.assert_close(_crossing(residuals, torch.tensor([1.5, 1.0, 1.0])), torch.tensor([1.5, 2.0, 0.0]))
    errors = torch.tensor([[4.0, 1.0, 3.0], [1.0, 2.0, 1.0], [4.0, 3.0, 2.0]])
    torch.testing.assert_close(_lowest(errors), torch.tensor([1.0, 0.0, 1.0 + 1 / 6]))
    grid = log_grid(8.0, 1.0, 4)
    assert grid == pytest.approx((8, 4, 2, 1))
    values = _at(torch.tensor([0.0, 1.5, 3.0]), grid, residuals).flatten()
    torch.testing.assert_close(values, torch.tensor([8.0, 8**0.5, 1.0]))


@pytest.mark.parametrize("method", SOLVERS)
def test_discrepancy_leaves_the_noise_as_residual(method):
    scan = scan_of(FRAMES[0], 0.5, peak_counts=50)
    image = reconstruct(scan, method, rule="discrepancy").image
    residual = np.sqrt(np.mean((image - scan.values)[scan.mask] ** 2))
    expected = np.sqrt(np.mean(scan.noise_sigma(FRAMES[0])[scan.mask] ** 2))
    assert residual == pytest.approx(expected, rel=0.25)


def test_a_scan_of_few_samples_goes_by_discrepancy():
    scan, y = problem((12, 10), 0.2)
    noise = torch.tensor([0.5, 0.5], dtype=torch.float64)
    walk = (log_grid(10.0, 0.01, 6), 10)
    for_few = [choose(solve_smooth, scan, y, noise, rule=rule, walk=walk)[0] for rule in ("held-out", "discrepancy")]
    torch.testing.assert_close(*for_few)


@pytest.mark.parametrize(("method", "parameter"), CONVEX.items())
def test_the_automatic_parameter_is_near_the_best(method, parameter):
    scan = scan_of(FRAMES[0], 0.3, peak_counts=30)
    automatic = psnr(FRAMES[0], reconstruct(scan, method).image)
    best = max(psnr(FRAMES[0], reconstruct(scan, method, **{parameter: v}).image) for v in (0.01, 0.1, 0.3, 1.0, 3.0))
    # Total variation keeps noisy samples as spikes at sparse sampling, so its residual meets the noise late.
    assert automatic > best - (2.0 if method == "tv" else 1.0)


def test_variance_weights_trust_the_quiet_half():
    """The dark half has fifty times less noise: weighted by it, the image follows its samples more, the others less."""
    truth = np.where(np.indices((48, 48))[1] < 24, 1.0, 50.0)
    scan = measure(truth, scan_path("random", truth.shape, 0.5, rng=0), peak_counts=50, rng=0)
    left_over = {}
    for weighting in ("exposure", "variance"):
        image = reconstruct(scan, "tv", weight=0.1, weighting=weighting).image
        left_over[weighting] = [
            np.std((image - scan.values)[half][scan.mask[half]]) for half in (np.s_[:, :22], np.s_[:, 26:])
        ]
    assert left_over["variance"][0] < 0.998 * left_over["exposure"][0]
    assert left_over["variance"][1] > 1.1 * left_over["exposure"][1]
    with pytest.raises(InputError, match="did you mean 'variance'"):
        reconstruct(scan, "tv", weighting="varianse")


def test_a_sampled_flat_frame_with_one_defect_is_no_trouble():
    values = np.zeros((16, 16))
    values[8, 8] = 1.0
    for method in SOLVERS:
        assert np.isfinite(reconstruct(Measurement(values, np.ones((16, 16), bool)), method).image).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", SOLVERS)
def test_cuda_agrees_with_the_cpu(method):
    scans = [scan_of(frame, peak_counts=100) for frame in FRAMES]
    for cpu, gpu in zip(*(reconstruct(scans, method, device=device) for device in ("cpu", "cuda")), strict=True):
        assert np.abs(cpu.image - gpu.image).max() < 0.02 * np.ptp(FRAMES[0])


@pytest.mark.parametrize("method", ["cls", "iht"])
def test_a_scan_that_is_done_waits_for_the_others_as_it_is(method):
    """Of very different scans together, each has the image that it has alone."""
    frame = 1 + np.sin(np.mgrid[:64, :64][1] / 5) * np.cos(np.mgrid[:64, :64][0] / 7)
    asked = ((0.5, 500.0), (0.05, 5.0), (0.2, None))
    scans = [measure(frame, scan_path("random", frame.shape, ratio, rng=1), peak_counts=counts, rng=2)
             for ratio, counts in asked]  # fmt: skip
    together = reconstruct(scans, method, device="cpu", batch_size=3)
    for one, scan in zip(together, scans, strict=True):
        alone = reconstruct(scan, method, device="cpu").image
        assert np.abs(one.image - alone).max() < 1e-4 * scan.samples.std()


def test_a_scan_that_is_done_leaves_the_same_state_alone_and_beside_others():
    scan, y = problem((20, 24), ratio=0.6)
    alone_scan = MaskedScan(scan.mask[:1], scan.weights[:1])
    harder = MaskedScan(scan.mask.clone(), scan.weights)
    harder.mask[1, :, 3:] = 0
    both, alone = (
        run(solve_smooth(s, s.A(data), full(1e-2, data), (torch.zeros_like(data),)), s.A(data), 30, 1e-2)
        for s, data in ((harder, y), (alone_scan, y[:1]))
    )
    assert both.iterations[0] == alone.iterations[0]
    for beside, by_itself in zip(both.state, alone.state, strict=True):
        torch.testing.assert_close(beside[:1], by_itself, rtol=1e-6, atol=1e-9)
