"""Crystals against closed forms: projected cells, conserved intensities, streaks, counts and vacancies."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from scipy.special import erf

from simulate.crystal import CRYSTALS, ELEMENTS, Crystal, crystal_by_name
from simulate.crystal_config import PARTICLES, CrystalConfig
from simulate.crystal_frames import crystal_frame
from simulate.errors import InputError
from simulate.projection import project_columns

ZONES = [(0, 0, 1), (1, 0, 0), (1, 1, 0), (1, 1, 1), (1, -1, 2), (-3, 1, 2), (0, -2, 3), (2, 4, 0)]
PLAIN = CrystalConfig(background=0, probe_fwhm_nm=0.06, source_fwhm_nm=0, thermal_rms_nm=0)


def sides(cell):
    """Return the lengths of the cell's vectors and the angle between them, in degrees from 0 to 90."""
    a, b = np.linalg.norm(cell.vectors_nm, axis=1)
    return a, b, math.degrees(math.acos(abs(cell.vectors_nm[0] @ cell.vectors_nm[1]) / a / b))


def z(element):
    return (ELEMENTS.index(element) + 1) ** 1.7


def alone(**fields):
    """Return the sum, the centre of mass and the second moments of a frame, and its columns."""
    scene = crystal_frame(dataclasses.replace(PLAIN, **fields), rng=1)
    frame = scene.frame.astype(np.float64)
    y, x = np.indices(frame.shape)
    total = frame.sum()
    at = np.array([(frame * x).sum(), (frame * y).sum()]) / total
    off = np.stack([x - at[0], y - at[1]])
    return scene, total, at, np.einsum("iyx,jyx,yx->ij", off, off, frame) / total


def test_fcc_projects_to_a_square_a_centred_rectangle_and_a_hexagon():
    a = 0.4078
    square = project_columns("Au", (0, 0, 1))
    assert sides(square) == pytest.approx((a / 2, a / 2, 90))
    assert square.atoms_per_nm.tolist() == [[pytest.approx(1 / a)]]
    rectangle = project_columns("Au", (1, 1, 0))
    assert rectangle.area_nm2 == pytest.approx(a / math.sqrt(2) * a / 2)
    centred = rectangle.vectors_nm[0] - np.array([[-1], [1]]) * rectangle.vectors_nm[1]
    assert sorted(np.linalg.norm(centred, axis=1)) == pytest.approx([a / math.sqrt(2), a])
    assert centred[0] @ centred[1] == pytest.approx(0)
    assert rectangle.atoms_per_nm.tolist() == [[pytest.approx(math.sqrt(2) / a)]]
    assert sides(project_columns("Au", (1, 1, 1))) == pytest.approx((a / math.sqrt(6), a / math.sqrt(6), 60))


def test_silicon_shows_dumbbells_of_136_pm():
    cell = project_columns("Si", (1, 1, 0))
    assert cell.labels == ("Si", "Si")
    assert cell.spacing_nm == pytest.approx(0.5431 / 4) == 0.135775
    assert cell.area_nm2 == pytest.approx(0.5431**2 / math.sqrt(8))


def test_strontium_titanates_columns_have_their_summed_intensities():
    cell = project_columns("SrTiO3", (0, 0, 1))
    per_nm = dict(zip(cell.labels, cell.intensity_per_nm * 0.3905, strict=True))
    assert per_nm == {"Sr": pytest.approx(z("Sr")), "Ti-O": pytest.approx(z("Ti") + z("O")), "O": pytest.approx(z("O"))}
    assert sorted(cell.labels) == ["O", "O", "Sr", "Ti-O"]
    assert sides(cell) == pytest.approx((0.3905, 0.3905, 90))
    offsets = cell.positions_nm[1:] - cell.positions_nm[0]
    assert sorted(np.linalg.norm(offsets, axis=1)) == pytest.approx(0.3905 * np.array([0.5, 0.5, math.sqrt(0.5)]))
    other = project_columns("SrTiO3", z_exponent=2)
    assert other.intensity_per_nm.max() * 0.3905 == pytest.approx(38**2)


def test_graphene_is_a_honeycomb():
    cell = project_columns("graphene")
    assert cell.spacing_nm == pytest.approx(0.246 / math.sqrt(3))
    assert sides(cell) == pytest.approx((0.246, 0.246, 60))
    assert (cell.atoms_per_nm * 0.335).ravel().tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("zone_axis", ZONES, ids=str)
@pytest.mark.parametrize("name", CRYSTALS)
class TestEveryCrystalAndZone:
    def test_no_atom_is_lost(self, name, zone_axis):
        cell, crystal = project_columns(name, zone_axis), CRYSTALS[name]
        density = len(crystal.basis) / crystal.volume_nm3
        assert cell.atoms_per_nm.sum() / cell.area_nm2 == pytest.approx(density)

    def test_the_columns_are_where_the_atoms_project(self, name, zone_axis):
        cell, crystal = project_columns(name, zone_axis), CRYSTALS[name]
        beam = np.array(zone_axis) @ crystal.matrix_nm
        np.testing.assert_allclose(cell.axes @ cell.axes.T, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(cell.axes[2], beam / np.linalg.norm(beam))
        steps = np.array(list(itertools.product(range(-1, 2), repeat=3)))
        for element, at in crystal.basis:
            flat = (np.array(at) + steps) @ crystal.matrix_nm @ cell.axes[:2].T
            holds = [k for k, label in enumerate(cell.labels) if element in label.split("-")]
            fractions = (flat[:, None] - cell.positions_nm[holds]) @ np.linalg.inv(cell.vectors_nm)
            miss = np.linalg.norm((fractions - fractions.round()) @ cell.vectors_nm, axis=2).min(axis=1)
            assert miss.max() < 0.01

    def test_the_cell_is_the_shortest(self, name, zone_axis):
        a, b = project_columns(name, zone_axis).vectors_nm
        assert abs(a @ b) <= a @ a / 2 + 1e-9
        assert a @ a <= b @ b + 1e-9
        assert a[1] == 0 < b[1]


def test_only_repeats_of_all_columns_make_the_cell_smaller():
    square = [("Au", (0, 0, 0)), ("Au", (0.5, 0, 0)), ("Pt", (0, 0.5, 0))]
    assert sides(project_columns(Crystal(0.4 * np.eye(3), [*square, ("Pt", (0.5, 0.5, 0))]))) == (0.2, 0.4, 90)
    assert sides(project_columns(Crystal(0.4 * np.eye(3), [*square, ("Pd", (0.5, 0.5, 0))]))) == (0.4, 0.4, 90)
    # One of the two vectors that complete [17 11 -23] to a basis is far longer than the shortest.
    skew = project_columns("Au", (17, 11, -23), tolerance_nm=1e-4)
    assert skew.area_nm2 == pytest.approx(0.4078**2 / 4 / math.sqrt(17**2 + 11**2 + 23**2))
    assert abs(skew.vectors_nm[0] @ skew.vectors_nm[1]) <= skew.vectors_nm[0] @ skew.vectors_nm[0] / 2 + 1e-9


def test_the_cell_does_not_depend_on_how_the_crystal_is_written():
    primitive = Crystal(0.4078 / 2 * (1 - np.eye(3)), [("Au", (0, 0, 0))])
    # [uvw] = [011] of the primitive cell is a half of [211] of the cubic one.
    for zone, cubic in (((1, 0, 0), (0, 1, 1)), ((1, 1, -1), (0, 0, 1)), ((0, 1, 1), (2, 1, 1))):
        first, second = project_columns(primitive, zone), project_columns("Au", cubic)
        assert sides(first) == pytest.approx(sides(second))
        assert first.intensity_per_nm.tolist() == pytest.approx(second.intensity_per_nm.tolist())
    assert sides(project_columns("Au", (2, 2, 0))) == sides(project_columns("Au", (1, 1, 0)))


@pytest.mark.parametrize("pixel_size_nm", [0.006, 0.02, 0.05, 0.09])
def test_a_columns_intensity_is_conserved_whatever_its_place_and_the_pixel_size(pixel_size_nm):
    # A particle of few columns with room around it: all that is drawn stays in the frame.
    scene, total, at, _ = alone(shape=(128, 120), particle="sphere", thickness_nm=0.45, pixel_size_nm=pixel_size_nm)
    weight = scene.columns["intensity"]
    assert 1 <= len(weight) <= 5
    assert total == pytest.approx(2 * np.pi * scene.config.sigma_px**2 * weight.sum(), rel=3e-6)
    centre = [(weight * scene.columns[axis]).sum() / weight.sum() for axis in "xy"]
    # Sampling a narrow peak once a pixel shifts its centre of mass by up to exp(-2 pi^2 sigma^2) / pi.
    assert at == pytest.approx(centre, abs=1e-4 + math.exp(-2 * (np.pi * scene.config.sigma_px) ** 2) / np.pi)


def test_widths_add_in_quadrature():
    one = {"particle": "sphere", "thickness_nm": 0.3, "pixel_size_nm": 0.004, "shape": (200, 200)}
    scene, _, _, spread = alone(**one, probe_fwhm_nm=0.05, source_fwhm_nm=0.04, thermal_rms_nm=0.02)
    variance = (0.05**2 + 0.04**2) / (8 * math.log(2)) + 0.02**2
    places = np.stack([scene.columns["x"], scene.columns["y"]])
    apart = np.cov(places, aweights=scene.columns["intensity"], bias=True) if len(scene.columns) > 1 else 0
    # A pixel of width 1 adds a variance of 1 / 12.
    np.testing.assert_allclose(spread - apart, (variance / 0.004**2 + 1 / 12) * np.eye(2), rtol=1e-3, atol=0.05)


@pytest.mark.parametrize("tilt", [(40.0, 0.0), (0.0, -25.0), (30.0, 20.0)])
def test_a_tilted_column_is_the_probe_along_a_line(tilt):
    sparse = Crystal(np.diag([1.0, 1.0, 0.335]), [("C", (0, 0, 0))])
    config = dataclasses.replace(PLAIN, crystal=sparse, shape=(500, 500), pixel_size_nm=0.002, probe_fwhm_nm=0.04)
    scene = crystal_frame(dataclasses.replace(config, thickness_nm=3.35, tilt_mrad=tilt), rng=3)
    column = scene.columns[np.hypot(scene.columns["x"] - 250, scene.columns["y"] - 250).argmin()]
    # The frame is one cell, so that the columns in its neighbours are seen too.
    y, x = np.indices(scene.frame.shape, dtype=np.float64)
    direction = np.tan(np.array(tilt) * 1e-3)
    length = np.hypot(*direction) * 3.35 / 0.002
    ux, uy = direction / np.hypot(*direction)
    sigma = math.hypot(config.sigma_px, math.sqrt(1 / 12))
    expected = np.zeros_like(x)
    for i, j in itertools.product(range(-1, 2), repeat=2):
        dx, dy = x - column["x"] - 500 * i, y - column["y"] - 500 * j
        along, across = dx * ux + dy * uy, dy * ux - dx * uy
        line = erf((along + length / 2) / sigma / math.sqrt(2)) - erf((along - length / 2) / sigma / math.sqrt(2))
        expected += line / (2 * length) * np.exp(-(across**2) / 2 / sigma**2) / math.sqrt(2 * np.pi) / sigma
    expected *= 2 * np.pi * config.sigma_px**2 * column["intensity"]
    np.testing.assert_allclose(scene.frame, expected, atol=2e-3 * expected.max())


def test_a_foils_columns_stand_on_the_entrance_surface_and_a_particles_on_its_middle():
    for particle, moved in (("", 10 * math.tan(0.02) / 2 / 0.02), ("sphere", 0)):
        straight, tilted = (
            crystal_frame(CrystalConfig(thickness_nm=10, tilt_mrad=tilt, particle=particle, shape=(300, 300)), rng=0)
            for tilt in ((0.0, 0.0), (20.0, 0.0))
        )
        expected = set((straight.columns["x"] + moved).round(6).tolist())
        found = set(tilted.columns["x"].round(6).tolist())
        assert len(expected & found) >= len(expected) - 1


@pytest.mark.parametrize(
    ("name", "zone_axis"), [("Au", (1, 1, 0)), ("Si", (0, 0, 1)), ("TiO2", (0, 0, 1)), ("graphene", (0, 0, 1))]
)
def test_a_frames_spectrum_peaks_at_the_reciprocal_lattice(name, zone_axis):
    config = CrystalConfig(name, zone_axis, shape=(384, 400), rotation_deg=17, texture=0, pixel_size_nm=0.016)
    scene = crystal_frame(config, rng=2)
    frame = (scene.frame - scene.frame.mean()) * np.hanning(384)[:, None] * np.hanning(400)
    c, s = math.cos(math.radians(17)), math.sin(math.radians(17))
    vectors = scene.cell.vectors_nm @ np.array([[c, s], [-s, c]]) / config.pixel_size_nm
    y, x = np.indices(frame.shape)

    def amplitude(g):
        return abs(np.sum(frame * np.exp(-2j * np.pi * (g[0] * x + g[1] * y))))

    strongest = np.abs(np.fft.fft2(frame)).max()
    strong = 0
    for h, k in ((1, 0), (0, 1), (1, 1), (1, -1), (2, 0)):
        g = np.array([h, k]) @ np.linalg.inv(vectors).T
        if np.hypot(*g) > 0.45 or amplitude(g) < 0.01 * strongest:
            continue
        strong += 1
        for off in itertools.product((-1, 0, 1), repeat=2):
            # A step of a third of a Fourier pixel away, the peak is lower.
            if any(off):
                assert amplitude(g + np.array(off) / 400 / 3) < amplitude(g)
    assert strong >= 2


def test_the_columns_fill_the_area():
    scene = crystal_frame(CrystalConfig("SrTiO3", (1, 1, 0), shape=(500, 400), rotation_deg=33), rng=4)
    expected = 500 * 400 * 0.02**2 / scene.cell.area_nm2 * len(scene.cell.positions_nm)
    assert len(scene.columns) == pytest.approx(expected, rel=0.03)
    for kind in ("Sr-O", "Ti", "O"):
        assert np.count_nonzero(scene.columns["element"] == kind) == pytest.approx(expected / 3, rel=0.05)


def test_every_column_is_seen_where_the_table_says():
    scene = crystal_frame(CrystalConfig("Au", (1, 1, 0), background=0, static_rms_nm=0.01, rotation_deg=10), rng=0)
    rows, cols = (np.round(scene.columns[axis]).astype(int) for axis in "yx")
    inner = (rows > 5) & (rows < 250) & (cols > 5) & (cols < 250)
    for row, col in zip(rows[inner], cols[inner], strict=True):
        patch = scene.frame[row - 4 : row + 5, col - 4 : col + 5]
        assert np.hypot(*(np.array(np.unravel_index(patch.argmax(), patch.shape)) - 4)) < 1.5


def test_a_wedge_gives_atoms_in_proportion_to_the_thickness_and_ends_in_vacuum():
    config = CrystalConfig("Au", shape=(200, 400), thickness_nm=4, wedge_mrad=(1107.149, 0.0), background=0)
    scene = crystal_frame(config, rng=0)
    columns, edge = scene.columns, (400 - 1) / 2 - 4 / 2 / 0.02
    thickness = 4 + 2 * 0.02 * (columns["x"] - (400 - 1) / 2)
    np.testing.assert_allclose(columns["thickness_nm"], thickness, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(columns["n_atoms"], np.floor(columns["thickness_nm"] / 0.4078 + 0.5))
    np.testing.assert_allclose(columns["intensity"], columns["n_atoms"] * 0.4078 / 4)
    assert columns["x"].min() >= edge
    np.testing.assert_array_equal(scene.labels[:, : int(edge)], 0)
    np.testing.assert_array_equal(scene.labels[:, int(edge) + 1 :], 1)


def test_vacancies_are_binomial():
    clean = CrystalConfig("SrTiO3", shape=(800, 800), thickness_nm=0.3905 * 40)
    config = dataclasses.replace(clean, vacancy_columns=0.4, vacancy_atoms=0.25)
    columns = crystal_frame(config, rng=1).columns
    n = len(columns)
    # With 40 or more sites nearly every affected column misses an atom.
    assert columns["vacancy"].mean() == pytest.approx(0.4, abs=4 * math.sqrt(0.24 / n))
    strontium = columns[columns["element"] == "Sr"]
    hit = strontium[strontium["vacancy"]]
    assert hit["n_atoms"].mean() == pytest.approx(30, abs=4 * math.sqrt(7.5 / len(hit)))
    assert hit["n_atoms"].var() == pytest.approx(7.5, rel=0.35)
    np.testing.assert_allclose(strontium["intensity"], strontium["n_atoms"] / 40)
    np.testing.assert_allclose(strontium["occupancy"], strontium["n_atoms"] / 40)
    np.testing.assert_array_equal(columns["vacancy"], columns["occupancy"] < 1)
    assert not crystal_frame(clean, rng=1).columns["vacancy"].any()


def test_vacancies_of_one_element_leave_the_others():
    config = CrystalConfig("SrTiO3", vacancy_columns=1, vacancy_atoms=1, vacancy_element="O", thickness_nm=0.3905 * 9)
    columns = crystal_frame(config, rng=1).columns
    atoms = {kind: set(columns["n_atoms"][columns["element"] == kind].tolist()) for kind in ("Sr", "Ti-O", "O")}
    assert atoms == {"Sr": {9}, "Ti-O": {9}, "O": {0}}
    ti = columns[columns["element"] == "Ti-O"]
    assert ti["intensity"][0] == pytest.approx(z("Ti") / z("Sr"))
    assert ti["occupancy"][0] == 0.5


@pytest.mark.parametrize("particle", PARTICLES)
@pytest.mark.parametrize("zone_axis", [(0, 0, 1), (1, 1, 1), (1, 2, 3)], ids=str)
def test_a_particle_holds_its_volume_of_atoms(particle, zone_axis):
    config = CrystalConfig("Au", zone_axis, particle=particle, thickness_nm=9, pixel_size_nm=0.03, shape=(600, 600))
    scene = crystal_frame(config, rng=5)
    # By Cauchy's theorem the surface is four mean projections, pi d^2 / 4 each.
    surface = math.pi * 9**2
    volumes = {
        "sphere": math.pi / 6 * 9**3,
        "cube": (surface / 6) ** 1.5,
        "octahedron": math.sqrt(2) / 3 * (surface / 2 / math.sqrt(3)) ** 1.5,
    }
    if particle in volumes:
        assert scene.columns["n_atoms"].sum() == pytest.approx(volumes[particle] * 4 / 0.4078**3, rel=0.04)
    assert (scene.labels > 0).any(axis=1).sum() < 600
    rows, cols = (np.round(scene.columns[axis]).astype(int) for axis in "yx")
    assert (scene.labels[rows, cols] == 1).mean() > 0.97


def test_a_cubic_particles_faces_are_those_of_its_crystal():
    config = CrystalConfig("Au", (0, 0, 1), particle="cube", thickness_nm=6, rotation_deg=45)
    scene = crystal_frame(dataclasses.replace(config, shape=(400, 400)), rng=0)
    # Along [001] the cube is a square whose edges are along <100>, as the projected cell's vectors are.
    edge = math.sqrt(math.pi * 36 / 6) / 0.02
    rows, cols = np.nonzero(scene.labels)
    assert np.ptp((cols + rows) / math.sqrt(2)) == pytest.approx(edge, abs=2)
    assert np.ptp((cols - rows) / math.sqrt(2)) == pytest.approx(edge, abs=2)
    assert len(rows) == pytest.approx(edge**2, rel=0.01)


def test_grains_have_their_own_rotations_and_do_not_overlap():
    scene = crystal_frame(CrystalConfig("Au", shape=(400, 400), n_grains=5), rng=6)
    assert set(scene.columns["grain"].tolist()) == set(np.unique(scene.labels).tolist()) == {1, 2, 3, 4, 5}
    rows, cols = (np.round(scene.columns[axis]).astype(int).clip(0, 399) for axis in "yx")
    assert (scene.labels[rows, cols] == scene.columns["grain"]).mean() > 0.97
    places = np.stack([scene.columns["x"], scene.columns["y"]], axis=1)
    apart = np.linalg.norm(places[:, None] - places, axis=2) + 1e9 * np.eye(len(places))
    assert apart.min() * 0.02 >= 0.7 * 0.2039 - 1e-9
    angles = set()
    for grain in range(1, 6):
        of_grain = places[scene.columns["grain"] == grain]
        gaps = of_grain[:, None] - of_grain
        near = gaps[np.abs(np.linalg.norm(gaps, axis=2) * 0.02 - 0.2039) < 1e-6]
        folded = np.unique(np.degrees(np.arctan2(near[:, 1], near[:, 0])).round(3) % 90)
        angles.add(round(float(folded[0]), 2))
    assert len(angles) == 5
    assert angles & {0.0, 90.0}


def test_static_displacements_have_their_width():
    config = CrystalConfig("Au", shape=(500, 500), static_rms_nm=0.015)
    moved = crystal_frame(config, rng=2).columns
    still = crystal_frame(dataclasses.replace(config, static_rms_nm=0.0), rng=2).columns
    gaps = np.stack([moved["x"][:, None] - still["x"], moved["y"][:, None] - still["y"]], axis=-1)
    nearest = np.take_along_axis(gaps, np.linalg.norm(gaps, axis=2).argmin(axis=1)[:, None, None], axis=1)[:, 0]
    inner = (np.abs(np.stack([moved["x"], moved["y"]]) - 250) < 240).all(axis=0)
    assert nearest[inner].std(axis=0) * 0.02 == pytest.approx([0.015, 0.015], rel=0.05)


def test_the_support_has_its_level_and_its_texture():
    config = CrystalConfig("Au", particle="sphere", thickness_nm=0.5, background=0.3, texture=0.1, shape=(256, 256))
    bare = crystal_frame(config, rng=0).frame[:, :90]
    assert bare.mean() == pytest.approx(0.3, rel=0.03)
    assert bare.std() == pytest.approx(0.03, rel=0.2)


def test_same_seed_same_bytes():
    config = CrystalConfig(
        "GaAs", (1, 1, 0), n_grains=3, vacancy_columns=0.2, static_rms_nm=0.005, tilt_mrad=(5.0, 3.0)
    )
    first, second = crystal_frame(config, rng=7), crystal_frame(config, rng=7)
    assert first.frame.tobytes() == second.frame.tobytes()
    assert first.columns.tobytes() == second.columns.tobytes()
    assert first.labels.tobytes() == second.labels.tobytes()
    assert first.frame.tobytes() != crystal_frame(config, rng=8).frame.tobytes()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pixel_size_nm": 0.11}, "at most 0.1019"),
        ({"crystal": "Si", "zone_axis": (1, 1, 0), "pixel_size_nm": 0.07}, "at most 0.06789"),
        ({"probe_fwhm_nm": 0}, "probe_fwhm_nm is 0; expected a finite number above 0"),
        ({"probe_fwhm_nm": 3}, "expected at most 2.04"),
        ({"tilt_mrad": (400.0, 0.0)}, "tilt_mrad blurs"),
        ({"tilt_mrad": (900.0, 0.0)}, "from -500 to 500"),
        ({"tilt_mrad": 3}, "two numbers"),
        ({"thickness_nm": float("nan")}, "thickness_nm"),
        ({"thickness_nm": 0.1}, "expected at least 0.204"),
        ({"vacancy_columns": 1.2}, "from 0 to 1"),
        ({"vacancy_element": "O"}, "one of Au"),
        ({"static_rms_nm": "much"}, "static_rms_nm is 'much'"),
        ({"n_grains": 0}, "from 1 to 100"),
        ({"particle": "sphre"}, "did you mean 'sphere'"),
        ({"particle": "sphere", "wedge_mrad": (100.0, 0.0)}, "slope of a foil"),
        ({"crystal": "SrTi03"}, "did you mean 'SrTiO3'"),
        ({"crystal": 79}, "crystal is a int"),
        ({"zone_axis": (0, 0, 0)}, "not all zero"),
        ({"zone_axis": (0.5, 0, 1)}, "three integers"),
        ({"zone_axis": (1, 1, -2, 0)}, "three integers"),
        ({"shape": (1, 100)}, "at least 8 x 8"),
    ],
)
def test_impossible_frames_are_refused(fields, message):
    with pytest.raises(InputError, match=message) as refused:
        CrystalConfig(**fields)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("vectors", "basis", "message"),
    [
        (np.ones((3, 3)), [("Au", (0, 0, 0))], "no volume"),
        (np.eye(2), [("Au", (0, 0, 0))], "shape"),
        (np.eye(3), [], "empty"),
        (np.eye(3), [("Zz", (0, 0, 0))], "unknown element"),
        (np.eye(3), [(119, (0, 0, 0))], "unknown element"),
        (np.eye(3), [("Au", (0, 0))], "fractional"),
        (np.eye(3), [("Au", (0, 0, 0)), ("Au", (1, 0, 0))], "listed twice"),
    ],
)
def test_impossible_crystals_are_refused(vectors, basis, message):
    with pytest.raises(InputError, match=message):
        Crystal(vectors, basis)


def test_crystals_are_equal_by_value_and_found_by_name():
    assert crystal_by_name("Fe") == Crystal(0.2866 * np.eye(3), [(26, (0, 0, 0)), ("Fe", (0.5, -0.5, 1.5))], "Fe")
    assert hash(CRYSTALS["Au"]) != hash(CRYSTALS["Pt"])
    assert len(ELEMENTS) == 118
    assert [ELEMENTS.index(symbol) + 1 for symbol in ("C", "Sr", "Ce", "Pt", "Au", "Og")] == [6, 38, 58, 78, 79, 118]
