"""Scenes against closed forms: volumes, areas, labels, and the same seed giving the same bytes."""

import dataclasses

import numpy as np
import pytest

from simulate import InputError, SceneConfig, bodies, lattice_frame, make_scene, random_config
from simulate.shapes import Body, project

GRID = (np.arange(-300, 300) + 0.5) / 100
IDENTITY = np.eye(3)


def rotation(seed):
    from scipy.spatial.transform import Rotation

    return Rotation.random(rng=seed).as_matrix()


def test_a_spheres_projection_holds_its_volume():
    thickness = project(Body(), rotation(1), GRID[None, :], GRID[:, None])
    assert thickness.sum() * 1e-4 == pytest.approx(4 / 3 * np.pi, rel=1e-3)
    assert thickness.max() == pytest.approx(2, rel=1e-3)


@pytest.mark.parametrize("seed", [1, 2])
def test_an_ellipsoids_projection_holds_its_volume_in_any_orientation(seed):
    thickness = project(Body(semi_axes=(1.5, 0.8, 0.6)), rotation(seed), GRID[None, :], GRID[:, None])
    assert thickness.sum() * 1e-4 == pytest.approx(4 / 3 * np.pi * 1.5 * 0.8 * 0.6, rel=2e-3)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_cubes_projection_holds_its_volume_in_any_orientation(seed):
    body = bodies["cube"](np.random.default_rng(0))
    edge = 2 * body.offsets[0]
    thickness = project(body, rotation(seed), GRID[None, :], GRID[:, None])
    assert thickness.sum() * 1e-4 == pytest.approx(edge**3, rel=2e-3)
    # Cauchy: a quarter of the surface is the mean projection, here that of the unit sphere.
    assert 6 * edge**2 / 4 == pytest.approx(np.pi)


@pytest.mark.parametrize("name", ["octahedron", "truncated-octahedron", "decahedron"])
def test_polyhedra_project_to_a_unit_disks_area_on_average(name):
    body = bodies[name](np.random.default_rng(0))
    areas = [(project(body, rotation(seed), GRID[None, ::4], GRID[::4, None]) > 0).sum() * 16e-4 for seed in range(120)]
    assert np.mean(areas) == pytest.approx(np.pi, rel=0.03)


@pytest.mark.parametrize("name", bodies.names)
def test_every_body_is_inside_the_drawn_patch(name):
    body = bodies[name](np.random.default_rng(3))
    for seed in range(5):
        turned = rotation(seed) if not body.lies_flat else IDENTITY
        inside = project(body, turned, GRID[None, :], GRID[:, None]) > 0
        rows, cols = np.nonzero(inside)
        assert max(np.abs(GRID[rows]).max(), np.abs(GRID[cols]).max()) < 2.4, "make_scene would cut it"


def test_labels_are_the_drawn_disks():
    config = SceneConfig(shape=(128, 128), pixel_size_nm=0.5, n_particles=6, diameter_nm=10, shapes=("sphere",))
    scene = make_scene(config, rng=4)
    assert len(scene.particles) == 6
    y, x = np.mgrid[:128, :128]
    for particle in scene.particles:
        disk = np.hypot(x - particle["x"], y - particle["y"]) < particle["diameter_nm"] / 2 / 0.5
        np.testing.assert_array_equal(scene.labels == particle["label"], disk)
        assert particle["area_nm2"] == pytest.approx(disk.sum() * 0.25)
        assert particle["visible"] == 1


def test_hard_core_particles_do_not_overlap_and_clusters_touch():
    config = SceneConfig(shape=(256, 256), n_particles=60, diameter_nm=10, shapes=("sphere",))
    for arrangement, touching in (("hard-core", False), ("clustered", True)):
        scene = make_scene(dataclasses.replace(config, arrangement=arrangement), rng=0)
        centres = np.stack([scene.particles["x"], scene.particles["y"]], axis=1)
        radii = scene.particles["diameter_nm"] / 2 / config.pixel_size_nm
        gaps = np.hypot(*(centres[:, None] - centres[None]).T) - radii[:, None] - radii[None]
        assert (gaps[np.triu_indices(len(radii), 1)].min() < 0) == touching


def test_intensity_grows_with_thickness_in_haadf_and_falls_in_bright_field():
    base = SceneConfig(n_particles=5, diameter_nm=12, texture=0, ramp=0)
    for mode, brighter in (("haadf", True), ("bf", False)):
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


def test_a_lattice_repeats_at_its_spacing():
    frame = lattice_frame((128, 128), spacing_px=16, column_sigma_px=2, rng=0)
    spectrum = np.abs(np.fft.fft2(frame - frame.mean()))
    ky, kx = np.unravel_index(np.argmax(spectrum), spectrum.shape)
    frequency = np.hypot(np.fft.fftfreq(128)[ky], np.fft.fftfreq(128)[kx])
    assert frequency == pytest.approx(1 / 16, abs=1 / 128)


@pytest.mark.parametrize(
    "fields",
    [
        {"diameter_nm": -1},
        {"diameter_nm": 0.5, "pixel_size_nm": 1.0},
        {"n_particles": -3},
        {"arrangement": "heaps"},
        {"mode": "phase"},
        {"shapes": ("spere",)},
        {"texture": float("nan")},
        {"shape": (1, 100)},
    ],
)
def test_impossible_scenes_are_refused(fields):
    with pytest.raises(InputError):
        SceneConfig(**fields)
