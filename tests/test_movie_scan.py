"""Scans of movies: which pixels of each frame, and counts on one scale."""

import numpy as np
import pytest

from simulate import InputError, SceneConfig, schemes
from simulate.movie import Movie
from simulate.movie_config import MovieConfig
from simulate.movie_scan import INTERLEAVED_SCHEMES, measure_movie, movie_paths

SPHERES = SceneConfig(shape=(128, 128), n_particles=12, diameter_nm=6, shapes=("sphere",))


@pytest.mark.parametrize("name", schemes.names)
def test_fixed_and_changing_scans(name):
    prior = np.arange(48 * 40.0).reshape(48, 40) if schemes[name].needs_prior else None
    fixed = list(movie_paths(name, (48, 40), 0.25, 3, mode="fixed", rng=1, prior=prior, dwell_us=3.0))
    assert all(np.array_equal(path.flat, fixed[0].flat) for path in fixed)
    first, second, third = movie_paths(name, (48, 40), 0.25, 3, mode="changing", rng=1, prior=prior, dwell_us=3.0)
    assert first.dwell_us == fixed[0].dwell_us == 3
    np.testing.assert_array_equal(first.flat, fixed[0].flat)
    assert np.array_equal(second.flat, third.flat) != schemes[name].random


@pytest.mark.parametrize("ratio", [1.0, 0.5, 0.26, 0.1, 0.03])
@pytest.mark.parametrize("shape", [(64, 64), (41, 57)], ids=str)
@pytest.mark.parametrize("name", INTERLEAVED_SCHEMES)
def test_interleaved_scans_cover_the_frame_exactly_once_in_a_cycle(name, shape, ratio):
    n = round(1 / ratio)
    paths = list(movie_paths(name, shape, ratio, 2 * n + 1, mode="interleaved", rng=0))
    visits = np.array([path.visits for path in paths])
    for start in (0, 1, n, n + 1):
        assert (visits[start : start + n].sum(axis=0) == 1).all()
    np.testing.assert_array_equal(paths[0].flat, paths[n].flat)
    again = movie_paths(name, shape, ratio, 2 * n + 1, mode="interleaved", rng=0)
    assert all(np.array_equal(a.flat, b.flat) for a, b in zip(paths, again, strict=True))
    counts = visits[:n].sum(axis=(1, 2))
    if schemes[name].granularity == "pixel":
        # The cells that the frame's end cuts short are in some parts only.
        assert np.ptp(counts) <= 1
    elif schemes[name].granularity == "line":
        assert np.ptp(counts) <= shape[1]
        assert (visits[:n].min(axis=2) == visits[:n].max(axis=2)).all()
    else:
        assert np.ptp(counts) <= 10 * np.sqrt(visits[0].size / n)
    if name != "hilbert":
        assert (np.diff(paths[1].flat) > 0).all()
    elif n > 1:
        assert paths[1].travel_px < 0.6 * paths[1].n_positions * np.hypot(*shape) / 4


def test_interleaved_parts_obey_their_schemes_law():
    path = next(movie_paths("jittered-grid", (64, 64), 1 / 16, 1, mode="interleaved", rng=0))
    np.testing.assert_array_equal(path.visits.reshape(16, 4, 16, 4).sum(axis=(1, 3)), 1)
    raster = list(movie_paths("raster", (64, 64), 0.25, 4, mode="interleaved"))
    np.testing.assert_array_equal(np.unique(raster[1].rows), np.arange(1, 64, 4))
    lines = next(movie_paths("lines", (64, 64), 0.25, 1, mode="interleaved", rng=0))
    assert np.unique(np.diff(np.unique(lines.rows))).size > 1
    # No partition, however small its parts, leaves a scan without a pixel.
    assert sum(p.n_positions for p in movie_paths("bernoulli", (8, 8), 1 / 60, 60, mode="interleaved", rng=0)) == 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("random", (64, 64), 0.4, 4), r"about 0\.333 or 0\.5"),
        (("random", (64, 64), 0.8, 4), r"about 0\.5 or 1"),
        (("random", (64, 64), 1e-5, 4), r"at least 0\.000244"),
        (("lines", (64, 64), 0.01, 4), r"at least 0\.0156"),
        (("random", (64, 64), 0.0, 4), "sampling ratio"),
        (("spiral", (64, 64), 0.5, 4), "cannot be interleaved; expected one of random"),
        (("randm", (64, 64), 0.5, 4), "did you mean 'random'"),
        (("random", (64, 64), 0.5, 0), "n_frames is 0"),
    ],
)
def test_impossible_interleaved_scans_are_refused_at_once(arguments, message):
    with pytest.raises(InputError, match=message):
        movie_paths(*arguments, mode="interleaved", rng=0)


def test_impossible_scans_are_refused_at_once():
    with pytest.raises(InputError, match="did you mean 'fixed'"):
        movie_paths("random", (64, 64), 0.5, 3, mode="fixd")
    with pytest.raises(InputError, match="one line"):
        movie_paths("lines", (64, 64), 0.001, 3, mode="changing", rng=0)
    with pytest.raises(InputError, match="prior"):
        movie_paths("variable-density", (64, 64), 0.1, 3, mode="fixed", rng=0)


def test_counts_have_one_scale_for_all_frames():
    config = MovieConfig(SPHERES, n_frames=6, growth_nm_per_s=1.5)
    movie = Movie(config, rng=0)
    frames = [frame.frame for frame in movie]
    assert frames[-1].max() > 1.3 * frames[0].max()
    paths = list(movie_paths("random", (128, 128), 0.5, 6, mode="changing", rng=0))
    scans = list(measure_movie(movie, paths, peak_counts=200, rng=1, read_noise_counts=2.0))
    for index, (scan, frame) in enumerate(zip(scans, frames, strict=True)):
        assert scan.counts_per_unit == pytest.approx(200 / frames[0].max())
        assert scan.read_noise == pytest.approx(2 * frames[0].max() / 200)
        assert scan.pixel_size_nm == SPHERES.pixel_size_nm
        assert (scan.name, scan.path) == (f"movie frame {index}", paths[index])
        deviation = (scan.samples - frame[scan.mask]) / scan.noise_sigma(frame[scan.mask])
        assert abs(deviation.mean()) < 4 / np.sqrt(deviation.size)
        assert deviation.std() == pytest.approx(1, abs=0.04)
    again = list(measure_movie(movie, paths, peak_counts=200, rng=1, read_noise_counts=2.0))
    assert all(a.values.tobytes() == b.values.tobytes() for a, b in zip(scans, again, strict=True))
    assert scans[0].values.tobytes() != scans[1].values.tobytes()
    clean = next(measure_movie(movie, paths))
    np.testing.assert_array_equal(clean.samples, frames[0][clean.mask])
    by_current = [scan.counts_per_unit for scan in measure_movie(movie, paths, beam_current_pA=20, rng=0)]
    assert len(set(by_current)) == 1


def test_each_frame_needs_one_path():
    movie = Movie(MovieConfig(SPHERES, n_frames=3), rng=0)
    for n, message in ((2, "there are 2 paths for 3 frames"), (4, "more paths than the 3 frames")):
        paths = movie_paths("random", (128, 128), 0.5, n, rng=0)
        with pytest.raises(InputError, match=message):
            list(measure_movie(movie, paths))
    with pytest.raises(InputError, match="peak counts"):
        measure_movie(movie, [], peak_counts=-1)


def test_interleaved_frames_take_no_prior():
    with pytest.raises(InputError, match="take no prior"):
        movie_paths("random", (16, 16), 0.25, 2, mode="interleaved", prior=np.ones((16, 16)))


@pytest.mark.parametrize(("interval_s", "fits"), [(0.05, True), (0.01, False)])
def test_a_scan_ends_before_the_next_frame(interval_s, fits):
    """Of 3,277 samples of 10 µs each, 33 ms, and the jumps between."""
    movie = Movie(MovieConfig(SPHERES, n_frames=2, frame_interval_s=interval_s), rng=0)
    scans = measure_movie(movie, movie_paths("random", (128, 128), 0.2, 2, rng=0))
    if fits:
        assert len(list(scans)) == 2
    else:
        with pytest.raises(InputError, match=r"scan of frame 0 takes .* ms, and the next frame comes after 10 ms"):
            next(scans)
