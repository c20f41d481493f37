"""A live session: one frame at a time, constant work, the same tracks as of the whole movie."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from segmentation import live
from segmentation.live import LiveSession
from segmentation.movie import MovieOptions
from segmentation.tracking import track
from simulate import InputError, Measurement, Movie, MovieConfig, SceneConfig, measure_movie, movie_paths

CLASSICAL = MovieOptions(recon="linear", segment="threshold")


@pytest.fixture(scope="module")
def film():
    scene = SceneConfig(shape=(96, 96), n_particles=6, diameter_nm=8, arrangement="hard-core")
    movie = Movie(MovieConfig(scene=scene, n_frames=9, diffusion_nm2_per_s=0.05), rng=4)
    return list(measure_movie(movie, movie_paths("random", (96, 96), 0.5, 9, rng=0), peak_counts=200, rng=1))


def test_the_tracks_are_those_of_the_whole_movie(film):
    session = LiveSession(CLASSICAL, max_step_px=12)
    frames = [session.push(scan) for scan in film]
    whole = track(
        [frame.table.drop(columns=["frame", "particle"]) for frame in frames],
        max_step_px=12,
        pixel_size_nm=film[0].pixel_size_nm,
    ).table
    live_numbers = np.concatenate([frame.table["particle"].to_numpy() for frame in frames])
    pairs = set(zip(whole["particle"].tolist(), live_numbers.tolist(), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}), "one to one"
    assert [frame.number for frame in frames] == list(range(9))
    assert sum(len(frame.new) for frame in frames) == session.n_tracks == live_numbers.max() + 1


def test_the_work_of_a_frame_does_not_grow(film, monkeypatch):
    seen = []
    monkeypatch.setattr(live, "track", lambda tables, **how: seen.append(len(tables)) or track(tables, **how))
    session = LiveSession(CLASSICAL)
    for _ in range(3):
        for scan in film:
            session.push(scan)
    assert max(seen) == session.max_gap + 3
    assert seen[-1] == seen[10]


def test_a_particle_that_is_overlooked_keeps_its_number(film):
    session = LiveSession(CLASSICAL, max_step_px=12)
    noise = np.random.default_rng(0).normal(1, 0.001, (96, 96))
    blank = Measurement(np.where(film[0].mask, noise, 0), film[0].mask, pixel_size_nm=film[0].pixel_size_nm)
    first = session.push(film[0])
    nothing = session.push(blank)
    again = session.push(film[1])
    assert len(nothing.table) < len(first.table)
    assert set(first.table["particle"]) & set(again.table["particle"]) == set(first.table["particle"])


def test_a_frame_of_another_shape_is_refused_and_the_session_goes_on(film):
    session = LiveSession(CLASSICAL)
    session.push(film[0])
    with pytest.raises(InputError, match="frame 1 has shape"):
        session.push(Measurement(np.random.default_rng(0).random((64, 64)), np.ones((64, 64), bool)))
    assert session.push(film[1]).number == 1


def test_of_a_frame_that_failed_nothing_is_kept(film):
    session = LiveSession(CLASSICAL)
    session.options = MovieOptions(recon="linear", segment="threshold", segment_options={"polarity": "odd"})
    other = Measurement(np.random.default_rng(0).random((64, 64)), np.ones((64, 64), bool))
    with pytest.raises(InputError, match="polarity"):
        session.push(other)
    session.options = CLASSICAL
    assert session.push(film[0]).number == 0
    with pytest.raises(InputError, match="expected a Measurement"):
        session.push(film[0].values)


def test_a_number_is_given_once_in_a_frame_though_an_earlier_track_has_come_apart(monkeypatch):
    """Many small particles shorten the step, so that the window, linked anew, no longer joins what it joined before."""
    columns = ["x", "y", "equivalent_diameter_px"]
    small = [[300 + 40 * k, 200, 4] for k in range(8)]
    tables = [[[100, 50, 20]], [[115, 50, 20]], [[100, 50, 20], [115.5, 50, 20], *small]]
    shown = iter([pd.DataFrame(rows, columns=columns, dtype=float) for rows in tables])
    monkeypatch.setattr(live, "measure", lambda *_, **__: next(shown))
    scan = Measurement(np.random.default_rng(0).random((32, 32)), np.ones((32, 32), bool))
    session = LiveSession(CLASSICAL)
    frames = [session.push(scan) for _ in tables]
    assert frames[0].table["particle"].tolist() == frames[1].table["particle"].tolist() == [0]
    assert frames[2].table["particle"].tolist() == [1, 0, *range(2, 10)]
    assert frames[2].new == (1, *range(2, 10))


def test_the_longest_step_may_come_with_the_options():
    options = replace(CLASSICAL, max_step_px=3.0)
    assert LiveSession(options).max_step_px == LiveSession(options, max_step_px=3).max_step_px == 3
    assert LiveSession(CLASSICAL).max_step_px is None
    with pytest.raises(InputError, match=r"max_step_px is 4 and 3\.0 in options"):
        LiveSession(options, max_step_px=4)


def test_impossible_sessions():
    with pytest.raises(InputError, match="no next frame"):
        LiveSession(MovieOptions(recon="inpainting", temporal=True))
    with pytest.raises(InputError, match="max_gap"):
        LiveSession(max_gap=-1)
    with pytest.raises(InputError, match="options is 'fast'; expected a MovieOptions"):
        LiveSession("fast")
