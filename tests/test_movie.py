"""Movies against the laws of motion, conservation of volume, and a truth that agrees with itself."""

import dataclasses

import numpy as np
import pytest
from scipy.ndimage import shift

from cs_recon.config import load_config
from simulate import InputError, Probe, SceneConfig, Support
from simulate.motion import Event, Population
from simulate.movie import TRACK_DTYPE, Movie
from simulate.movie_config import MovieConfig

SPHERES = SceneConfig(shape=(128, 128), n_particles=12, diameter_nm=6, shapes=("sphere",))
LIVELY = MovieConfig(
    SceneConfig(shape=(128, 160), n_particles=25, diameter_nm=6, arrangement="random", shapes=("sphere", "cube")),
    n_frames=60,
    frame_interval_s=0.5,
    diffusion_nm2_per_s=2.0,
    drift_nm_per_s=(0.6, -0.4),
    growth_nm_per_s=-0.05,
    coalescence=True,
    splitting_per_s=0.03,
    appearance_per_s=0.5,
    disappearance_per_s=0.02,
)


@pytest.fixture(scope="module")
def lively():
    return Movie(LIVELY, rng=4)


def population(config, shape=(512, 512), seed=0):
    return Population(config, np.ones(shape, dtype=bool), np.random.default_rng(seed))


def volumes(particles):
    return np.array([body.volume for body in particles.solids.bodies]) * particles.solids.radii**3


def middle(particles):
    weights = volumes(particles)
    return weights @ particles.solids.centres / weights.sum()


def paths_of(tracks, n_frames):
    """Return (N, T, 2) positions x, y of the particles that have a row in every frame."""
    ids, counts = np.unique(tracks["particle"], return_counts=True)
    rows = [tracks[tracks["particle"] == particle] for particle in ids[counts == n_frames]]
    return np.array([np.column_stack([track["x"], track["y"]]) for track in rows])


def test_brownian_particles_have_their_mean_square_displacement():
    scene = dataclasses.replace(SPHERES, shape=(512, 512), n_particles=150, arrangement="random")
    config = MovieConfig(scene, n_frames=40, frame_interval_s=0.2, diffusion_nm2_per_s=1.5)
    moved = paths_of(Movie(config, rng=0).tracks, 40) * scene.pixel_size_nm
    assert len(moved) > 100
    for lag in (1, 4):
        steps = moved[:, lag::lag] - moved[:, :-lag:lag]
        squares = (steps**2).sum(axis=2)
        # The squared displacement in two dimensions is exponential: its standard deviation is its mean.
        assert squares.mean() == pytest.approx(4 * 1.5 * 0.2 * lag, rel=4 / np.sqrt(squares.size))
        assert abs(np.mean(steps[..., 0] * steps[..., 1])) < 4 * 2 * 1.5 * 0.2 * lag / np.sqrt(squares.size)
    together = np.mean(np.diff(moved[0], axis=0) * np.diff(moved[1], axis=0))
    assert abs(together) < 4 * 2 * 1.5 * 0.2 / np.sqrt(78)


def test_reflected_particles_stay_on_the_film_and_uniform():
    config = MovieConfig(dataclasses.replace(SPHERES, n_particles=400, arrangement="random"), diffusion_nm2_per_s=500)
    particles = population(config, (128, 128))
    counts = np.zeros((4, 4))
    for _ in range(50):
        particles.step()
        assert (particles.solids.centres >= -0.5).all()
        assert (particles.solids.centres <= 127.5).all()
        counts += np.histogram2d(*particles.solids.centres.T, bins=np.linspace(-0.5, 127.5, 5))[0]
    np.testing.assert_allclose(counts, 400 * 50 / 16, rtol=0.15)


def test_drift_moves_all_particles_by_its_velocity():
    config = MovieConfig(SPHERES, n_frames=12, frame_interval_s=0.5, drift_nm_per_s=(0.7, -1.1))
    moved = paths_of(Movie(config, rng=2).tracks, 12)
    assert len(moved) >= 4
    np.testing.assert_allclose(np.diff(moved, axis=1), np.broadcast_to([-1.1, 0.7], (len(moved), 11, 2)), atol=1e-9)


@pytest.mark.parametrize("drift", [(1.0, -2.0), (-3.0, 0.0)], ids=str)
def test_the_film_drifts_with_the_particles(drift):
    scene = dataclasses.replace(SPHERES, probe=Probe(fwhm_nm=0), support=Support(thickness_nm=30, texture=0.2))
    speed = tuple(pixels * scene.pixel_size_nm for pixels in drift)
    frames = [frame.frame for frame in Movie(MovieConfig(scene, n_frames=4, drift_nm_per_s=speed), rng=0)]
    moved = np.roll(frames[0], [3 * int(pixels) for pixels in drift], axis=(0, 1))
    np.testing.assert_allclose(frames[3][16:-16, 16:-16], moved[16:-16, 16:-16], rtol=1e-4)
    assert np.abs(frames[3] - frames[0]).max() > 1e-2


def test_drift_by_parts_of_a_pixel_keeps_the_films_grain():
    # Grain as fine as the default film's; linear interpolation would lose a tenth of it halfway between pixels.
    scene = dataclasses.replace(SPHERES, n_particles=0, support=Support(ramp=0, texture=0.2), probe=Probe(fwhm_nm=0))
    config = MovieConfig(scene, n_frames=5, drift_nm_per_s=(0.125, 0.125))
    frames = [frame.frame for frame in Movie(config, rng=0)]
    grain = [frame.std() for frame in frames]
    np.testing.assert_allclose(grain, grain[0], rtol=0.03)
    for index, frame in enumerate(frames):
        moved = shift(frames[0], (index * 0.25, index * 0.25), order=5)
        assert np.abs(frame - moved)[8:-8, 8:-8].max() < 0.05 * grain[0]


def test_particles_grow_at_their_rate_and_dissolve_when_too_small_to_be_seen():
    config = MovieConfig(SPHERES, n_frames=21, frame_interval_s=0.5, growth_nm_per_s=-0.6)
    movie = Movie(config, rng=0)
    tracks, pixel_nm = movie.tracks, SPHERES.pixel_size_nm
    assert (tracks["event"] == "disappear").any()
    for particle in np.unique(tracks["particle"]):
        track = tracks[tracks["particle"] == particle]
        np.testing.assert_allclose(np.diff(track["diameter_nm"]), -0.3)
        np.testing.assert_allclose(track["area_nm2"], np.pi / 4 * track["diameter_nm"] ** 2)
        assert track["diameter_nm"].min() >= 2 * pixel_nm
        if len(track) < 21 and track["in_frame"][0] == 1:
            assert track["event"][-1] == "disappear"
            assert track["diameter_nm"][-1] - 0.3 < 2 * pixel_nm
    grown = Movie(dataclasses.replace(config, growth_nm_per_s=0.6), rng=0).tracks
    np.testing.assert_allclose(grown["diameter_nm"][:12], tracks["diameter_nm"][:12])
    np.testing.assert_allclose(np.diff(grown["diameter_nm"][grown["particle"] == 3]), 0.3)


def test_merging_keeps_volume_and_centre_of_mass():
    scene = dataclasses.replace(SPHERES, n_particles=40, arrangement="clustered", shapes=("sphere", "cube"))
    particles = population(MovieConfig(scene, coalescence=True), (128, 128))
    total, centre, n = volumes(particles).sum(), middle(particles), len(particles.ids)
    merged = []
    for _ in range(40):
        before = dict(zip(particles.ids.tolist(), volumes(particles), strict=True))
        events = particles.step()
        assert volumes(particles).sum() == pytest.approx(total)
        np.testing.assert_allclose(middle(particles), centre)
        for event in events:
            assert event.kind == "merge"
            assert before[event.particle] > before[event.other]
            merged.append(event.other)
    assert len(merged) == len(set(merged)) == n - len(particles.ids) > 5
    # What is left does not overlap by more than merging needs.
    centres, radii = particles.solids.centres, particles.solids.radii
    gaps = np.hypot(*(centres[:, None] - centres[None]).T) - radii[:, None] - radii[None]
    first, second = np.triu_indices(len(radii), 1)
    assert (-gaps[first, second] <= 2 * 0.2 * np.minimum(radii[first], radii[second]) + 1e-9).all()


def test_a_merging_pair_moves_as_one_and_takes_four_frames():
    scene = dataclasses.replace(SPHERES, n_particles=2, arrangement="random", diameter_spread=0.1)
    for diffusion in (0.0, 1e-3):
        config = MovieConfig(scene, coalescence=True, diffusion_nm2_per_s=diffusion)
        particles = population(config, (128, 128))
        particles.solids = particles.solids.moved(np.array([[60.0, 60.0], [60.0, 67.0]]), np.array([5.0, 6.0]))
        assert particles.step() == []
        vectors = [np.diff(particles.solids.centres, axis=0)[0]]
        for left in (3, 2, 1):
            assert particles.step() == []
            vectors.append(np.diff(particles.solids.centres, axis=0)[0])
            np.testing.assert_allclose(vectors[-1], vectors[0] * left / 4, atol=1e-12)
        assert particles.step() == [Event("merge", 2, 1)]
        assert particles.solids.radii[0] == pytest.approx(np.cbrt(5**3 + 6**3))
        away = np.abs(particles.solids.centres[0] - [60, (60 * 125 + 67 * 216) / 341])
        assert (away < 1e-9 + 5 * np.sqrt(5) * config.step_px).all()
        assert (away > 1e-9).all() == (diffusion > 0)


def test_splitting_keeps_volume_and_centre_of_mass_and_the_fragments_part():
    scene = dataclasses.replace(SPHERES, n_particles=10, diameter_nm=12, shapes=("sphere", "truncated-octahedron"))
    particles = population(MovieConfig(scene, splitting_per_s=0.2), (256, 256))
    total, centre = volumes(particles).sum(), middle(particles)
    parents = {}
    for _ in range(12):
        before = set(particles.ids.tolist())
        for event in particles.step():
            assert event.kind == "split"
            assert event.other in before
            assert event.other not in particles.ids
            parents.setdefault(event.other, []).append(event.particle)
        assert volumes(particles).sum() == pytest.approx(total)
        np.testing.assert_allclose(middle(particles), centre)
        sizes = dict(zip(particles.ids.tolist(), volumes(particles), strict=True))
    assert len(parents) > 10
    parted = [pair for pair in parents.values() if set(pair) <= set(sizes)]
    for pair in parted:
        i, j = np.searchsorted(particles.ids, pair)
        share = sizes[pair[1]] / (sizes[pair[0]] + sizes[pair[1]])
        assert 0.3 <= share <= 0.5
    assert min(particles.solids.radii) >= 1
    oldest = min(parted)
    i, j = np.searchsorted(particles.ids, oldest)
    distance = np.hypot(*(particles.solids.centres[i] - particles.solids.centres[j]))
    assert distance == pytest.approx(1.3 * (particles.solids.radii[i] + particles.solids.radii[j]))


def test_particles_appear_and_vanish_at_their_rates():
    scene = dataclasses.replace(SPHERES, n_particles=200, arrangement="random")
    config = MovieConfig(scene, frame_interval_s=0.5, appearance_per_s=20, disappearance_per_s=0.1)
    particles = population(config, (128, 128))
    alive, came, went = 0, 0, 0
    for _ in range(100):
        alive += len(particles.ids)
        kinds = [event.kind for event in particles.step()]
        came, went = came + kinds.count("appear"), went + kinds.count("disappear")
    assert came == pytest.approx(20 * 50, abs=4 * np.sqrt(20 * 50))
    chance = 1 - np.exp(-0.05)
    assert went == pytest.approx(alive * chance, abs=4 * np.sqrt(alive * chance))


def test_new_particles_start_small_and_reach_their_size():
    scene = dataclasses.replace(SPHERES, n_particles=0, diameter_spread=0)
    tracks = Movie(MovieConfig(scene, n_frames=30, appearance_per_s=0.5), rng=0).tracks
    born = tracks[tracks["event"] == "appear"]
    np.testing.assert_allclose(born["diameter_nm"], 2 * scene.pixel_size_nm)
    for particle in born["particle"][born["frame"] < 24]:
        diameters = tracks["diameter_nm"][tracks["particle"] == particle]
        np.testing.assert_allclose(diameters[:7], np.minimum(1 + np.arange(7), 6))


def test_new_particles_that_merge_stop_growing_to_their_size():
    scene = dataclasses.replace(SPHERES, n_particles=0)
    particles = population(MovieConfig(scene, appearance_per_s=300, coalescence=True), (128, 128))
    assert {event.kind for event in particles.step()} == {"appear"}
    particles.config = MovieConfig(scene, coalescence=True)
    totals, merged = [], 0
    for _ in range(20):
        merged += len(particles.step())
        totals.append(volumes(particles).sum())
    assert merged > 50
    assert totals[4] > 5 * totals[0]
    np.testing.assert_allclose(totals[5:], totals[4])


def test_label_maps_are_the_particles(lively):
    tracks, pixel_nm = lively.tracks, LIVELY.scene.pixel_size_nm
    seen, counted, drawn = 0, 0.0, 0.0
    for frame in lively:
        rows = tracks[tracks["frame"] == frame.index]
        assert frame.labels.dtype == np.int32
        assert frame.time_s == frame.index * 0.5
        np.testing.assert_array_equal(rows["particle"], frame.particles["label"])
        assert set(np.unique(frame.labels)) - {0} == set(rows["particle"][rows["visible"] > 0].tolist())
        alone = rows[(rows["visible"] == 1) & (rows["in_frame"] == 1)]
        for row in alone:
            y, x = np.nonzero(frame.labels == row["particle"])
            radius = row["diameter_nm"] / 2 / pixel_nm
            # Pixels counted by their centres: wrong by less than half of those along the outline.
            assert y.size * pixel_nm**2 == pytest.approx(row["area_nm2"], abs=3 * radius * pixel_nm**2)
            assert np.hypot(x.mean() - row["x"], y.mean() - row["y"]) < 0.7
            counted, drawn = counted + y.size * pixel_nm**2, drawn + row["area_nm2"]
            seen += 1
    assert seen > 200
    assert counted == pytest.approx(drawn, rel=0.01)


def test_events_agree_with_the_rows(lively):
    tracks, last = lively.tracks, LIVELY.n_frames - 1
    kinds = set(np.unique(tracks["event"])) - {""}
    assert kinds == {"appear", "disappear", "enter", "leave", "merge", "split"}
    keys = np.column_stack([tracks["frame"], tracks["particle"]])
    assert len(np.unique(keys, axis=0)) == len(keys)
    frames = {p: tracks["frame"][tracks["particle"] == p] for p in np.unique(tracks["particle"]).tolist()}
    ended = set()
    for row in tracks[np.isin(tracks["event"], ["merge", "split"])]:
        assert frames.get(int(row["other"]), np.array([-1])).max() < row["frame"]
        ended.add(int(row["other"]))
    assert (tracks["other"][~np.isin(tracks["event"], ["merge", "split"])] == 0).all()
    for particle, seen in frames.items():
        rows = tracks[tracks["particle"] == particle]
        starts = np.flatnonzero(np.diff(seen, prepend=-2) > 1)
        ends = np.flatnonzero(np.diff(seen, append=last + 2) > 1)
        for k in starts:
            allowed = {"enter", "appear", "split", "disappear", "merge"} if k == 0 else {"enter", "disappear", "merge"}
            assert rows["event"][k] in (allowed if seen[k] else {"", "leave", "disappear"})
        for k in ends:
            if seen[k] == last or (k == len(rows) - 1 and particle in ended):
                continue
            # A row keeps the event that came first.
            assert rows["event"][k] in {"leave", "disappear"} or k in starts or rows["event"][k] in {"merge", "split"}
        inner = np.setdiff1d(np.arange(len(rows)), np.concatenate([starts, ends]))
        assert set(rows["event"][inner]) <= {"", "merge"}
        assert "disappear" not in rows["event"][:-1]


def test_drift_brings_particles_in_as_others_leave():
    config = MovieConfig(SPHERES, n_frames=100, drift_nm_per_s=(0.0, 1.28))
    tracks = Movie(config, rng=1).tracks
    counts = np.bincount(tracks["frame"])
    assert counts.min() > 0
    assert counts.mean() == pytest.approx(12 * (1 + 12 / 128), rel=0.25)
    entering = tracks[tracks["event"] == "enter"]
    assert len(entering) > 10
    assert (entering["x"] < 0).all()
    assert (tracks["x"][tracks["event"] == "leave"] > 127).all()


def test_a_still_movie_has_the_scenes_particles_in_every_frame():
    movie = Movie(MovieConfig(SPHERES, n_frames=3), rng=3)
    first, second, third = movie
    np.testing.assert_array_equal(first.frame, third.frame)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert len(movie) == 3
    assert len(first.particles) == 12
    assert set(movie.tracks["event"]) == {""}


def test_the_same_seed_gives_the_same_movie_again_and_again(lively):
    again, other = Movie(LIVELY, rng=4), Movie(LIVELY, rng=5)
    assert lively.tracks.tobytes() == again.tracks.tobytes() != other.tracks.tobytes()
    for first, second, third in zip(lively, lively, again, strict=True):
        assert first.frame.tobytes() == second.frame.tobytes() == third.frame.tobytes()
        assert first.labels.tobytes() == third.labels.tobytes()


def test_the_table_has_the_names_that_trackers_use(lively):
    columns = list(lively.table.columns)
    assert columns[:6] == ["frame", "particle", "x", "y", "area_nm2", "event"]
    assert columns == list(TRACK_DTYPE.names)


def test_a_movie_without_particles_has_an_empty_truth():
    movie = Movie(MovieConfig(dataclasses.replace(SPHERES, n_particles=0), n_frames=2, coalescence=True), rng=0)
    assert len(movie.tracks) == 0
    assert all(frame.labels.max() == 0 for frame in movie)


def test_a_file_describes_a_movie(tmp_path):
    file = tmp_path / "movie.toml"
    file.write_text(
        "n_frames = 5\ncoalescence = true\ndrift_nm_per_s = [1, 0.5]\n[scene]\nn_particles = 3\nshape = [64, 64]\n"
    )
    scene = SceneConfig(n_particles=3, shape=(64, 64))
    assert load_config(file, MovieConfig) == MovieConfig(scene, 5, coalescence=True, drift_nm_per_s=(1, 0.5))
    file.write_text("n_frame = 5\n")
    with pytest.raises(InputError, match="did you mean 'n_frames'"):
        load_config(file, MovieConfig)


@pytest.mark.parametrize(
    "fields",
    [
        {"scene": None},
        {"n_frames": 0},
        {"n_frames": 2.5},
        {"n_frames": True},
        {"n_frames": float("nan")},
        {"frame_interval_s": 0},
        {"diffusion_nm2_per_s": -1},
        {"diffusion_nm2_per_s": 1e6},
        {"drift_nm_per_s": 1.0},
        {"drift_nm_per_s": (1.0, float("nan"))},
        {"drift_nm_per_s": (0.0, 100.0)},
        {"growth_nm_per_s": "fast"},
        {"growth_nm_per_s": 1000.0},
        {"coalescence": 1},
        {"splitting_per_s": -0.1},
        {"appearance_per_s": float("inf")},
        {"appearance_per_s": 1e5},
        {"disappearance_per_s": -1},
    ],
    ids=str,
)
def test_impossible_movies_are_refused(fields):
    with pytest.raises(InputError, match="expected") as caught:
        MovieConfig(**fields)
    assert "\n" not in str(caught.value)


def test_limits_that_a_message_gives_are_accepted():
    assert MovieConfig(n_frames=20, drift_nm_per_s=(0, 4 * 128 / 19)).drift_px[1] > 50
    with pytest.raises(InputError, match="expected a MovieConfig"):
        Movie(SPHERES)


def test_a_movie_of_one_frame_may_drift():
    config = MovieConfig(scene=SceneConfig(shape=(48, 64), n_particles=3), n_frames=1, drift_nm_per_s=(1.0, 0.0))
    (one,) = Movie(config, rng=0)
    assert one.frame.shape == (48, 64)
