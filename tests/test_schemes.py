"""Every registered scan scheme, by the same tests: a new one gets them free."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from scipy.spatial import KDTree

from simulate import InputError, ScanPath, scan_path, schemes
from simulate.schemes import (
    hilbert_curve,
    inclusion_probabilities,
    lissajous_frequencies,
    poisson_disc_mask,
    spiral_pitch_px,
)

SHAPES = [(64, 64), (96, 50), (33, 71)]
EXTREMES = [(8, 8), (8, 2000), (2000, 8), (9, 20001)]
RATIOS = [0.005, 0.02, 0.1, 0.37, 0.98, 1.0]


def smooth_prior(shape):
    rows, cols = np.ogrid[: shape[0], : shape[1]]
    return 1.1 + np.sin(rows / 5.0) * np.cos(cols / 7.0)


def scan(name, shape, ratio, rng=3):
    """Make a scan with whatever the scheme needs, or skip a ratio that is less than one line."""
    entry = schemes[name]
    if entry.granularity == "line" and ratio * shape[0] <= 0.5:
        with pytest.raises(InputError, match="one line"):
            scan_path(name, shape, ratio, rng=rng)
        pytest.skip("less than one line")
    return scan_path(name, shape, ratio, rng=rng, prior=smooth_prior(shape) if entry.needs_prior else None)


@pytest.mark.parametrize("shape", SHAPES + EXTREMES, ids=str)
@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("name", schemes.names)
class TestEveryScheme:
    def test_the_ratio_is_met_and_reported(self, name, ratio, shape):
        path = scan(name, shape, ratio)
        assert path.mask.shape == shape
        assert path.ratio == np.count_nonzero(path.mask) / path.mask.size
        pixels = path.mask.size
        allowed = {
            "pixel": max(0.5, 1 - ratio * pixels) / pixels,
            "line": 0.5 / shape[0],
            "chance": 5 * np.sqrt(ratio * (1 - ratio) / pixels) + 1 / pixels,
        }
        assert abs(path.ratio - ratio) <= allowed[schemes[name].granularity] + 1e-12

    def test_no_pixel_is_visited_twice_unless_the_scheme_says_so(self, name, ratio, shape):
        path = scan(name, shape, ratio)
        assert path.visits.sum() == path.n_positions
        if not schemes[name].revisits:
            assert path.visits.max() == 1

    def test_the_same_seed_gives_the_same_scan(self, name, ratio, shape):
        first, second = (scan(name, shape, ratio, rng=11) for _ in range(2))
        np.testing.assert_array_equal(first.rows, second.rows)
        np.testing.assert_array_equal(first.cols, second.cols)


@pytest.mark.parametrize("name", schemes.names)
class TestEachName:
    def test_another_seed_gives_another_scan_if_it_is_random(self, name):
        first, second = (scan(name, (64, 64), 0.2, rng=seed).flat for seed in (1, 2))
        assert np.array_equal(first, second) != schemes[name].random

    @pytest.mark.parametrize("shape", [(40, 60), (61, 37), (8, 300)], ids=str)
    def test_full_ratio_is_every_pixel(self, name, shape):
        assert scan(name, shape, 1.0, rng=0).mask.all()

    def test_a_prior_is_taken_only_by_those_that_need_it(self, name):
        prior = None if schemes[name].needs_prior else smooth_prior((64, 64))
        with pytest.raises(InputError, match="prior"):
            scan_path(name, (64, 64), 0.2, rng=0, prior=prior)


FINGERPRINT = """
import hashlib
import numpy as np
from simulate import scan_path, schemes
for entry in schemes:
    prior = np.arange(33 * 71.0).reshape(33, 71) if entry.value.needs_prior else None
    path = scan_path(entry.name, (33, 71), 0.2, rng=5, prior=prior)
    print(entry.name, hashlib.sha256(path.flat.tobytes()).hexdigest())
"""


def test_the_same_seed_gives_the_same_scan_in_another_process():
    run = subprocess.run([sys.executable, "-c", FINGERPRINT], capture_output=True, text=True, check=True)
    prints = dict(line.split() for line in run.stdout.splitlines())
    assert set(prints) == set(schemes.names)
    for entry in schemes:
        prior = np.arange(33 * 71.0).reshape(33, 71) if entry.value.needs_prior else None
        flat = scan_path(entry.name, (33, 71), 0.2, rng=5, prior=prior).flat
        assert hashlib.sha256(flat.tobytes()).hexdigest() == prints[entry.name], entry.name


def test_jittered_grid_covers_evenly():
    path = scan_path("jittered-grid", (128, 128), 0.1, rng=0)
    blocks = path.mask.reshape(8, 16, 8, 16).sum(axis=(1, 3))
    random = scan_path("random", (128, 128), 0.1, rng=0).mask.reshape(8, 16, 8, 16).sum(axis=(1, 3))
    assert blocks.var() < 0.5 * random.var()


def test_uniform_grid_is_a_lattice():
    path = scan_path("uniform-grid", (64, 96), 1 / 16)
    rows, cols = np.meshgrid(np.arange(2, 64, 4), np.arange(2, 96, 4), indexing="ij")
    np.testing.assert_array_equal(path.flat, (rows * 96 + cols).ravel())


def test_a_lattice_puts_its_sampling_noise_into_one_frequency():
    peaks = {}
    for name in ("uniform-grid", "jittered-grid"):
        mask = scan_path(name, (64, 64), 0.1, rng=0).mask
        power = np.abs(np.fft.fft2(mask)) ** 2 / mask.sum() ** 2
        power[0, 0] = 0
        peaks[name] = power.max()
    assert peaks["uniform-grid"] > 0.5 > 5 * peaks["jittered-grid"]


@pytest.mark.parametrize("shape", [(16, 16), (33, 71), (50, 96), (8, 301), (17, 8)], ids=str)
def test_the_hilbert_curve_passes_every_pixel_by_steps_to_neighbours(shape):
    curve = hilbert_curve(shape)
    np.testing.assert_array_equal(np.sort(curve), np.arange(shape[0] * shape[1]))
    steps = np.hypot(*np.diff(np.unravel_index(curve, shape), axis=1))
    # Only a square of side 2**n is passed without leaving the frame.
    assert (steps == 1).mean() > 0.9
    assert steps.mean() < 1.3
    if shape == (16, 16):
        assert steps.max() == 1


def test_pixels_along_the_hilbert_curve_are_those_of_random_with_less_travel():
    random, hilbert = (scan_path(name, (128, 128), 0.1, rng=4) for name in ("random", "hilbert"))
    np.testing.assert_array_equal(random.mask, hilbert.mask)
    # Neighbours on the curve are about one sample spacing apart, 1 / sqrt(ratio) = 3.2 pixels.
    assert hilbert.travel_px / hilbert.n_positions < 4
    assert hilbert.travel_px < 0.5 * random.travel_px


@pytest.mark.parametrize("ratio", [0.02, 0.1, 0.25])
def test_poisson_disc_keeps_its_distance(ratio):
    shape = (128, 128)
    mask, distance_px = poisson_disc_mask(shape, round(ratio * 128**2), np.random.default_rng(1))
    points = np.argwhere(mask.reshape(shape))
    nearest = KDTree(points).query(points, k=2)[0][:, 1].min()
    assert nearest >= distance_px - 1e-9
    # Of the hexagonal packing's distance, the densest that there is.
    assert 0.65 < distance_px / np.sqrt(2 / np.sqrt(3) / ratio) <= 1
    random = np.argwhere(scan_path("random", shape, ratio, rng=1).mask)
    assert distance_px > KDTree(random).query(random, k=2)[0][:, 1].min()


@pytest.mark.parametrize(("ratio", "most"), [(0.02, 0.15), (0.1, 0.2), (0.25, 0.25)])
def test_poisson_disc_has_few_low_frequencies(ratio, most):
    size = 256
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
    low = (frequency > 0) & (frequency < 0.5 * np.sqrt(ratio))
    level = {}
    for name in ("poisson-disc", "random"):
        mask = scan_path(name, (size, size), ratio, rng=2).mask
        level[name] = (np.abs(np.fft.fft2(mask)) ** 2)[low].mean() / (mask.size * ratio * (1 - ratio))
    assert level["random"] == pytest.approx(1, abs=0.2)
    assert level["poisson-disc"] < most


def test_poisson_disc_above_one_half_keeps_the_holes_apart():
    mask = scan_path("poisson-disc", (96, 96), 0.9, rng=0).mask
    holes = np.argwhere(~mask)
    assert KDTree(holes).query(holes, k=2)[0][:, 1].min() > 2


def test_line_hop_moves_by_at_most_one_row_and_stays_in_its_band():
    path = scan_path("line-hop", (64, 200), 0.125, rng=0)
    rows = path.rows.reshape(8, 200)
    assert np.abs(np.diff(rows, axis=1)).max() <= 1
    assert (rows // 8 == np.arange(8)[:, None]).all()


@pytest.mark.parametrize("shape", [(101, 101), (40, 160)], ids=str)
def test_spiral_is_archimedean(shape):
    path = scan_path("spiral", shape, 0.1)
    pitch = spiral_pitch_px(shape, path.n_positions)
    down, right = path.rows + 0.5 - shape[0] / 2, path.cols + 0.5 - shape[1] / 2
    radius, turns = np.hypot(down, right), np.arctan2(down, right) / (2 * np.pi)
    # r = pitch * theta / 2 pi: the radius less the turn's part is a whole number of pitches, to half a diagonal.
    off = (radius - pitch * turns + pitch / 2) % pitch - pitch / 2
    assert np.abs(off[radius > pitch]).max() < 0.75
    assert np.array_equal((path.rows[0], path.cols[0]), (shape[0] // 2, shape[1] // 2))


def test_spiral_runs_outwards_at_constant_speed_without_jumps():
    path = scan_path("spiral", (101, 101), 0.2)
    radius = np.hypot(path.rows - 50.0, path.cols - 50.0)
    # As far as the frame's edge cuts nothing off.
    n = int(np.argmax(radius > 48))
    assert np.hypot(np.diff(path.rows[:n]), np.diff(path.cols[:n])).max() < 2
    fit = np.polyfit(np.arange(n), radius[:n] ** 2, 1)
    assert np.abs(np.polyval(fit, np.arange(n)) - radius[:n] ** 2).max() < 0.05 * 48**2


@pytest.mark.parametrize("shape", [(64, 64), (40, 160)], ids=str)
def test_lissajous_is_two_cosines(shape):
    path = scan_path("lissajous", shape, 0.3)
    down, across = lissajous_frequencies(shape, int(path.mask.sum()))
    assert np.gcd(down, across) == 1
    t = np.linspace(0, 1, 200_000)
    rows = shape[0] / 2 * (1 + np.cos(2 * np.pi * down * t + np.pi / (2 * across)))
    cols = shape[1] / 2 * (1 + np.cos(2 * np.pi * across * t))
    centres = np.column_stack([path.rows, path.cols]) + 0.5
    away, _ = KDTree(np.column_stack([rows, cols])).query(centres)
    assert away.max() < 0.71 + 0.01
    # No part of the figure is left out before its end.
    last = np.flatnonzero(np.hypot(rows - centres[-1, 0], cols - centres[-1, 1]) < 0.71)[-1]
    end = min(last, int(0.9 * t.size))
    away, _ = KDTree(centres).query(np.column_stack([rows, cols])[:end])
    assert away.max() < 1


def test_lissajous_never_jumps_and_comes_back():
    path = scan_path("lissajous", (64, 64), 0.3)
    assert np.hypot(np.diff(path.rows), np.diff(path.cols)).max() < 1.5
    assert path.visits.max() > 1
    assert (np.diff(path.flat) != 0).all()


def test_radial_has_as_many_pixels_at_any_radius():
    path = scan_path("radial", (401, 401), 0.05)
    radius = np.hypot(path.rows - 200, path.cols - 200)
    rings = np.histogram(radius, np.arange(60, 201, 20))[0]
    np.testing.assert_allclose(rings, rings.mean(), rtol=0.05)
    angle = np.arctan2(path.rows - 200, path.cols - 200)[(radius > 60) & (radius < 190)]
    sectors = np.histogram(angle, np.linspace(-np.pi, np.pi, 9))[0]
    # But for one spoke more or less in a sector.
    np.testing.assert_allclose(sectors, sectors.mean(), atol=130)


def test_random_walk_jumps_only_when_trapped_and_prefers_its_direction():
    path = scan_path("random-walk", (64, 64), 0.7, rng=0)
    seen = np.ones((66, 66), dtype=bool)
    seen[1:-1, 1:-1] = False
    steps = np.column_stack([np.diff(path.rows), np.diff(path.cols)])
    jumps = np.abs(steps).max(axis=1) > 1
    assert jumps.any()
    for row, col, jump in zip(path.rows, path.cols, jumps, strict=False):
        seen[row + 1, col + 1] = True
        assert not jump or seen[row : row + 3, col : col + 3].all()
    straight = (steps[1:] * steps[:-1]).sum(axis=1) / np.prod(np.linalg.norm([steps[1:], steps[:-1]], axis=2), axis=0)
    assert straight[~jumps[1:] & ~jumps[:-1]].mean() > 0.3


@pytest.mark.parametrize("boxes", [(16, 16), (8, 32), (64, 4)], ids=str)
def test_sobol_has_one_point_in_each_elementary_box(boxes):
    mask = scan_path("sobol", (64, 64), 256 / 4096, rng=9).mask
    tall, wide = 64 // boxes[0], 64 // boxes[1]
    counts = mask.reshape(boxes[0], tall, boxes[1], wide).sum(axis=(1, 3))
    np.testing.assert_array_equal(counts, 1)


@pytest.mark.parametrize("name", ["sobol", "halton"])
def test_unshifted_sequences_are_scipys(name):
    from scipy.stats import qmc

    from simulate.kernels import schemes_sequences as kernels

    sampler = qmc.Sobol(2, scramble=False) if name == "sobol" else qmc.Halton(2, scramble=False)
    across, down = sampler.random(512).T
    shape = (900, 1100)
    expected = np.zeros(shape, dtype=bool)
    # A hair above, since the fractions of 3 are not exact in floating point.
    expected[(down * shape[0] + 1e-9).astype(int), (across * shape[1] + 1e-9).astype(int)] = True
    mask = getattr(kernels, name)(*shape, int(expected.sum()), np.zeros(2, dtype=np.int64))
    np.testing.assert_array_equal(mask.reshape(shape) == 1, expected)


def test_r2_steps_by_powers_of_the_plastic_number():
    from simulate.kernels import schemes_sequences as kernels

    plastic = np.roots([1, 0, -1, -1]).real.max()
    n = np.arange(512)
    expected = np.zeros((900, 1100), dtype=bool)
    expected[(900 * (n / plastic**2 % 1)).astype(int), (1100 * (n / plastic % 1)).astype(int)] = True
    mask = kernels.r2(900, 1100, int(expected.sum()), np.zeros(2, dtype=np.int64))
    np.testing.assert_array_equal(mask.reshape(900, 1100) == 1, expected)


@pytest.mark.parametrize("name", ["sobol", "halton", "r2"])
def test_low_discrepancy_covers_evenly(name):
    mask, random = (scan_path(scheme, (144, 144), 0.1, rng=0).mask for scheme in (name, "random"))
    blocks, chance = (m.reshape(9, 16, 9, 16).sum(axis=(1, 3)) for m in (mask, random))
    assert blocks.var() < 0.25 * chance.var()


def test_inclusion_probabilities_are_proportional_until_certain():
    weights = np.random.default_rng(0).pareto(1.0, (40, 50))
    weights[:, :5] = 0
    probability = inclusion_probabilities(weights, 600)
    assert probability.sum() == pytest.approx(600)
    assert probability.max() == 1
    free = (probability < 1) & (weights > 0)
    scale = probability[free] / weights[free]
    np.testing.assert_allclose(scale, scale[0])
    assert (weights[probability == 1] * scale[0] >= 1 - 1e-12).all()
    assert (probability[:, :5] == 0).all()


def test_variable_density_visits_each_pixel_with_its_probability():
    weights = np.random.default_rng(0).pareto(1.0, (16, 20))
    weights[:, :3] = 0
    probability = inclusion_probabilities(weights, 64)
    runs = 2000
    rng = np.random.default_rng(1)
    visits = np.zeros((16, 20), dtype=int)
    for _ in range(runs):
        visits += scan_path("variable-density", (16, 20), 0.2, rng=rng, prior=weights).mask
    assert (visits[probability == 0] == 0).all()
    assert (visits[probability == 1] == runs).all()
    free = (probability > 0) & (probability < 1)
    score = (visits - runs * probability)[free] / np.sqrt(runs * probability * (1 - probability))[free]
    assert np.abs(score).max() < 4.5


@pytest.mark.parametrize("ties", [1, 1000, 4095])
def test_variable_density_is_exact_with_ties_and_tiny_weights(ties):
    weights = np.full((64, 64), 1e-300)
    weights.flat[:ties] = 1.0
    for ratio in (0.01, 0.25, 1.0):
        path = scan_path("variable-density", (64, 64), ratio, rng=0, prior=weights)
        assert path.n_positions == round(ratio * 4096)


def test_variable_density_says_what_it_can_reach():
    weights = np.zeros((32, 32))
    weights[:8] = 1
    with pytest.raises(InputError, match=r"at most 0\.25"):
        scan_path("variable-density", (32, 32), 0.3, rng=0, prior=weights)
    assert scan_path("variable-density", (32, 32), 0.25, rng=0, prior=weights).mask[:8].all()


@pytest.mark.parametrize(
    "prior",
    [np.ones((32, 31)), -np.ones((32, 32)), np.full((32, 32), np.nan), np.full((32, 32), "a"), np.ones((32, 32)) * 1j],
)
def test_a_bad_prior_is_refused(prior):
    with pytest.raises(InputError, match="expected"):
        scan_path("variable-density", (32, 32), 0.1, rng=0, prior=prior)


@pytest.mark.parametrize("ratio", [0, -0.1, 1.01, float("nan"), float("inf"), "ten"])
def test_a_bad_ratio_is_refused(ratio):
    with pytest.raises(InputError, match="sampling ratio"):
        scan_path("random", (32, 32), ratio)


def test_a_misspelt_scheme_gets_the_nearest_name():
    with pytest.raises(InputError, match="did you mean 'random'"):
        scan_path("randm", (32, 32), 0.1)


@pytest.mark.parametrize("name", [entry.name for entry in schemes if entry.value.granularity == "line"])
def test_a_line_scheme_says_what_it_can_reach(name):
    with pytest.raises(InputError, match=r"at least 0\.0312"):
        scan_path(name, (32, 32), 0.001)


@pytest.mark.parametrize(
    "arguments",
    [
        {"rows": [0, 1], "cols": [0], "shape": (8, 8)},
        {"rows": [0, 8], "cols": [0, 0], "shape": (8, 8)},
        {"rows": [-1], "cols": [0], "shape": (8, 8)},
        {"rows": [0.5], "cols": [0], "shape": (8, 8)},
        {"rows": [], "cols": [], "shape": (8, 8)},
        {"rows": [0], "cols": [0], "shape": (1, 64)},
        {"rows": [0], "cols": [0], "shape": (8, 8), "dwell_us": 0},
    ],
)
def test_a_bad_path_is_refused(arguments):
    with pytest.raises(InputError):
        ScanPath(**arguments)


def test_weights_of_any_range_give_the_exact_count():
    weights = np.full((16, 16), 1e-320)
    weights[3, 3] = 1.0
    path = scan_path("variable-density", (16, 16), 0.2, rng=0, prior=weights)
    assert path.n_positions == 51
    assert path.mask[3, 3]


def test_a_spiral_of_a_few_pixels_is_no_wider_than_the_frame():
    assert spiral_pitch_px((512, 512), 3) == 4 * 512
    assert scan_path("spiral", (512, 512), 1e-5).n_positions == 3
