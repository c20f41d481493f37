"""Functions of distance against spatstat's numbers and closed forms, and what chance alone would give."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from segmentation.dispersion import (
    Window,
    clark_evans,
    distance_curves,
    global_envelope,
    hard_core_points,
    pair_curves,
)
from segmentation.dispersion.envelopes import arranged
from simulate.errors import InputError

GOLDEN = json.loads((Path(__file__).parent / "data" / "dispersion_spatstat.json").read_text())
CORRECTIONS = ("border", "isotropic", "translation")
R = np.linspace(0, 0.5, 513)
EVERY = slice(None, None, 32)
PART = np.ones((200, 300), bool)
PART[100:, :100] = False


def golden(name):
    return np.array(GOLDEN[name], dtype=float)


def points():
    return np.column_stack([golden("x"), golden("y")])


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_k_is_spatstats(correction):
    found = pair_curves(points(), Window(3.0, 2.0), R, correction)["K"][EVERY]
    np.testing.assert_allclose(found, golden(f"K_{correction}"), rtol=1e-8)


@pytest.mark.parametrize("correction", ["isotropic", "translation"])
def test_pair_correlation_is_spatstats(correction):
    found = pair_curves(points(), Window(3.0, 2.0), R, correction)["g"][EVERY]
    np.testing.assert_allclose(found[1:], golden(f"g_{correction}")[1:], rtol=2e-3)


def test_nearest_neighbours_and_empty_space_are_spatstats():
    found = distance_curves(points(), Window(3.0, 2.0), R, n_probes=400)
    for name, tolerance in {"G": 1e-9, "F": 1e-3, "J": 0.03}.items():
        known = np.isfinite(golden(name)) & np.isfinite(found[name][EVERY])
        assert known.sum() >= 9
        np.testing.assert_allclose(found[name][EVERY][known], golden(name)[known], atol=tolerance)
    assert clark_evans(points(), Window(3.0, 2.0))["clark_evans"] == pytest.approx(golden("clark_evans")[0], rel=1e-8)


def test_an_l_shaped_window_is_spatstats():
    window = Window(3.0, 2.0, PART)
    inside = points()[window.contains(points())]
    assert len(inside) == GOLDEN["part_n"][0]
    for correction in ("border", "translation"):
        found = pair_curves(inside, window, R, correction)["K"][EVERY]
        # spatstat has the overlap of the window's shifts on a grid of 128 pixels.
        np.testing.assert_allclose(found[1:], golden(f"part_K_{correction}")[1:], rtol=0.01)
    np.testing.assert_allclose(distance_curves(inside, window, R)["G"][EVERY], golden("part_G"), atol=1e-9)


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_random_points_have_k_of_a_disk_and_g_of_one(correction):
    rng, r = np.random.default_rng(1), np.linspace(0, 0.25, 41)
    window = Window(1.0, 1.0)
    runs = [pair_curves(rng.random((300, 2)), window, r, correction) for _ in range(60)]
    k, g = (np.mean([run[name] for run in runs], axis=0) for name in "Kg")
    np.testing.assert_allclose(k[10:], np.pi * r[10:] ** 2, rtol=0.03)
    np.testing.assert_allclose(g[10:-4], 1, atol=0.05)


def test_random_points_have_equal_g_and_f_of_a_poisson_process():
    rng, r = np.random.default_rng(2), np.linspace(0, 0.05, 21)
    runs = [distance_curves(rng.random((400, 2)), Window(1.0, 1.0), r) for _ in range(40)]
    for name in "GF":
        mean = np.mean([run[name] for run in runs], axis=0)
        np.testing.assert_allclose(mean, 1 - np.exp(-400 * np.pi * r**2), atol=0.015)


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_thomas_process_has_its_closed_form(correction):
    kappa, mu, sigma, rng = 40, 8, 0.03, np.random.default_rng(4)
    r, around = np.linspace(0, 0.2, 41), 5 * sigma
    k, g, pairs = 0, 0, 0
    for _ in range(150):
        parents = rng.random((rng.poisson(kappa * (1 + 2 * around) ** 2), 2)) * (1 + 2 * around) - around
        children = np.repeat(parents, rng.poisson(mu, len(parents)), axis=0)
        children = children + sigma * rng.normal(size=children.shape)
        children = children[((children > 0) & (children < 1)).all(axis=1)]
        found = pair_curves(children, Window(1.0, 1.0), r, correction, bandwidth=0.01)
        # Weighted by the squared number, so that the mean estimates the process's K without bias.
        squared = len(children) * (len(children) - 1)
        k, g, pairs = k + squared * found["K"], g + squared * found["g"], pairs + (kappa * mu) ** 2
    excess = np.exp(-(r**2) / (4 * sigma**2))
    np.testing.assert_allclose(k[8:] / pairs, (np.pi * r**2 + (1 - excess) / kappa)[8:], rtol=0.08)
    np.testing.assert_allclose(g[4:-3] / pairs, (1 + excess / (4 * np.pi * sigma**2 * kappa))[4:-3], rtol=0.1)


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_square_lattice_has_k_in_steps(correction):
    x, y = np.meshgrid(np.arange(30) + 0.5, np.arange(30) + 0.5)
    lattice = np.column_stack([x.ravel(), y.ravel()])
    k = pair_curves(lattice, Window(30.0, 30.0), np.arange(4) * 0.9, correction)["K"][:3]
    # The pairs of points, not the points, are counted against n (n - 1); the isotropic one means turned lattices.
    expected = np.array([0, 0, 8]) * (1 if correction == "border" else 900 / 899)
    np.testing.assert_allclose(k, expected, rtol={"isotropic": 0.03}.get(correction, 1e-9))


def test_mask_of_all_pixels_is_the_rectangle():
    whole, mask = Window(3.0, 2.0), Window(3.0, 2.0, np.ones((40, 60), bool))
    for correction in ("border", "translation"):
        one, other = (pair_curves(points(), window, R, correction)["K"] for window in (whole, mask))
        np.testing.assert_allclose(one, other, rtol=1e-9 if correction == "translation" else 0.05)
    assert mask.area == whole.area
    assert mask.perimeter == pytest.approx(whole.perimeter, rel=0.05)


def test_large_masks_covariance_is_binned_but_right():
    mask = np.zeros((2600, 2600), bool)
    mask[200:2200, 400:2400] = True
    window, shift = Window(26.0, 26.0, mask), np.linspace(0, 19, 7)
    np.testing.assert_allclose(window.shifted_overlap(shift, -shift), (20 - shift) ** 2, atol=0.05)


def test_isotropic_correction_refuses_masks_and_unknown_names():
    with pytest.raises(InputError, match="rectangular"):
        pair_curves(points(), Window(3.0, 2.0, PART), R, "isotropic")
    with pytest.raises(InputError, match="did you mean 'border'"):
        pair_curves(points(), Window(3.0, 2.0), R, "boarder")
    with pytest.raises(InputError, match="at least 2"):
        pair_curves(points()[:1], Window(3.0, 2.0), R)
    with pytest.raises(InputError, match="at least 2"):
        distance_curves(points()[:1], Window(3.0, 2.0), R)
    with pytest.raises(InputError, match="no True pixel"):
        Window(1.0, 1.0, np.zeros((4, 4), bool))


def test_functions_end_where_everything_is_near_the_border():
    r = np.linspace(0, 0.4, 21)
    at = np.array([[0.05, 0.5], [0.06, 0.5], [0.9, 0.1]])
    found = pair_curves(at, Window(1.0, 1.0), r, "border") | distance_curves(at, Window(1.0, 1.0), r)
    for name in ("K", "L", "g", "G", "J"):
        assert np.isfinite(found[name][r < 0.099]).all()
        assert np.isnan(found[name][r > 0.101]).all()


def test_hard_core_disks_do_not_overlap_and_fill_the_window_evenly():
    rng, window, radius = np.random.default_rng(5), Window(3.0, 2.0, PART), 0.02
    draws = [hard_core_points(np.full(250, radius), window, rng) for _ in range(40)]
    assert [len(one) for one in draws] == [250] * 40
    assert min(pdist(at).min() for at in draws) >= 2 * radius
    assert window.contains(np.vstack(draws)).all()
    upper = (np.vstack(draws)[:, 1] < 1).sum()
    assert upper == pytest.approx(10_000 * 3 / 5, abs=4 * np.sqrt(10_000 * 0.24))
    assert hard_core_points(np.empty(0), window, rng).shape == (0, 2)


def test_disks_of_any_sizes_do_not_overlap_nor_those_beyond_the_border():
    rng, field = np.random.default_rng(13), np.array([3.0, 2.0])
    radii = np.append(rng.uniform(0.01, 0.03, 600), [0.4, 0.7])
    at = arranged(radii, *field, rng)
    assert (at >= 0).all()
    assert (at < field).all()
    apart = np.abs(at[:, None] - at)
    distance = np.linalg.norm(np.minimum(apart, field - apart), axis=2) + 9 * np.eye(len(at))
    assert (distance >= radii[:, None] + radii - 1e-12).all()


def test_hard_core_disks_are_as_dense_at_the_border_as_elsewhere():
    """Where nothing lay beyond the border, disks at a coverage of 0.4 would crowd there: 1.4 times as many."""
    rng, radius = np.random.default_rng(12), 0.05
    at = np.vstack([hard_core_points(np.full(round(0.4 / (np.pi * radius**2)), radius), Window(1.0, 1.0), rng)
                    for _ in range(200)])  # fmt: skip
    rim = Window(1.0, 1.0).border_distances(at) < radius
    assert rim.mean() == pytest.approx(1 - (1 - 2 * radius) ** 2, abs=0.015)


def test_hard_core_disks_that_find_no_room_say_so():
    with pytest.raises(InputError, match="30 particles cover 94% of the window"):
        hard_core_points(np.full(30, 0.1), Window(1.0, 1.0), np.random.default_rng(0))


@pytest.mark.parametrize("name", ["L", "g", "G"])
def test_false_alarms_are_as_frequent_as_asked_for(name):
    rng, r, window, radii = np.random.default_rng(6), np.linspace(0, 0.2, 16), Window(1.0, 1.0), np.full(40, 0.03)
    p = []
    for _ in range(120):
        patterns = [hard_core_points(radii, window, rng) for _ in range(20)]
        if name == "G":
            runs = [distance_curves(at, window, r, n_probes=4)["G"] for at in patterns]
        else:
            runs = [pair_curves(at, window, r)[name] for at in patterns]
        p.append(global_envelope(runs[0], np.array(runs[1:]))[2])
    assert 1 <= (np.array(p) <= 0.05).sum() <= 14  # 6 expected, standard deviation 2.4
    assert np.mean(p) == pytest.approx(0.525, abs=0.1)


def test_global_envelope_is_left_if_and_only_if_p_is_small():
    rng = np.random.default_rng(7)
    for trial in range(200):
        curves = rng.normal(size=(39, 10)) + np.linspace(0, 9, 10)
        observed = rng.normal(size=10) + np.linspace(0, 9, 10) + (2 if trial % 2 else 0)
        observed[3] = curves[5, 4] = np.nan
        low, high, p = global_envelope(observed, curves)
        used = np.isfinite(low)
        assert used.sum() == 8
        outside = (observed[used] < low[used] - 1e-9) | (observed[used] > high[used] + 1e-9)
        assert outside.any() == (p <= 0.05)
    low, high, p = global_envelope(np.full(4, np.nan), np.zeros((9, 4)))
    assert np.isnan([*low, *high, p]).all()


@pytest.mark.parametrize("alpha", [0.0, 1.0, np.nan])
def test_an_alpha_that_is_no_probability(alpha):
    with pytest.raises(InputError, match="alpha is"):
        global_envelope(np.zeros(4), np.ones((19, 4)), alpha)


@pytest.mark.parametrize(
    ("n", "spread", "coverage"), [(20, 0.8, 0.4), (60, 0.8, 0.15), (5, 0.8, 0.4), (400, 0.0, 0.45)]
)
def test_disks_of_very_different_sizes_find_room(n, spread, coverage):
    """A few large ones by chance more would leave none."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        radii = np.exp(spread * rng.normal(size=n))
        side = np.sqrt(np.pi * np.square(radii).sum() / coverage)
        assert len(hard_core_points(radii, Window(side, side), rng)) == n


def test_a_distance_where_curves_hardly_vary_does_not_decide():
    """There a hundred of its own standard deviations are a ten-thousandth of those elsewhere."""
    curves = np.random.default_rng(8).normal(size=(99, 10))
    curves[:, 0] *= 1e-6
    observed = curves.mean(axis=0)
    observed[0] += 1e-4
    assert global_envelope(observed, curves)[2] > 0.05
    observed[0] += 9
    assert global_envelope(observed, curves)[2] == 0.01


@pytest.mark.parametrize("side", [1.0, 3.0, 8.0])
def test_distances_to_the_border_of_a_mask_of_long_pixels(side):
    mask = np.ones((30, 30), bool)
    mask[0, 0] = False
    window = Window(30.0, 30 * side, mask)
    at = np.array([[15.5, 15.5 * side], [28.5, 15.5 * side], [15.5, 0.5 * side], [15.5, 2.5 * side]])
    expected = [14.5, 1.5, 0.5 * side, min(2.5 * side, 14.5)]
    np.testing.assert_allclose(window.border_distances(at), expected, atol=0.25)


@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_the_inner_part_of_a_mask_of_long_pixels_is_that_of_its_rectangle(side):
    mask = np.ones((48, 48 // side), bool)
    mask[24, 24 // side] = False
    deep, corner = Window(48.0, 48.0, mask).inner(2.0)
    centres = (np.argwhere(np.ones_like(mask))[:, ::-1] + 0.5) * (side, 1)
    expected = (Window(48.0, 48.0).border_distances(centres) >= 2) & (np.hypot(*(centres - (24.5, 24.5)).T) > 6)
    away = np.hypot(*(centres - (24.5, 24.5)).T) > 6
    assert corner == (0, 0)
    np.testing.assert_array_equal(deep.mask.ravel()[away], expected[away])


def test_disks_find_room_in_a_small_part_of_a_mask():
    mask = np.zeros((2048, 2048), bool)
    mask[700:748, 300:348] = True
    centres = hard_core_points(np.full(40, 2.0), Window(2048.0, 2048.0, mask), np.random.default_rng(0))
    assert Window(2048.0, 2048.0, mask).contains(centres).all()
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=2)[np.triu_indices(40, 1)]
    assert apart.min() >= 4
    assert np.ptp(centres, axis=0).min() > 38
