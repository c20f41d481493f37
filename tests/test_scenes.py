"""Scenes against closed forms: volumes, areas, labels, materials, and the same seed giving the same bytes."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from simulate import (
    InputError,
    Probe,
    SceneConfig,
    Support,
    bodies,
    crystal_frame,
    make_scene,
    random_config,
    random_crystal,
)
from simulate.materials import MATERIALS, MODES
from simulate.scenes import _mean_square_diameter_nm2, sample_diameters_nm
from simulate.shapes import Body
from simulate.solids import Solids
from simulate.support import smooth_field

IDENTITY = np.eye(3)
FILM = {"support": Support(thickness_nm=0), "probe": Probe(fwhm_nm=0)}


def turned(seed):
    return Rotation.random(rng=seed).as_matrix()


def solid(body, turn, radius, centre=(320.0, 320.0), depth=1.0, inner=0.0):
    return Solids((body,), turn[None], np.array([centre]), np.array([radius]), np.array([depth]), np.array([inner]))


@pytest.mark.parametrize("radius", [3.0, 9.5, 40.0])
def test_a_spheres_integrated_depth_is_its_volume(radius):
    depth, _, _ = solid(Body(), turned(1), radius, centre=(50.3, 48.6)).draw((100, 100))
    assert depth.sum() == pytest.approx(4 / 3 * np.pi * radius**3, rel=5e-3)
    assert depth.max() == pytest.approx(2 * radius, rel=4e-2)


@pytest.mark.parametrize("name", ["ellipsoid", "cube", "octahedron", "truncated-octahedron", "decahedron", "rod"])
@pytest.mark.parametrize("seed", [1, 2])
def test_volume_outline_and_feret_are_those_drawn_in_any_orientation(name, seed):
    body, turn = bodies[name](np.random.default_rng(seed)), turned(seed)
    drawn = solid(body, turn, 100.0)
    depth, labels, areas = drawn.draw((640, 640))
    area, feret = body.outline(turn)
    assert depth.sum() == pytest.approx(body.volume * 1e6, rel=2e-3)
    assert areas[0] == np.count_nonzero(labels) == pytest.approx(area * 1e4, rel=5e-3)
    rows, cols = np.nonzero(labels)
    angles = np.linspace(0, np.pi, 360, endpoint=False)
    widths = [np.ptp(rows * np.sin(angle) + cols * np.cos(angle)) for angle in angles]
    assert max(widths) == pytest.approx(feret * 100, abs=2.5)


def test_a_cube_has_its_edge_volume_and_the_unit_spheres_mean_shadow():
    body = bodies["cube"](np.random.default_rng(0))
    edge = 2 * body.offsets[0]
    assert body.volume == pytest.approx(edge**3)
    # Cauchy: a quarter of the surface is the mean shadow, here that of the unit sphere.
    assert body.face_areas.sum() == pytest.approx(6 * edge**2) == pytest.approx(4 * np.pi)
    shadows = [body.outline(turned(seed))[0] for seed in range(4000)]
    assert np.mean(shadows) == pytest.approx(np.pi, rel=5e-3)


@pytest.mark.parametrize("name", bodies.names)
def test_no_body_is_larger_than_its_reach(name):
    body = bodies[name](np.random.default_rng(3))
    for seed in range(3):
        turn = turned(seed) if not body.lies_flat else IDENTITY
        _, labels, _ = solid(body, turn, 50.0).draw((640, 640))
        rows, cols = np.nonzero(labels)
        assert np.hypot(rows - 320, cols - 320).max() <= body.reach * 50
        # ... nor cut by it: the drawing looks no further.
        assert body.outline(turn)[1] <= 2 * body.reach + 1e-9


def test_cavities_are_empty_and_cores_are_of_their_own_depth():
    shell = Body(inner=0.8, inner_part="cavity")
    depth, labels, _ = solid(shell, IDENTITY, 40.0, centre=(50, 50), depth=2.0, inner=-2.0).draw((100, 100))
    assert depth.sum() == pytest.approx(2 * 4 / 3 * np.pi * 40**3 * (1 - 0.8**3), rel=2e-3)
    assert depth[50, 50] == pytest.approx(2 * 2 * 40 * 0.2, rel=1e-6)
    assert labels[50, 50] == 1
    core = Body(inner=0.5, inner_part="core")
    depth, _, _ = solid(core, IDENTITY, 40.0, centre=(50, 50), depth=1.0, inner=3.0).draw((100, 100))
    assert depth[50, 50] == pytest.approx(80 + 3 * 40)


def test_a_frames_intensity_is_the_materials_thickness():
    config = SceneConfig(
        shape=(128, 128),
        n_particles=1,
        diameter_nm=20,
        diameter_spread=0,
        shapes=("sphere",),
        material_spread=0,
        **FILM,
    )
    per_nm = 0.0093  # gold in HAADF
    for seed in range(20):
        scene = make_scene(config, rng=seed)
        if len(scene.particles) == 1 and scene.particles["in_frame"][0] == 1:
            break
    mass = -np.log1p(-scene.frame.astype(np.float64)).sum() * config.pixel_size_nm**2
    assert mass == pytest.approx(per_nm * 4 / 3 * np.pi * 10**3, rel=5e-3)
    assert scene.particles["volume_nm3"][0] == pytest.approx(4 / 3 * np.pi * 10**3)
    assert scene.particles["equivalent_diameter_nm"][0] == pytest.approx(20)


def test_scattering_grows_with_the_atomic_number_by_the_modes_exponent():
    gold, carbon = (MODES["haadf"].depth_per_nm(MATERIALS[name]) for name in ("Au", "C"))
    atoms = MATERIALS["Au"].units_per_nm3 / MATERIALS["C"].units_per_nm3
    assert gold / carbon == pytest.approx(atoms * (79 / 6) ** 1.7)
    assert MATERIALS["Au"].units_per_nm3 == pytest.approx(4 / 0.40782**3, rel=1e-3)  # four atoms a cubic cell
    silica, mode = MATERIALS["SiO2"], MODES["adf"]
    parts = 14**mode.exponent + 2 * 8**mode.exponent
    per_gold = MATERIALS["Au"].units_per_nm3 * 79**mode.exponent / mode.gold_per_nm
    assert mode.depth_per_nm(silica) == pytest.approx(silica.units_per_nm3 * parts / per_gold)


def test_labels_are_the_drawn_disks():
    config = SceneConfig(shape=(128, 128), pixel_size_nm=0.5, n_particles=6, diameter_nm=10, shapes=("sphere",))
    scene = make_scene(config, rng=4)
    assert len(scene.particles) == 6
    y, x = np.mgrid[:128, :128]
    for particle in scene.particles:
        disk = np.hypot(x - particle["x"], y - particle["y"]) < particle["diameter_nm"] / 2 / 0.5
        np.testing.assert_array_equal(scene.labels == particle["label"], disk)
        np.testing.assert_array_equal(scene.mask(particle["label"]), disk)
        assert particle["area_nm2"] == pytest.approx(np.pi / 4 * particle["diameter_nm"] ** 2)
        assert particle["in_frame"] == pytest.approx(disk.sum() * 0.25 / particle["area_nm2"], rel=0.02)
        assert particle["visible"] == 1


def test_full_masks_go_on_under_what_covers_them():
    config = SceneConfig(n_particles=150, diameter_nm=12, arrangement="random", shapes=("sphere", "cube"))
    scene = make_scene(config, rng=3)
    stack = np.zeros(scene.labels.shape, dtype=np.int32)
    for particle in scene.particles:  # in the order of labels, the last on top
        mask = scene.mask(particle["label"])
        stack[mask] = particle["label"]
        assert particle["visible"] == pytest.approx((scene.labels[mask] == particle["label"]).mean())
    np.testing.assert_array_equal(stack, scene.labels)
    assert 0 < scene.particles["visible"].min() < 0.5 or scene.particles["visible"].min() == 0
    assert list(scene.table.columns[:3]) == ["label", "x", "y"]
    with pytest.raises(InputError, match="label is 0"):
        scene.mask(0)


def test_sizes_follow_their_distribution():
    from scipy import stats

    many = {"shape": (4096, 4096), "n_particles": 4000, "diameter_nm": 10, "arrangement": "random"}
    sizes = sample_diameters_nm(SceneConfig(**many, diameter_spread=0.3), np.random.default_rng(0))
    assert stats.kstest(np.log(sizes / 10) / 0.3, "norm").pvalue > 0.01
    config = SceneConfig(**many, diameter_spread=0.2, size_distribution="normal")
    sizes = sample_diameters_nm(config, np.random.default_rng(0))
    assert stats.kstest((sizes / 10 - 1) / 0.2, "norm").pvalue > 0.01
    config = SceneConfig(
        **many, diameter_spread=0.05, size_distribution="bimodal", second_diameter_nm=20, second_share=0.3
    )
    sizes = sample_diameters_nm(config, np.random.default_rng(0))
    assert (sizes > 14).mean() == pytest.approx(0.3, abs=0.03)
    assert np.median(sizes[sizes > 14]) == pytest.approx(20, rel=0.01)


@pytest.mark.parametrize("spread", [0.0, 0.25, 0.5, 1.0, 2.0])
def test_the_room_that_normal_sizes_need_is_that_of_the_drawn_ones(spread):
    config = SceneConfig(
        n_particles=100_000, diameter_nm=2, diameter_spread=spread, size_distribution="normal", arrangement="random"
    )
    sizes = sample_diameters_nm(config, np.random.default_rng(0))
    assert _mean_square_diameter_nm2(config) == pytest.approx(np.square(sizes).mean(), rel=0.01)


def test_a_lattice_of_particles_is_hexagonal_and_has_the_density():
    config = SceneConfig(
        shape=(512, 512), n_particles=200, diameter_nm=6, diameter_spread=0, arrangement="lattice", shapes=("sphere",)
    )
    particles = make_scene(config, rng=0).particles
    assert len(particles) == pytest.approx(200, rel=0.1)
    centres = np.stack([particles["x"], particles["y"]], axis=1)
    distance = np.sort(np.hypot(*(centres[:, None] - centres[None]).T), axis=0)
    spacing = np.sqrt(2 / np.sqrt(3) * 512**2 / 200)
    assert np.median(distance[1:7]) == pytest.approx(spacing, rel=0.05)
    inner = (np.abs(centres - 256) < 200).all(axis=1)
    assert np.median(distance[6, inner]) < 1.2 * spacing < np.median(distance[7, inner])


def test_hard_core_particles_do_not_overlap_and_clusters_touch():
    config = SceneConfig(shape=(256, 256), n_particles=60, diameter_nm=10, shapes=("sphere",))
    for arrangement, touching in (("hard-core", False), ("clustered", True)):
        scene = make_scene(dataclasses.replace(config, arrangement=arrangement), rng=0)
        centres = np.stack([scene.particles["x"], scene.particles["y"]], axis=1)
        radii = scene.particles["diameter_nm"] / 2 / config.pixel_size_nm
        gaps = np.hypot(*(centres[:, None] - centres[None]).T) - radii[:, None] - radii[None]
        assert (gaps[np.triu_indices(len(radii), 1)].min() < 0) == touching


def test_intensity_grows_with_thickness_in_haadf_and_falls_in_bright_field():
    base = SceneConfig(n_particles=5, diameter_nm=12, support=Support(texture=0, ramp=0))
    for mode, brighter in (("haadf", True), ("adf", True), ("bf", False)):
        scene = make_scene(dataclasses.replace(base, mode=mode), rng=1)
        assert (scene.frame[scene.labels > 0].mean() > scene.frame[scene.labels == 0].mean()) == brighter


def test_same_seed_same_bytes():
    rng = np.random.default_rng(5)
    config = random_config(rng)
    first, second = make_scene(config, rng=7), make_scene(config, rng=7)
    assert first.frame.tobytes() == second.frame.tobytes()
    assert first.particles.tobytes() == second.particles.tobytes()
    assert first.frame.tobytes() != make_scene(config, rng=8).frame.tobytes()
    assert random_config(np.random.default_rng(5)) == config


def test_random_scenes_are_finite_and_consistent():
    rng = np.random.default_rng(0)
    for _ in range(12):
        scene = make_scene(random_config(rng, (128, 128)), rng=rng)
        assert np.isfinite(scene.frame).all()
        assert scene.frame.min() >= 0
        assert set(np.unique(scene.labels)) <= {0, *scene.particles["label"].tolist()}


def test_random_crystals_show_a_lattice():
    """Most of a crystal's variance is periodic: few Fourier components hold it."""
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(12):
        frame = crystal_frame(random_crystal(rng, (128, 128)), rng=rng).frame
        power = np.abs(np.fft.fft2((frame - frame.mean()) * np.hanning(128)[:, None] * np.hanning(128)[None])) ** 2
        shares.append(np.sort(power.ravel())[-200:].sum() / power.sum())
    assert np.median(shares) > 0.8


@pytest.mark.parametrize(
    "fields",
    [
        {"diameter_nm": -1},
        {"diameter_nm": 0.5, "pixel_size_nm": 1.0},
        {"n_particles": -3},
        {"arrangement": "heaps"},
        {"mode": "phase"},
        {"shapes": ("spere",)},
        {"shape": (1, 100)},
        {"n_particles": 2.5},
        {"n_particles": 100_000},
        {"materials": ("Unobtainium",)},
        {"materials": ()},
        {"size_distribution": "bimodal"},
        {"size_distribution": "bimodal", "second_diameter_nm": 0.1, "second_share": 0.5},
        {"second_share": 0.5},
        {"cluster_size": 0},
        {"diameter_nm": 1e4},
        {"diameter_nm": None},
        {"diameter_nm": True},
        {"shape": "ab"},
        {"shape": (64.5, 64)},
        {"shape": (10**6, 10**6)},
        {"n_particles": None},
        {"n_particles": float("nan")},
        {"diameter_spread": 50.0},
        {"diameter_spread": "wide"},
        {"shapes": "sphere"},
        {"shapes": (["sphere"],)},
        {"materials": (["Au"],)},
        {"shell_material": None},
        {"support": None},
        {"probe": {"fwhm_nm": 1}},
        {"mode": None},
    ],
)
def test_impossible_scenes_are_refused(fields):
    with pytest.raises(InputError, match=r"expected|known:|leave") as caught:
        SceneConfig(**fields)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Support, {"texture": float("nan")}),
        (Support, {"thickness_nm": -1}),
        (Support, {"hole_share": 1.0}),
        (Support, {"hole_nm": 0}),
        (Support, {"hole_share": None}),
        (Support, {"thickness_nm": "thick"}),
        (Probe, {"defocus_nm": None}),
        (Probe, {"convergence_mrad": 1e9}),
        (Probe, {"fwhm_nm": -0.1}),
        (Probe, {"defocus_nm": float("inf")}),
    ],
)
def test_impossible_supports_and_probes_are_refused(kind, fields):
    with pytest.raises(InputError, match="expected"):
        kind(**fields)


def test_too_many_particles_apart_say_how_many_fit():
    with pytest.raises(InputError, match=r"expected at most \d+ of this size"):
        SceneConfig(n_particles=2000, diameter_nm=8)
    # Just within the estimate's reach, but not to be placed.
    dense = SceneConfig(n_particles=212, diameter_nm=8, diameter_spread=0, shapes=("sphere",))
    with pytest.raises(InputError, match="room was found for"):
        make_scene(dense, rng=0)


def test_a_films_holes_have_their_share_and_no_particles():
    support = Support(texture=0, ramp=0, hole_share=0.4, hole_nm=40)
    config = SceneConfig(n_particles=40, diameter_nm=5, arrangement="random", support=support)
    scene = make_scene(config, rng=2)
    assert (scene.support_nm == 0).mean() == pytest.approx(0.4, abs=0.01)
    rows, cols = (np.clip(np.rint(scene.particles[axis]).astype(int), 0, 255) for axis in "yx")
    assert (scene.support_nm[rows, cols] > 0).mean() > 0.9  # the rounding may step over an edge


def test_a_film_has_its_thickness_ramp_and_grain():
    thickness, film = Support(thickness_nm=20, texture=0, ramp=0.5).draw((300, 200), 0.5, np.random.default_rng(0))
    assert film.all()
    assert thickness.mean() == pytest.approx(20, rel=1e-3)
    gradient = np.hypot(np.ptp(thickness, axis=0).mean(), np.ptp(thickness, axis=1).mean())
    assert gradient == pytest.approx(0.5 * 20, rel=1e-2)
    grain, _ = Support(thickness_nm=20, texture=0.1, ramp=0).draw((300, 200), 0.5, np.random.default_rng(0))
    assert grain.std() / grain.mean() == pytest.approx(0.1, rel=0.02)
    dirty, _ = Support(contamination_nm=30, texture=0, ramp=0).draw((300, 200), 0.5, np.random.default_rng(0))
    assert pytest.approx(dirty.min()) == 10
    assert 20 < dirty.max() <= 41


@pytest.mark.parametrize("sigma", [1.5, 6.0, 25.0])
def test_smooth_noise_has_unit_variance_and_its_correlation(sigma):
    fields = np.array([smooth_field((200, 300), sigma, np.random.default_rng(seed)) for seed in range(100)])
    assert np.square(fields, dtype=np.float64).mean() == pytest.approx(1, abs=0.05)
    lag = round(2 * sigma)
    # Noise smoothed by a Gaussian is correlated by exp(-d^2 / 4 sigma^2).
    correlation = (fields[:, :, lag:] * fields[:, :, :-lag]).mean()
    assert correlation == pytest.approx(np.exp(-(lag**2) / 4 / sigma**2), abs=0.06)


def test_the_probe_keeps_the_intensity_and_has_its_width():
    point = np.zeros((65, 65), dtype=np.float32)
    point[32, 32] = 1
    grid = np.arange(65) - 32
    for probe, variance in (
        (Probe(fwhm_nm=2.3548), 1.0 / 0.25),
        (Probe(fwhm_nm=0, defocus_nm=-150, convergence_mrad=20), 3.0**2 / 4 / 0.25),  # a disk's variance is r^2 / 4
    ):
        image = probe.blur(point, 0.5)
        assert image.sum() == pytest.approx(1, abs=1e-4)
        assert (image.sum(axis=0) * grid**2).sum() == pytest.approx(variance, rel=0.03)
    with pytest.raises(InputError, match="more than the frame"):
        Probe(defocus_nm=1e6).blur(point, 0.5)


@pytest.mark.parametrize(
    ("radius_px", "variance"),
    [
        # A neighbour gets the circle's segment beyond the pixel's side.
        (0.7, 2 * (0.7**2 * np.arccos(0.5 / 0.7) - 0.5 * np.sqrt(0.7**2 - 0.5**2)) / (np.pi * 0.7**2)),
        (1.5, 1.5**2 / 4),
        (2.4, 2.4**2 / 4),
    ],
)
def test_a_disk_of_a_pixel_or_two_blurs_too(radius_px, variance):
    point, grid = np.zeros((17, 17), dtype=np.float32), np.arange(17) - 8
    point[8, 8] = 1
    image = Probe(fwhm_nm=0, defocus_nm=radius_px * 0.5 / 20e-3, convergence_mrad=20).blur(point, 0.5)
    for axis in (0, 1):
        assert (image.sum(axis=axis) * grid**2).sum() == pytest.approx(variance, rel=0.07)


def test_specks_far_below_a_pixel_are_drawn_with_few_points():
    depth, _, _ = solid(Body(), IDENTITY, 0.02, centre=(20.0, 20.0)).draw((40, 40))
    assert 0 <= depth.sum() < 1e-3
    config = SceneConfig(n_particles=2000, diameter_nm=1, diameter_spread=2.0, arrangement="clustered")
    assert np.isfinite(make_scene(config, rng=0).frame).all()
