"""Arrangement of a frame's particles: distances, clusters, persistence and fractals by brute force, and bad input."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from skimage.segmentation import relabel_sequential

from segmentation.dispersion import (
    Window,
    agglomerate_dimension,
    alpha_persistence,
    box_counting,
    cluster_labels,
    dispersion,
    dispersion_figure,
    hard_core_points,
    mass_radius,
    voronoi_statistics,
)
from segmentation.dispersion.clusters import agglomerate_table
from segmentation.instances import Instances
from segmentation.measure import measure
from simulate.errors import InputError


def rectangles(seed=3, count=14, huge=False):
    labels, rng = np.zeros((60, 60), int), np.random.default_rng(seed)
    if huge:
        labels[1:50, 2:6] = labels[46:50, 2:40] = 40
    for label in range(1, count):
        row, col = rng.integers(0, 52, 2)
        labels[row : row + rng.integers(2, 8), col : col + rng.integers(2, 8)] = label
    return Instances(labels, pixel_size_nm=(0.5, 0.7))


def pixel_gap(particles, one, other):
    a, b = (np.argwhere(particles.labels == label) for label in (one, other))
    step = np.maximum(np.abs(a[:, None] - b) - 1, 0) * particles.pixel_size_nm
    return np.hypot(*step.reshape(-1, 2).T).min()


@pytest.mark.parametrize("huge", [False, True])
def test_surface_distances_and_contacts_are_brute_force(huge):
    particles, reach = rectangles(huge=huge), 2.0
    gaps = {pair: pixel_gap(particles, *pair) for pair in combinations(particles.ids.tolist(), 2)}
    found = dispersion(particles, envelopes=0, reach=reach)
    for label, nearest in zip(particles.ids, found.particles["nearest_surface_nm"], strict=True):
        assert nearest == pytest.approx(min(gap for pair, gap in gaps.items() if label in pair))
    contacts = dict(
        zip(zip(found.contacts["first"], found.contacts["second"], strict=True), found.contacts["gap_nm"], strict=True)
    )
    assert contacts == pytest.approx({pair: gap for pair, gap in gaps.items() if gap <= reach})
    degree = [sum(label in pair for pair in contacts) for label in particles.ids]
    assert found.particles["contacts"].tolist() == degree


@pytest.mark.parametrize("min_samples", [1, 2, 3, 5])
def test_clusters_are_brute_force_dbscan(min_samples):
    rng = np.random.default_rng(8)
    for _ in range(20):
        at = rng.random((60, 2))
        near = np.linalg.norm(at[:, None] - at, axis=2) <= 0.1
        pairs = np.array([pair for pair in combinations(range(60), 2) if near[pair]]).reshape(-1, 2)
        found = cluster_labels(60, pairs[rng.permutation(len(pairs))], min_samples)
        core = near.sum(axis=1) >= min_samples
        together = near & core[:, None] & core
        for _ in range(7):
            together = together @ together
        for i in range(60):
            cores = np.flatnonzero(near[i] & core)
            if core[i]:
                assert set(np.flatnonzero(core & (found == found[i]))) == set(np.flatnonzero(together[i]))
            elif len(cores):
                assert found[i] == found[cores[0]]
            else:
                assert found[i] == -1
        assert set(found[found >= 0]) == set(range(found.max() + 1))


def cech_persistence(at):
    """Reduce the boundary matrix of all simplices up to triangles, each at its smallest enclosing circle's radius."""
    simplices = [(0.0, (i,)) for i in range(len(at))]
    simplices += [(np.linalg.norm(at[i] - at[j]) / 2, (i, j)) for i, j in combinations(range(len(at)), 2)]
    for corners in combinations(range(len(at)), 3):
        a, b, c = sorted(np.linalg.norm(at[i] - at[j]) for i, j in combinations(corners, 2))
        s = (a + b + c) / 2
        circle = a * b * c / (4 * np.sqrt(s * (s - a) * (s - b) * (s - c)))
        simplices.append((c / 2 if a * a + b * b <= c * c else circle, corners))
    simplices.sort(key=lambda simplex: (simplex[0], len(simplex[1])))
    index, lowest, pairs = {corners: k for k, (_, corners) in enumerate(simplices)}, {}, {0: [], 1: []}
    for dies, corners in simplices:
        column = {index[face] for face in combinations(corners, len(corners) - 1) if face}
        while column and max(column) in lowest:
            column ^= lowest[max(column)]
        if column:
            lowest[max(column)] = column
            born, face = simplices[max(column)]
            if dies > born * (1 + 1e-9):
                pairs[len(face) - 1].append((born, dies))
    return sorted(pairs[0]), sorted(pairs[1])


@pytest.mark.parametrize("seed", range(6))
def test_persistence_is_that_of_the_whole_cech_complex(seed):
    at = np.random.default_rng(seed).random((11, 2))
    for found, expected in zip(alpha_persistence(at), cech_persistence(at), strict=True):
        np.testing.assert_allclose(found, np.array(expected).reshape(-1, 2))


def test_points_on_a_line_and_on_each_other_are_normal():
    turned = np.arange(6)[:, None] ** 2 * np.array([np.cos(0.3), np.sin(0.3)]) + 50
    components, holes = alpha_persistence(turned)
    np.testing.assert_allclose(components[:, 1], np.array([1, 3, 5, 7, 9]) / 2)
    assert holes.shape == (0, 2)
    cells = voronoi_statistics(turned, Window(100.0, 100.0))
    assert cells["coordination"].tolist() == [1, 2, 2, 2, 2, 1]
    assert cells["voronoi_at_border"].all()
    twice = np.vstack([np.random.default_rng(0).random((20, 2)), [[0.5, 0.5], [0.5, 0.5]]])
    assert len(alpha_persistence(twice)[0]) == 21
    assert alpha_persistence(twice)[0][0, 1] == 0
    assert (voronoi_statistics(twice, Window(1.0, 1.0))["coordination"] > 0).all()


def test_hexagonal_lattice_is_perfect():
    i, j = (index.ravel() for index in np.mgrid[:20, :24])
    at = np.column_stack([(i + j / 2) % 20, j * np.sqrt(3) / 2]) + 0.3
    found = voronoi_statistics(at, Window(20.2, 21.0))
    inner = ~found["voronoi_at_border"]
    assert inner.sum() > 300
    np.testing.assert_allclose(found["psi6"][inner], 1)
    assert (found["coordination"][inner] == 6).all()
    np.testing.assert_allclose(found["voronoi_area"][inner], np.sqrt(3) / 2)


def disks(at, radii, shape=(400, 400)):
    return pd.DataFrame(
        {"label": np.arange(len(at)) + 1, "x": at[:, 0], "y": at[:, 1], "equivalent_diameter_px": 2 * radii}
    ), shape


def test_known_arrangements_are_told_apart_from_chance():
    rng = np.random.default_rng(9)
    grid = np.stack(np.meshgrid(np.arange(12), np.arange(12)), -1).reshape(-1, 2) * 32.0 + 20
    clumps = np.repeat(rng.random((24, 2)) * 340 + 30, 6, axis=0) + rng.normal(size=(144, 2)) * 12
    for at, side in ((grid, 1), (clumps, -1)):
        table, shape = disks(at, np.full(144, 2.0))
        found = dispersion(table, window=shape, rng=0, envelopes=39)
        assert side * found.summary["clark_evans_z"] > 4
        for name in ("L", "g", "G", "F"):
            assert found.summary[f"hard_core_p_{name}"] == pytest.approx(1 / 40), name
        low, high = (found.curves[f"L_global_{end}_px"] for end in ("low", "high"))
        left = found.curves["L_px"] < low if side > 0 else found.curves["L_px"] > high
        assert left.any()


def test_fractal_dimension_of_rods_and_of_squares():
    for power, expected in ((1, 1), (2, 2)):
        clusters, at = [], []
        for index, side in enumerate((8, 16, 32, 64) if power == 1 else (4, 8, 16, 32)):
            grid = np.stack(np.meshgrid(np.arange(side), np.arange(side if power == 2 else 1)), -1).reshape(-1, 2) * 2
            at.append(grid.astype(float))
            clusters.append(np.full(len(grid), index))
        clusters, at = np.concatenate(clusters), np.vstack(at)
        table = agglomerate_table(clusters, at, np.ones(len(at)), np.zeros(len(at), bool), "px")
        # N touching disks in a row have the radius of gyration sqrt((N^2 - 1) / 3 + 1 / 2).
        if power == 1:
            n = table["particles"]
            np.testing.assert_allclose(table["radius_of_gyration_px"], np.sqrt((n**2 - 1) / 3 + 0.5))
        fit = agglomerate_dimension(table["particles"], table["radius_of_gyration_px"], table["primary_radius_px"])
        assert fit.dimension == pytest.approx(expected, abs=0.02)
        assert fit.prefactor == pytest.approx(np.sqrt(3) if power == 1 else 1.5, rel=0.08)
        assert fit.error < 0.02
    assert np.isnan(agglomerate_dimension(np.array([5, 5]), np.array([3.0, 3.0]), 1.0).dimension)


def test_dimensions_of_masks():
    carpet, cross = np.ones((1, 1), bool), np.ones((1, 1), bool)
    for _ in range(5):
        carpet = np.kron([[1, 1, 1], [1, 0, 1], [1, 1, 1]], carpet).astype(bool)
        cross = np.kron([[0, 1, 0], [1, 1, 1], [0, 1, 0]], cross).astype(bool)
    thirds = [1, 3, 9, 27, 81]
    assert box_counting(carpet, sizes=thirds).dimension == pytest.approx(np.log(8) / np.log(3))
    assert box_counting(np.pad(cross, 5), sizes=thirds).dimension == pytest.approx(np.log(5) / np.log(3))
    y, x = np.mgrid[-100:101, -100:101]
    disk = x**2 + y**2 <= 95**2
    assert mass_radius(disk).dimension == pytest.approx(2, abs=0.03)
    assert mass_radius(disk).prefactor == pytest.approx(np.pi, rel=0.1)
    assert mass_radius(np.pad(np.ones((1, 301), bool), 3)).dimension == pytest.approx(1, abs=0.05)
    assert mass_radius(cross).dimension == pytest.approx(np.log(5) / np.log(3), abs=0.12)
    assert np.isnan(mass_radius(np.ones((2, 2), bool)).dimension)
    with pytest.raises(InputError, match="no True pixel"):
        box_counting(np.zeros((9, 9), bool))
    with pytest.raises(InputError, match="expected bool"):
        mass_radius(np.ones((9, 9)))


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5])
def test_few_particles_all_at_the_border_in_one_line(n, tmp_path):
    labels = np.zeros((32, 64), int)
    for k in range(n):
        labels[0:4, 8 * k : 8 * k + 4] = k + 1
    for correction in ("border", "translation", "isotropic"):
        found = dispersion(labels, envelopes=5, rng=0, correction=correction)
        assert len(found.particles) == n
        assert found.summary["count"] == n
        assert found.summary["contacts"] == 0
        assert found.particles["nearest_surface_px"].dropna().tolist() == [4.0] * (n if n > 1 else 0)
        assert len(found.persistence) == max(n - 1, 0)
        assert (len(found.curves) > 0) == (n > 1)
    assert dispersion_figure(found, tmp_path / "few.png").stat().st_size > 10_000


def test_pixel_sizes_scale_everything_and_tables_are_disks():
    particles = replace(rectangles(), pixel_size_nm=None)
    plain = dispersion(particles, envelopes=9, rng=0)
    scaled = dispersion(particles, envelopes=9, rng=0, pixel_size_nm=0.5)
    for table in ("particles", "curves", "agglomerates", "persistence", "contacts"):
        one, other = getattr(plain, table), getattr(scaled, table)
        for name, same in zip(one.columns, other.columns, strict=True):
            factor = 0.25 if name.endswith("_px2") else 0.5 if name.endswith("_px") else 1
            np.testing.assert_allclose(one[name].astype(float) * factor, other[same].astype(float), rtol=1e-6)
    row = dispersion(measure(particles), window=particles.shape, pixel_size_nm=0.5, envelopes=0)
    np.testing.assert_allclose(row.particles["radius_nm"], scaled.particles["radius_nm"])
    first, second = (row.particles[["x_nm", "y_nm"]].to_numpy()[k] for k in (0, 1))
    assert np.linalg.norm(first - second) >= row.particles["nearest_centre_nm"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": None}, "window is None"),
        ({"window": (20, 400)}, "lie outside the window"),
        ({"correction": "none"}, "edge correction is 'none'"),
        ({"window": np.tri(400, dtype=bool), "correction": "isotropic"}, "rectangular"),
        ({"envelopes": -1}, "number of envelopes"),
        ({"min_samples": 0}, "min_samples"),
        ({"reach": -1.0}, "reach"),
        ({"reach": np.nan}, "reach"),
    ],
)
def test_bad_options_say_what_is_wrong(change, message):
    table, shape = disks(np.array([[10.0, 30.0], [40.0, 50.0]]), np.ones(2))
    with pytest.raises(InputError, match=message):
        dispersion(table, **({"window": shape, "envelopes": 0} | change))


def test_bad_tables_and_windows_say_what_is_wrong():
    table, shape = disks(np.array([[10.0, 30.0], [40.0, 50.0]]), np.ones(2))
    for bad in (table.drop(columns="x"), table.drop(columns="equivalent_diameter_px")):
        with pytest.raises(InputError, match="expected x, y and one of"):
            dispersion(bad, window=shape)
    with pytest.raises(InputError, match="no finite positive"):
        dispersion(table.assign(x=np.nan), window=shape)
    with pytest.raises(InputError, match="no finite positive"):
        dispersion(table.assign(x="left"), window=shape)
    with pytest.raises(InputError, match="of 2 frames; expected one"):
        dispersion(table.assign(frame=[0, 1]), window=shape)
    with pytest.raises(InputError, match="expected pixel_size_nm"):
        dispersion(table.rename(columns={"equivalent_diameter_px": "equivalent_diameter_nm"}), window=shape)
    with pytest.raises(InputError, match="expected the label map's"):
        dispersion(np.eye(9, dtype=int), window=(8, 9))
    with pytest.raises(InputError, match="room was found"):
        dispersion(np.arange(1, 401).reshape(20, 20).repeat(5, 0).repeat(5, 1), rng=0)


@pytest.mark.parametrize("side", [65, 100, 243])
def test_boxes_fit_a_mask_of_any_side(side):
    assert box_counting(np.ones((side, side), bool)).dimension == pytest.approx(2, abs=0.01)
    assert box_counting(np.ones((1, side), bool)).dimension == pytest.approx(1, abs=0.01)


def disks_beyond_a_frame(rng, radius=10.0, side=256, coverage=0.18):
    """Return a label map that cuts disks placed at random without overlap over a larger field, and their density."""
    field = Window(side + 4 * radius, side + 4 * radius)
    n = round(coverage * field.area / (np.pi * radius**2))
    centres = hard_core_points(np.full(n, radius), field, rng) - 2 * radius
    rows, cols = np.indices((side, side))
    labels = np.zeros((side, side), int)
    for number, (x, y) in enumerate(centres, start=1):
        labels[(cols - x) ** 2 + (rows - y) ** 2 < radius**2] = number
    return relabel_sequential(labels)[0], n / field.area


@pytest.mark.parametrize("given", ["labels", "whole ones", "places", "mask"])
def test_particles_that_the_frame_cuts_make_neither_density_nor_alarms(given):
    """Whether cut ones are told, left out, or unknown, and whether the frame or a mask cuts."""
    rng = np.random.default_rng(0)
    ratios, alarms = [], []
    rows, cols = np.indices((256, 256))
    mask = np.hypot(rows - 128, cols - 128) < 125
    for _ in range(80):
        labels, density = disks_beyond_a_frame(rng)
        table = measure(labels)
        if given == "labels":
            found = dispersion(labels, envelopes=39, rng=rng)
        elif given == "mask":
            seen = measure(relabel_sequential(labels * mask)[0])
            inside = mask[tuple((seen[["y", "x"]].to_numpy() + 0.5).astype(int).T)]
            found = dispersion(seen[inside], window=mask, envelopes=39, rng=rng)
        else:
            columns = list(table) if given == "whole ones" else ["x", "y", "equivalent_diameter_px"]
            kept = table.loc[~table["touches_border"], columns]
            found = dispersion(kept, window=labels.shape, envelopes=39, rng=rng)
        assert found.summary["edge_margin_px"] == pytest.approx(10, abs=0.5)
        ratios.append(found.summary["density_per_px2"] / density)
        alarms.append([found.summary[f"hard_core_p_{name}"] <= 0.05 for name in ("L", "G", "F")])
    assert np.mean(ratios) == pytest.approx(1, abs=0.05)
    # As many as chance allows with 80 arrangements: cut disks moved inwards give one in five by F.
    assert (np.mean(alarms, axis=0) <= 0.125).all()


def test_what_lies_beyond_a_mask_tells_nothing_within():
    """A window one pixel short of the frame shows what the frame shows."""
    labels, _ = disks_beyond_a_frame(np.random.default_rng(1))
    labels[:12, :12] = 0
    mask = np.ones(labels.shape, bool)
    mask[0, 0] = False
    labels = relabel_sequential(labels)[0]
    one, other = (dispersion(labels, window=window, envelopes=0) for window in (None, mask))
    for name in ("L_px", "G", "F"):
        shown = np.interp(one.curves["r_px"], other.curves["r_px"], other.curves[name])
        assert np.abs(shown - one.curves[name]).mean() < 0.03 * one.curves[name].max()
    assert other.summary["clark_evans"] == pytest.approx(one.summary["clark_evans"], rel=0.02)
    # A mask that leaves nobody deep enough is taken whole.
    strip = np.zeros((64, 64), bool)
    strip[20:24] = True
    at = pd.DataFrame({"x": [5.0, 30.0, 50.0], "y": 20.0, "equivalent_diameter_px": 8.0})
    assert dispersion(at, window=strip, envelopes=0).summary["edge_margin_px"] == 0
