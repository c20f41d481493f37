"""The noise of untold counts by level: particles over vacuum are noisier than it, structure and read noise are not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cs_recon import read, reconstruct
from cs_recon.batch import make_batch
from cs_recon.io.write import write_sparse
from cs_recon.noise import estimate_noise_unexposed
from cs_recon.noise_levels import with_noise
from cs_recon.noise_models import inverse_stabilised_above, stabilised_above
from simulate import InputError, Measurement, SceneConfig, make_scene, measure, scan_path

SIDE = 256


def spheres(rng=0, n=16, height=20.0, vacuum=0.2):
    """Spheres of 12 to 32 pixels over next to nothing."""
    rng, y, x = np.random.default_rng(rng), *np.mgrid[:SIDE, :SIDE]
    frame = np.full((SIDE, SIDE), vacuum)
    for _ in range(n):
        radius, (row, col) = rng.uniform(6, 16), rng.uniform(10, SIDE - 10, 2)
        inside = np.clip(1 - ((y - row) ** 2 + (x - col) ** 2) / radius**2, 0, 1)
        frame = np.maximum(frame, vacuum + height * np.sqrt(inside))
    return frame


def counted(frame, scheme="random", ratio=1.0, rng=0):
    path = scan_path(scheme, frame.shape, ratio, rng=rng)
    return Measurement(np.random.default_rng(rng).poisson(frame), path.mask)


@pytest.mark.parametrize(
    ("scheme", "ratio", "within"),
    [
        ("random", 1.0, 0.2),
        ("random", 0.3, 0.5),
        ("random", 0.1, 0.75),
        ("poisson-disc", 0.3, 0.5),
        ("line-hop", 0.3, 0.5),
    ],
)
def test_counts_on_particles_are_noisier_than_those_of_vacuum(scheme, ratio, within):
    variances = []
    for seed in range(5):
        told = with_noise(counted(spheres(seed), scheme, ratio, rng=seed))
        variances.append(told.noise_sigma([0.2, 18.0]) ** 2)
    low, high = np.median(variances, axis=0)
    assert low == pytest.approx(0.2, abs=0.25)
    assert 18 * (1 - within) < high < 18 * (1 + 0.4 * within)


def test_what_it_tells_follows_unit_and_offset():
    scan = counted(spheres(), ratio=0.3)
    base = with_noise(scan)
    for scale, offset in ((1e6, 0.0), (1e-6, 3e-5), (2.0, -70.0)):
        told = with_noise(Measurement(scan.values * scale + offset, scan.mask))
        levels = np.array([0.2, 5.0, 20.0])
        np.testing.assert_allclose(
            told.noise_sigma(levels * scale + offset), scale * base.noise_sigma(levels), rtol=1e-5
        )


def test_longer_dwell_times_are_seen_through():
    """Counts of four times the dwell time, in the unit of one: the same noise at the exposure 1."""
    frame, rng = spheres(2), np.random.default_rng(5)
    exposure = np.where(np.arange(SIDE) % 3 == 0, 4.0, 1.0) * np.ones((SIDE, 1))
    values = rng.poisson(frame * exposure) / exposure
    high = with_noise(Measurement(values, np.ones(frame.shape, bool), exposure=exposure)).noise_sigma(18.0) ** 2
    assert high == pytest.approx(18, rel=0.25)


@pytest.mark.parametrize("ratio", [1.0, 0.3, 0.1])
@pytest.mark.parametrize("sigma", [0.0, 1.0])
def test_structure_and_read_noise_do_not_pass_for_counts(ratio, sigma):
    frame = spheres(3, vacuum=20.0) if sigma else spheres(3)
    noisy = frame + np.random.default_rng(0).normal(0, sigma, frame.shape)
    scan = Measurement(noisy, scan_path("random", frame.shape, ratio, rng=0).mask)
    told = with_noise(scan)
    assert told.noise_sigma(frame.max()) == pytest.approx(sigma, abs=0.35 if sigma else 0.03 * np.ptp(frame))


def bright_things(kind, size, rng):
    """Spots of a Gaussian, disks, or disks of fringes, over an even background; sigma 1."""
    y, x = np.mgrid[:SIDE, :SIDE]
    frame = np.full((SIDE, SIDE), 5.0)
    turn = rng.uniform(0, np.pi)
    for row, col in rng.uniform(20, SIDE - 20, (8 if kind == "fringes" else 80, 2)):
        away = np.hypot(y - row, x - col)
        if kind == "spots":
            frame += 50 * np.exp(-(away**2) / 2 / size**2)
        elif kind == "disks":
            frame = np.maximum(frame, 5 + 50 * np.clip(size - away + 0.5, 0, 1))
        else:
            wave = 47 + 37 * np.cos(2 * np.pi * (y * np.sin(turn) + x * np.cos(turn)) / size)
            frame = np.where(away < 20, wave, frame)
    return frame + rng.normal(0, 1, frame.shape)


@pytest.mark.parametrize("ratio", [1.0, 0.3, 0.1, 0.05])
@pytest.mark.parametrize(
    ("kind", "size"), [("spots", 1.0), ("spots", 1.5), ("disks", 5.0), ("fringes", 2.5), ("fringes", 3.5)]
)
def test_small_bright_things_do_not_pass_for_counts(kind, size, ratio):
    """Their own neighbours differ by more than noise: it was ten times too much."""
    found = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        frame = bright_things(kind, size, rng)
        found.append(float(with_noise(Measurement(frame, rng.random(frame.shape) < ratio)).noise_sigma(45)))
    assert np.median(found) < 1.5


def test_hot_pixels_do_not_set_the_noise_of_all():
    rng, frame = np.random.default_rng(0), spheres(3, vacuum=20.0)
    frame = np.where(rng.random(frame.shape) < 0.01, 400.0, frame + rng.normal(0, 1, frame.shape))
    for ratio in (1.0, 0.2):
        told = with_noise(Measurement(frame, rng.random(frame.shape) < ratio))
        assert told.noise_sigma(40) < 2


def test_even_frames_are_told_as_before():
    """A fair film under particles: of the commonest level everything is known."""
    scene = make_scene(SceneConfig(shape=(128, 128), n_particles=8, diameter_nm=16), rng=1).frame
    scan = measure(scene, scan_path("random", scene.shape, 0.3, rng=0), peak_counts=30, rng=0)
    untold = replace(scan, counts_per_unit=None, read_noise=0.0)
    assert with_noise(untold).read_noise == estimate_noise_unexposed(untold)
    assert with_noise(scan) is scan


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_a_few_samples_are_enough(count):
    mask = np.zeros((32, 32), bool)
    mask.ravel()[:count] = True
    told = with_noise(Measurement(np.indices((32, 32)).sum(0) * 1.0, mask))
    assert np.isfinite(told.noise_sigma([0.0, 60.0])).all()


@pytest.mark.parametrize(("ratio", "within_db"), [(1.0, 0.6), (0.3, 0.8)])
def test_particles_over_vacuum_are_seen_nearly_as_well_as_if_counts_were_told(ratio, within_db):
    frame = spheres(4)
    scan = counted(frame, ratio=ratio)
    known, untold = replace(scan, counts_per_unit=1.0), replace(scan, read_noise=estimate_noise_unexposed(scan))
    errors = [
        np.mean((reconstruct(one, "unrolled-ista", device="cpu").image - frame) ** 2) for one in (known, scan, untold)
    ]
    lost, before = 10 * np.log10(np.array(errors[1:]) / errors[0])
    assert lost < within_db < before


@pytest.mark.parametrize("counts", [5.0, 20.0])
def test_a_full_scan_of_untold_counts_is_denoised_nearly_as_well_as_one_of_told_ones(counts):
    """By one noise for all, BM3D left that of the particles in: 9 dB worse."""
    frame = spheres(6, height=counts, vacuum=0.01 * counts)[:128, :128]
    scan = Measurement(np.random.default_rng(0).poisson(frame), np.ones(frame.shape, bool))
    told, found = (reconstruct(one, "full-scan", device="cpu") for one in (replace(scan, counts_per_unit=1.0), scan))
    assert found.info["stabilised"]
    lost = 10 * np.log10(np.mean((found.image - frame) ** 2) / np.mean((told.image - frame) ** 2))
    assert lost < 2


@pytest.mark.parametrize("read_noise", [0.0, 0.5, 4.0])
def test_what_is_stabilised_above_a_level_is_straight_below_it_and_comes_back(read_noise):
    arguments = 2.0, 7.0, read_noise
    values = torch.linspace(-20, 60, 801, dtype=torch.float64)
    there = stabilised_above(values, *arguments)
    steps = there.diff()
    assert (steps > 0).all()
    assert steps.max() < 1.02 * steps[0]
    back = inverse_stabilised_above(there, *arguments)
    torch.testing.assert_close(back[values < 6.5], values[values < 6.5])
    assert (back - values).abs().max() < 0.6  # the unbiased inverse is not the algebraic one
    noisy = 40 + torch.from_numpy(np.random.default_rng(0).normal(0, (33 / 2 + read_noise**2) ** 0.5, 200_000))
    assert stabilised_above(noisy, *arguments).std() == pytest.approx(1, abs=0.03)


def test_the_map_of_a_batch_is_by_level():
    scan = counted(spheres(1))
    batch = make_batch([scan], multiple=1)
    sigma = (batch.sigma[0, 0].double() * batch.scale[0, 0]).numpy()
    frame = spheres(1)
    assert np.median(sigma[frame < 1]) < 0.7
    assert np.median(sigma[frame > 15]) == pytest.approx(17.5**0.5, rel=0.2)


def test_an_estimate_is_known_but_not_told(tmp_path):
    """And is not written to files, from which it would be read as told."""
    frame = make_scene(SceneConfig(shape=(64, 64), n_particles=5), rng=0).frame
    told = measure(frame, scan_path("raster", frame.shape), peak_counts=50, rng=1)
    untold = replace(told, counts_per_unit=None)
    estimated = with_noise(untold)
    assert (told.noise_is_known, told.noise_is_told) == (True, True)
    assert (untold.noise_is_known, untold.noise_is_told) == (False, False)
    assert (estimated.noise_is_known, estimated.noise_is_told) == (True, False)
    assert with_noise(told) is told
    part = scan_path("random", frame.shape, 0.5, rng=0)
    assert [measure(scan, part).noise_is_told for scan in (told, estimated)] == [True, False]
    level = with_noise(
        Measurement(np.random.default_rng(0).normal(5, 1, (32, 32)), np.ones((32, 32), bool), black_level=4)
    )
    assert (level.counts_per_unit, level.black_level) == (None, 4)
    write_sparse(tmp_path / "level.csv", level)
    assert read(tmp_path / "level.csv").black_level == 4
    for name, scan in (("told", told), ("estimated", estimated)):
        write_sparse(tmp_path / f"{name}.npz", scan)
        again = read(tmp_path / f"{name}.npz")
        assert again.noise_is_known == scan.noise_is_told
    with pytest.raises(InputError, match="noise_is_estimated is 'yes'; expected a bool"):
        replace(told, noise_is_estimated="yes")
