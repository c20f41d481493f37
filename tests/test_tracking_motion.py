"""Motion and growth: known diffusion, localisation error, drift and growth come back, and intervals cover them."""

import numpy as np
import pandas as pd
import pytest

from segmentation.tracking import (
    Tracks,
    diffusion,
    drift,
    growth_rates,
    mean_squared_displacement,
    track,
    without_drift,
)
from simulate.errors import InputError

PIXEL_NM, INTERVAL_S = 0.5, 2.0
TRUE_D = PIXEL_NM**2 / (2 * INTERVAL_S)


def movie_of(paths):
    frames, n, _ = paths.shape
    frame, particle = np.divmod(np.arange(frames * n), n)
    x, y = paths.reshape(-1, 2).T
    table = pd.DataFrame({"frame": frame, "particle": particle, "x": x, "y": y})
    return Tracks(table, pd.DataFrame(), PIXEL_NM, INTERVAL_S)


def brownian(rng, *, n=300, frames=101, noise=0.0, exposures=1):
    """Paths of steps of standard deviation 1, each frame the mean over `exposures` moments of its interval."""
    fine = rng.normal(0, np.sqrt(1 / exposures), (frames * exposures, n, 2)).cumsum(axis=0)
    return fine.reshape(frames, exposures, n, 2).mean(axis=1) + rng.normal(0, noise, (frames, n, 2))


@pytest.mark.parametrize(("noise", "exposures"), [(0.0, 1), (0.7, 1), (1.5, 1), (0.7, 20)])
def test_diffusion_is_unbiased_and_its_interval_covers(noise, exposures):
    tracks = movie_of(brownian(np.random.default_rng(1), noise=noise, exposures=exposures, n=600))
    result = diffusion(tracks, blur=0.0 if exposures == 1 else 1 / 6)
    value, low, high, variance = result.filter(regex="^(diffusion|localisation)").to_numpy().T
    expected = PIXEL_NM**2 / (2 * INTERVAL_S)
    assert value[-1] == pytest.approx(expected, rel=0.04)
    assert variance[-1] == pytest.approx((noise * PIXEL_NM) ** 2, rel=0.04, abs=0.003)
    assert 0.93 < np.mean((low[:-1] <= expected) & (expected <= high[:-1])) < 0.975
    # The predicted spread is the one that the estimates have.
    spread = (high[:-1] - low[:-1]) / 2 / 1.95996
    assert np.std(value[:-1]) == pytest.approx(np.sqrt(np.mean(spread**2)), rel=0.08)
    assert low[-1] < expected < high[-1]


def test_the_interval_of_all_particles_together_covers():
    """Sixty short tracks with a large localisation error, in which the term of 1 / N^2 counts."""
    expected, found = PIXEL_NM**2 / (2 * INTERVAL_S), []
    for seed in range(200):
        last = diffusion(movie_of(brownian(np.random.default_rng(seed), n=60, frames=6, noise=3.0))).iloc[-1]
        found.append(last.filter(regex="^diffusion_"))
    value, low, high = np.transpose(found)
    assert 0.93 < np.mean((low < expected) & (expected < high)) < 0.99
    assert np.mean(high - low) / 2 / 1.95996 == pytest.approx(np.std(value), rel=0.08)


def test_steps_over_gaps_do_not_count():
    tracks = movie_of(brownian(np.random.default_rng(3), n=1, frames=40))
    table = tracks.table
    gap = Tracks(table.drop(index=20), table, PIXEL_NM, INTERVAL_S)
    assert diffusion(gap)["n_steps"].tolist() == [37, 37]


def test_a_step_over_a_gap_is_multiplied_with_none():
    """Frames 0 to 2 and 5 to 7: two pairs of consecutive steps, by hand."""
    x = np.array([0.0, 1.0, 4.0, 9.0, 11.0, 16.0])  # steps 1, 3, (5), 2, 5
    table = pd.DataFrame({"frame": [0, 1, 2, 5, 6, 7], "particle": 0, "x": x, "y": 0.0})
    found = diffusion(Tracks(table, pd.DataFrame()), min_steps=2).iloc[0]
    square, product = (1 + 9 + 4 + 25) / 4 / 2, (1 * 3 + 2 * 5) / 2 / 2  # of both axes, one of which is at rest
    assert found["n_steps"] == 4
    assert found["localisation_variance_px2"] == pytest.approx(-product)
    assert found["diffusion_px2_per_frame"] == pytest.approx(square / 2 + product)


def test_msd_is_linear_and_drift_is_taken_out():
    paths = brownian(np.random.default_rng(2), n=400, noise=0.5)
    paths[..., 0] += 2.0 * np.arange(len(paths))[:, None]
    tracks = movie_of(paths)
    moved = drift(tracks)
    np.testing.assert_allclose(moved["x"], 2.0 * moved["frame"], atol=2)
    assert np.abs(moved["y"]).max() < 2
    msd = mean_squared_displacement(without_drift(tracks), max_lag=5)
    # Four D t, and twice the localisation variance on either axis.
    expected = PIXEL_NM**2 * (2 * msd["lag"] + 4 * 0.5**2)
    np.testing.assert_allclose(msd["msd_nm2"], expected, rtol=0.03)
    each = mean_squared_displacement(tracks, max_lag=2, per_track=True)
    assert len(each) == 800


def test_drift_over_missing_frames_and_of_lone_particles():
    table = pd.DataFrame({"frame": [0, 5, 9, 9], "particle": [0, 0, 0, 1], "x": [1.0, 4.0, 5.0, 90.0], "y": 0.0})
    tracks = Tracks(table, pd.DataFrame())
    assert drift(tracks)["x"].tolist() == [0, 3, 4]
    assert without_drift(tracks).table["x"].tolist() == [1, 1, 1, 86]
    # What was overlooked in a frame says nothing about the step into the next one.
    table = pd.DataFrame(
        {"frame": [0, 1, 2, 0, 2], "particle": [0, 0, 0, 1, 1], "x": [1.0, 2.0, 3.0, 5.0, 9.0], "y": 0.0}
    )
    assert drift(Tracks(table, pd.DataFrame()))["x"].tolist() == [0, 1, 2]


def test_growth_rate_stands_outliers_and_its_interval_covers():
    rng = np.random.default_rng(4)
    frame, particle = np.divmod(np.arange(30 * 300), 300)
    diameter = 8 + 0.25 * frame + rng.normal(0, 0.3, frame.size) + 5 * (frame == 7)
    table = pd.DataFrame({"frame": frame, "particle": particle, "x": 0.0, "y": 0.0, "equivalent_diameter_px": diameter})
    rates = growth_rates(Tracks(table, pd.DataFrame(), None, 0.5))
    assert list(rates)[2:] == ["growth_px_per_s", "growth_low_px_per_s", "growth_high_px_per_s"]
    rate, low, high = rates.iloc[:, 2:].to_numpy(float).T
    assert rate.mean() == pytest.approx(0.5, rel=0.02)
    assert 0.91 < np.mean((low <= 0.5) & (high >= 0.5)) < 0.99


def test_nothing_moves_where_there_is_nothing():
    empty = track([])
    for table in (drift(empty), diffusion(empty), mean_squared_displacement(empty), growth_rates(empty)):
        assert not len(table)
    assert not len(without_drift(empty).table)


def test_bad_input_is_named():
    twice = Tracks(pd.DataFrame({"frame": [0, 0], "particle": 0, "x": 1.0, "y": 1.0}), pd.DataFrame())
    for call in (drift, diffusion, mean_squared_displacement):
        with pytest.raises(InputError, match="twice"):
            call(twice)
    with pytest.raises(InputError, match="no column equivalent_diameter_nm or equivalent_diameter_px"):
        growth_rates(twice)
    with pytest.raises(InputError, match="not everywhere a finite number"):
        growth_rates(Tracks(twice.table.assign(equivalent_diameter_nm=np.nan), pd.DataFrame()))
    with pytest.raises(InputError, match="blur"):
        diffusion(twice, blur=0.3)
    with pytest.raises(InputError, match="max_lag"):
        mean_squared_displacement(twice, max_lag=0)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_what_few_particles_share_is_not_taken_for_drift(n):
    """Their median step holds a part of each one's own: diffusion and MSD are what they would be without drift."""
    rng = np.random.default_rng(10 + n)
    estimates, covered, msd = [], [], []
    for _ in range(120):
        paths = brownian(rng, n=n, frames=40, noise=0.1) + np.arange(40)[:, None, None]
        still = without_drift(movie_of(paths))
        last = diffusion(still).iloc[-1]
        estimates.append(last["diffusion_nm2_per_s"])
        covered.append(last["diffusion_low_nm2_per_s"] <= TRUE_D <= last["diffusion_high_nm2_per_s"])
        msd.append(mean_squared_displacement(still, max_lag=2)["msd_nm2"].to_numpy())
    assert np.mean(estimates) == pytest.approx(TRUE_D, rel=0.06)
    assert np.mean(covered) > 0.85
    np.testing.assert_allclose(np.mean(msd, axis=0), PIXEL_NM**2 * (2 * np.array([1, 2]) + 4 * 0.1**2), rtol=0.06)


def test_msd_without_drift_does_not_hang_on_how_frames_are_numbered():
    """Of every second frame a movie has the same steps, each over two frames."""
    tracks = movie_of(brownian(np.random.default_rng(7), n=6, frames=60))
    spaced = Tracks(tracks.table.assign(frame=2 * tracks.table["frame"]), tracks.events, PIXEL_NM, INTERVAL_S / 2)
    one, two = (mean_squared_displacement(without_drift(each), max_lag=4) for each in (tracks, spaced))
    assert two["lag"].tolist() == [2, 4]
    np.testing.assert_allclose(two["msd_nm2"], one["msd_nm2"][:2])


@pytest.mark.parametrize(("n", "noise", "missing"), [(4, 0.2, 0.3), (6, 0.2, 0.1), (4, 1.2, 0.0)])
def test_overlooked_and_badly_located_particles_do_not_pass_for_faster_ones(n, noise, missing):
    """A particle has no say in the drift of frames without it; errors of location tie consecutive steps together."""
    rng = np.random.default_rng(20 + n)
    estimates, variances, msd = [], [], []
    for _ in range(150):
        paths = brownian(rng, n=n, frames=50, noise=noise) + rng.normal(0, 3, (50, 1, 2)).cumsum(axis=0)
        tracks = movie_of(paths)
        seen = tracks.table[rng.random(len(tracks.table)) >= missing]
        still = without_drift(Tracks(seen, tracks.events, PIXEL_NM, INTERVAL_S))
        last = diffusion(still).iloc[-1]
        estimates.append(last["diffusion_nm2_per_s"])
        variances.append(last["localisation_variance_nm2"])
        msd.append(mean_squared_displacement(still, max_lag=3)["msd_nm2"].to_numpy())
    assert np.mean(estimates) == pytest.approx(TRUE_D, rel=0.06)
    assert np.mean(variances) == pytest.approx((noise * PIXEL_NM) ** 2, rel=0.04, abs=0.01)
    np.testing.assert_allclose(np.mean(msd, axis=0), PIXEL_NM**2 * (2 * np.arange(1, 4) + 4 * noise**2), rtol=0.05)


def test_who_tells_the_drift_changes_from_step_to_step():
    """Where errors of location are ten times what is moved, a fault of a tenth in the products doubles D.

    Seen by one in two, consecutive medians share fewer particles' errors than those of the same particles would.
    """
    rng = np.random.default_rng(31)
    found, msd = [], []
    for _ in range(250):
        tracks = movie_of(brownian(rng, n=8, frames=60, noise=2.2))
        seen = Tracks(tracks.table[rng.random(len(tracks.table)) >= 0.3], tracks.events, PIXEL_NM, INTERVAL_S)
        still = without_drift(seen)
        found.append(diffusion(still).iloc[-1][["diffusion_nm2_per_s", "localisation_variance_nm2"]])
        msd.append(mean_squared_displacement(still, max_lag=4)["msd_nm2"].to_numpy())
    (value, variance), noise = np.mean(found, axis=0), (2.2 * PIXEL_NM) ** 2
    assert value == pytest.approx(TRUE_D, rel=0.25)
    assert variance == pytest.approx(noise, rel=0.03)
    np.testing.assert_allclose(np.mean(msd, axis=0), PIXEL_NM**2 * 2 * np.arange(1, 5) + 4 * noise, rtol=0.03)


def test_a_part_of_the_particles_knows_the_frames_that_it_was_overlooked_in():
    """One particle alone: its table has no frame 2, in which it was overlooked, but the step over it is none."""
    rng = np.random.default_rng(8)
    tracks = movie_of(brownian(rng, n=4, frames=6))
    table = tracks.table[(tracks.table["particle"] > 0) | (tracks.table["frame"] != 2)]
    still = without_drift(Tracks(table, tracks.events, PIXEL_NM, INTERVAL_S))
    alone = Tracks(still.table[still.table["particle"] == 0], still.events, PIXEL_NM, INTERVAL_S)
    every = mean_squared_displacement(still, per_track=True)
    every = every[every["particle"] == 0]
    found = mean_squared_displacement(alone, per_track=True)
    assert found["lag"].tolist() == every["lag"].tolist() == [1, 2]
    assert found["n"].tolist() == every["n"].tolist() == [3, 1]
    # Over one step nothing hangs on the others; over two, who told both is known of all alone.
    assert found["msd_nm2"].iloc[0] == pytest.approx(every["msd_nm2"].iloc[0])


def test_displacements_over_several_steps_by_hand():
    """Three particles of which the third is overlooked in the third of four frames."""
    x = {0: [0.0, 3.0, 4.0, 8.0], 1: [0.0, 1.0, 5.0, 7.0], 2: [0.0, 2.0, np.nan, 6.0]}
    table = pd.DataFrame(
        [(t, k, at, 0.0) for k, path in x.items() for t, at in enumerate(path)], columns=["frame", "particle", "x", "y"]
    ).dropna()
    still = without_drift(Tracks(table, pd.DataFrame()))
    # Medians 2, 2.5 and 3 of three, two and two steps; what is left of particle 0: 1, -1.5, 1; of particle 1 the same
    # with the other sign; of particle 2: 0.
    msd = mean_squared_displacement(still, max_lag=3).set_index("lag")["msd_px2"]
    three, two = 1 - 2 / 3 + 0.4487, 1 / 2
    assert msd[1] == pytest.approx((2 * 1 / three + 0 + 2 * 1.5**2 / two + 2 * 1 / two) / 7)
    late, early = 1 - 1 / 2 - 1 / 2 + 2 / 4, 1 - 1 / 3 - 1 / 2 + 2 / 6  # two particles tell both steps
    first = 1 / three + 1.5**2 / two - 2 * 1.5 / early
    second = 1.5**2 / two + 1 / two - 2 * 1.5 / late
    assert msd[2] == pytest.approx((2 * first + 2 * second) / 4)
    assert msd[3] == pytest.approx(first + 1 / two - 2 * 1.5 / late + 2 * 1 / early)


def test_one_particle_tells_no_diffusion_from_drift():
    still = without_drift(movie_of(brownian(np.random.default_rng(5), n=1, frames=40)))
    assert not len(diffusion(still))
    assert not len(mean_squared_displacement(still))


def test_intervals_hold_where_many_detections_are_missing():
    rng = np.random.default_rng(6)
    covered = []
    for _ in range(150):
        tracks = movie_of(brownian(rng, n=20, frames=40, noise=1.5))
        seen = Tracks(tracks.table[rng.random(len(tracks.table)) > 0.4], tracks.events, PIXEL_NM, INTERVAL_S)
        last = diffusion(seen).iloc[-1]
        covered.append(last["diffusion_low_nm2_per_s"] <= TRUE_D <= last["diffusion_high_nm2_per_s"])
    assert np.mean(covered) > 0.91


@pytest.mark.parametrize(("n_frames", "told"), [(3, False), (4, False), (5, True)])
def test_growth_of_few_frames_has_no_interval(n_frames, told):
    """The extreme slopes of four frames hold the true one in 92 %."""
    frame = np.arange(n_frames)
    table = pd.DataFrame({"frame": frame, "particle": 1, "x": 0.0, "y": 0.0, "equivalent_diameter_px": frame + 9.0})
    rates = growth_rates(Tracks(table, pd.DataFrame()), min_frames=3)
    assert rates.growth_px_per_frame.item() == pytest.approx(1)
    assert rates[["growth_low_px_per_frame", "growth_high_px_per_frame"]].notna().all(axis=None) == told


@pytest.mark.parametrize("study", [drift, without_drift, mean_squared_displacement, diffusion, growth_rates])
@pytest.mark.parametrize("particle", ["p0", 0.5, float("nan")])
def test_particles_are_numbered(study, particle):
    columns = {"x": 0.0, "y": 1.0, "equivalent_diameter_px": 9.0}
    table = pd.DataFrame({"frame": range(8), "particle": [particle] * 8, **columns})
    with pytest.raises(InputError, match="column 'particle' holds"):
        study(Tracks(table, pd.DataFrame()))
    with pytest.raises(InputError, match="expected a Tracks"):
        study(table)
