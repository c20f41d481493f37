"""Patches, K-SVD and beta-process factor analysis."""

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch

from cs_recon import psnr, reconstruct
from cs_recon.classical.bpfa_gibbs import BetaProcessFactors
from cs_recon.classical.dictionary import matching_pursuit, update_atoms
from cs_recon.classical.patches import largest_projections, overcomplete_cosines, patch_grid, principal_atoms
from simulate import InputError, measure, scan_path

STRIPES = np.add.outer(np.sin(np.arange(48) * 2 * np.pi / 6), np.cos(np.arange(48) * 2 * np.pi / 8)) + 3.0


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("method", ["bpfa", "ksvd"])
def test_patches_fit_each_scan_of_a_batch(method):
    scans = [measure(STRIPES, scan_path("random", (48, 48), ratio, rng=1), peak_counts=80, rng=2)
             for ratio in (0.9, 0.06, 0.8)]  # fmt: skip
    options = {"bpfa": {"sweeps": 1, "samples": 1}, "ksvd": {"iterations": 1}}[method]
    together = reconstruct(scans, method, device="cpu", atoms=8, batch_size=3, **options)
    assert [one.info["side"] for one in together] == [8, 15, 8]
    for one, scan in zip(together, scans, strict=True):
        alone = reconstruct(scan, method, device="cpu", atoms=8, **options).image
        np.testing.assert_allclose(one.image, alone, atol=1e-3 * np.ptp(alone))


@pytest.mark.parametrize(
    ("shape", "side", "stride", "first"), [((10, 13), 4, 3, 0), ((8, 8), 8, 1, 0), ((21, 9), 5, 4, 2)]
)
def test_paste_is_the_adjoint_of_cut_and_mean_its_inverse(shape, side, stride, first):
    grid = patch_grid(shape, side, stride, first=first)
    image = random(2, 1, *shape)
    patches = random(2, len(grid.index), side * side, seed=1)
    torch.testing.assert_close((grid.cut(image) * patches).sum(), (image * grid.paste(patches)).sum())
    torch.testing.assert_close(grid.mean(grid.cut(image)), image)


def test_first_atoms_are_principal_components_then_cosines():
    patches = random(2, 200, 16)
    atoms = principal_atoms(patches, 30)
    torch.testing.assert_close(atoms[:, :16] @ atoms[:, :16].transpose(1, 2), torch.eye(16).double().expand(2, -1, -1))
    torch.testing.assert_close(atoms.norm(dim=-1), torch.ones(2, 30).double())
    energy = (patches @ atoms[:, :16].transpose(1, 2)).square().sum(1)
    assert bool((energy.diff(dim=1) <= 1e-9).all())
    assert len(overcomplete_cosines(4, 30)) >= 30
    projections = largest_projections(patches, atoms, 16)
    torch.testing.assert_close(projections @ atoms, patches)


def test_pursuit_finds_the_best_pair_of_orthogonal_atoms():
    """Against all pairs by brute force: greedy is exact where atoms are orthogonal and all pixels are seen."""
    atoms = torch.linalg.qr(random(16, 16))[0][None]
    data = random(1, 20, 16, seed=1)
    codes = matching_pursuit(data, torch.ones_like(data), atoms, 2, 1e-9)
    assert bool(((codes != 0).sum(-1) == 2).all())
    left = (data - codes @ atoms).square().sum(-1)[0]
    pairs = torch.stack([(data[0] - (data[0] @ atoms[0, p].T) @ atoms[0, p]).square().sum(-1)
                         for p in map(list, combinations(range(16), 2))])  # fmt: skip
    torch.testing.assert_close(left, pairs.min(0).values, rtol=1e-3, atol=1e-4)


def test_pursuit_stops_at_the_noise_and_sees_scanned_pixels_only():
    atoms = torch.linalg.qr(random(16, 16))[0][None]
    data = 0.1 * random(1, 50, 16, seed=2)
    assert not bool(matching_pursuit(data, torch.full_like(data, 50.0), atoms, 4, 1.0).abs().sum(-1).gt(0).all())
    weights = (torch.rand(data.shape, generator=torch.Generator().manual_seed(3)) < 0.6).double()
    changed = torch.where(weights > 0, data, torch.full_like(data, 7.0))
    codes = [matching_pursuit(x, weights * 1e4, atoms, 4, 1.0) for x in (data, changed)]
    torch.testing.assert_close(codes[0], codes[1])
    assert bool(((codes[0] != 0).sum(-1) <= ((weights > 0).sum(-1) // 3).clamp(min=1)).all())


def test_updating_atoms_lowers_the_misfit():
    data, weights = random(2, 60, 25), (random(2, 60, 25, seed=1) > 0).double()
    atoms = principal_atoms(random(2, 60, 25, seed=2), 12)
    codes = matching_pursuit(data, weights, atoms, 3, 0.1)
    misfits = [(weights * (data - codes @ atoms).square()).sum()]
    for _ in range(3):
        atoms, codes = update_atoms(data, weights, atoms, codes)
        misfits.append((weights * (data - codes @ atoms).square()).sum())
        torch.testing.assert_close(atoms.norm(dim=-1), torch.ones(2, 12).double())
    assert all(after < before for before, after in pairwise(misfits))


def sampler(data, weights, atoms, coefficients, unknown=False, seed=0):
    flags = torch.full((len(data),), unknown)
    return BetaProcessFactors(data, weights, atoms, coefficients, seed=seed, unknown_noise=flags)


def test_the_samplers_residual_is_what_it_says():
    data, weights = random(2, 40, 9), (random(2, 40, 9, seed=1).abs() * (random(2, 40, 9, seed=2) > 0)).double()
    factors = sampler(data, weights, principal_atoms(data, 6), 0.1 * random(2, 40, 6, seed=4))
    for _ in range(3):
        factors.sweep()
    expected = (weights * (data - factors.drawn())).reshape(-1, 9)
    torch.testing.assert_close(factors.residuals, expected)


def test_one_coefficient_has_the_posterior_of_the_closed_form():
    """One atom, held: the expected coefficient is the slab's ridge solution times the probability of use."""
    data, weights = random(1, 5, 9), torch.full((1, 5, 9), 4.0, dtype=torch.float64)
    atoms = torch.nn.functional.normalize(random(1, 1, 9, seed=1), dim=-1)
    factors = sampler(data, weights, atoms, torch.zeros(1, 5, 1, dtype=torch.float64))
    factors.use[:] = 0.3
    factors.coefficient_precision[:] = 2.0
    energy = torch.full((1, 5), 4.0, dtype=torch.float64)
    drawn = torch.stack([factors._draw_coefficients(0, energy) for _ in range(4000)])
    match = 4.0 * (data @ atoms[0, 0])
    odds = 0.3 / 0.7 * (2 / 6) ** 0.5 * torch.exp(match**2 / 12)
    use = odds / (1 + odds)
    torch.testing.assert_close(factors.means[..., 0], use * match / 6)
    torch.testing.assert_close((drawn != 0).double().mean(0), use, atol=0.03, rtol=0)
    torch.testing.assert_close(drawn.mean(0), use * match / 6, atol=0.05, rtol=0)


def test_the_sampler_infers_the_noise():
    atoms = principal_atoms(random(1, 300, 16), 16)[:, :3]
    codes = 3 * random(1, 600, 3, seed=1)
    data = codes @ atoms + 0.5 * random(1, 600, 16, seed=2)
    factors = sampler(data, torch.ones_like(data), atoms, codes, unknown=True)
    for _ in range(10):
        factors.sweep()
    assert float(factors.precision**-0.5) == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("method", ["bpfa", "ksvd"])
class TestOnARepeatedPattern:
    scan = measure(STRIPES, scan_path("random", STRIPES.shape, 0.3, rng=0), peak_counts=100, rng=0)

    def test_it_learns_the_pattern(self, method):
        result = reconstruct(self.scan, method, device="cpu")
        linear = reconstruct(self.scan, "linear")
        assert psnr(STRIPES, result.image) > psnr(STRIPES, linear.image) + 3
        dictionary, stride = result.features["dictionary"]
        assert dictionary.shape[0] == stride == 1
        assert dictionary.shape[-1] == result.info["side"]

    def test_a_batch_gives_what_each_scan_gives(self, method):
        other = measure(STRIPES[::-1].copy(), scan_path("random", STRIPES.shape, 0.3, rng=1), peak_counts=100, rng=1)
        together = reconstruct([self.scan, other], method, device="cpu", side=8, atoms=16)
        for one, scan in zip(together, (self.scan, other), strict=True):
            alone = reconstruct(scan, method, device="cpu", side=8, atoms=16)
            assert np.abs(one.image - alone.image).max() < 0.05 * np.ptp(STRIPES)

    @pytest.mark.parametrize("options", [{"atoms": 1}, {"side": 1}, {"side": 2.5}])
    def test_bad_options(self, method, options):
        with pytest.raises(InputError, match=next(iter(options))):
            reconstruct(self.scan, method, **options)


def test_another_seed_gives_another_sample_of_the_same():
    scan = TestOnARepeatedPattern.scan
    images = [reconstruct(scan, "bpfa", device="cpu", seed=seed, atoms=16).image for seed in (0, 0, 1)]
    np.testing.assert_array_equal(images[0], images[1])
    assert 0 < np.abs(images[0] - images[2]).mean() < 0.1
