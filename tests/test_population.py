"""Population statistics against closed forms: weights, percentiles, fits and the coverage of their intervals."""

import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

from segmentation.instances import Instances
from segmentation.measure import measure
from segmentation.population import border_weights, population, weighted_quantiles
from segmentation.population_figures import draw_shape_map, draw_sizes, population_figure
from segmentation.population_fits import distribution, fit_distributions
from simulate import InputError


def table_of(sizes, touches=None, side=None):
    sizes = np.asarray(sizes, dtype=float)
    side = sizes if side is None else side
    return pd.DataFrame(
        {
            "equivalent_diameter_px": sizes, "area_px2": np.pi / 4 * sizes**2,
            "touches_border": np.zeros(sizes.size, bool) if touches is None else touches,
            "bbox_x0": 0, "bbox_y0": 0, "bbox_x1": side, "bbox_y1": side,
        }
    )  # fmt: skip


def test_border_weights_undo_what_the_border_takes():
    rng = np.random.default_rng(0)
    sizes = rng.choice([10.0, 40.0], 60_000)
    corner = rng.uniform(-40, 100, (sizes.size, 2))
    first = np.ceil(corner - 0.5)  # the pixels whose centres a particle covers
    last = np.ceil(corner + sizes[:, None] - 0.5) - 1
    seen = ((last >= 0) & (first <= 99)).all(axis=1)
    whole = ((first >= 1) & (last <= 98)).all(axis=1)
    found = population(table_of(sizes[seen], ~whole[seen]), (100, 100), n_resamples=2)
    assert np.mean(sizes[whole] == 40) < 0.35
    assert found.weights[found.sizes == 40].sum() / found.weights.sum() == pytest.approx(0.5, abs=0.015)
    assert found.number_density * 140**2 * 100**2 / 100**2 == pytest.approx(sizes.size, rel=0.01)
    assert found.effective_n < found.sizes.size
    assert border_weights(table_of([99.0]), (100, 100))[0] == 5


def test_equal_weights_give_hazens_quantiles_and_whole_weights_repeat():
    sizes = np.sort(np.random.default_rng(1).random(37))
    levels = (0.1, 0.5, 0.9)
    expected = np.quantile(sizes, levels, method="hazen")
    np.testing.assert_allclose(weighted_quantiles(sizes, np.ones((1, 37)), levels)[0], expected)
    times = np.arange(1, 38)
    many = np.quantile(np.repeat(sizes, 50 * times), levels)
    np.testing.assert_allclose(weighted_quantiles(sizes, times[None], levels)[0], many, atol=0.03)


def test_statistics_of_a_log_normal_population():
    sizes = stats.lognorm(0.3, scale=20).ppf((np.arange(4000) + 0.5) / 4000)
    value = population(table_of(sizes, side=np.zeros(4000)), (1000, 1000), n_resamples=50).statistics["value"]
    assert value["geometric_mean"] == pytest.approx(20, rel=1e-3)
    assert value["geometric_sd"] == pytest.approx(np.exp(0.3), rel=2e-3)
    assert value["d90"] == pytest.approx(20 * np.exp(1.2816 * 0.3), rel=1e-3)
    # Hatch and Choate: the area-weighted median is larger by exp(2 s^2).
    assert value["area_d50"] == pytest.approx(20 * np.exp(2 * 0.09), rel=3e-3)


@pytest.mark.parametrize(
    ("law", "family", "location", "scale"),
    [
        (stats.lognorm(0.4, scale=9), "log-normal", 9, np.exp(0.4)),
        (stats.norm(30, 4), "normal", 30, 4),
        (stats.weibull_min(1.7, scale=12), "weibull", 12, 1.7),
    ],
)
def test_fits_find_their_own_family(law, family, location, scale):
    sizes = np.sort(law.rvs(1500, random_state=0))
    fits = fit_distributions(sizes, np.ones(1500))
    assert fits.index[0] == family
    assert fits.loc[family, "location"] == pytest.approx(location, rel=0.05)
    assert fits.loc[family, "scale"] == pytest.approx(scale, rel=0.06)
    assert fits.loc[family, "ks"] == pytest.approx(stats.kstest(sizes, law.cdf).statistic, abs=0.02)
    assert fits.loc[family, "p_value"] > 0.05
    again = fit_distributions(sizes[sizes > 0], np.full(1500, 3.0))
    pd.testing.assert_frame_equal(fits, again, rtol=1e-6)


def test_bootstrap_intervals_cover_and_halve_with_four_times_as_many():
    rng = np.random.default_rng(2)
    hits, widths = 0, []
    for _ in range(100):
        found = population(table_of(rng.lognormal(3, 0.3, 80), side=0), (500, 500), n_resamples=200, rng=rng)
        low, high = found.statistics.loc["geometric_mean", ["low", "high"]]
        hits += low <= np.exp(3) <= high
        widths.append(high - low)
    assert 86 <= hits <= 99
    assert found.more_to_halve == 240
    assert found.particles_needed("geometric_mean", (high - low) / 4) == pytest.approx(320, abs=1)
    more = population(table_of(rng.lognormal(3, 0.3, 320), side=0), (500, 500), n_resamples=200, rng=rng)
    low, high = more.statistics.loc["geometric_mean", ["low", "high"]]
    assert (high - low) / np.mean(widths) == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize(("between", "least"), [(0.0, 88), (0.2, 82)])
def test_intervals_of_several_frames_know_that_frames_differ(between, least):
    rng = np.random.default_rng(3)
    hits, alone = 0, 0
    for _ in range(100):
        logs = 3 + np.repeat(rng.normal(0, between, 6), 20) + rng.normal(0, 0.2, 120)
        table = table_of(np.exp(logs), side=0)
        named = table.assign(frame=np.repeat(list("abcdef"), 20))
        for kind in ("named", "alone"):
            given = named if kind == "named" else table
            found = population(given, (500, 500), n_resamples=200, rng=rng)
            low, high = found.statistics.loc["d50", ["low", "high"]]
            if kind == "named":
                hits += low <= np.exp(3) <= high
            else:
                alone += low <= np.exp(3) <= high
    assert least <= hits <= 99
    assert alone < 65 if between else alone > 85


def test_a_particle_that_a_movie_shows_often_is_one():
    rng = np.random.default_rng(4)
    sizes = rng.lognormal(3, 0.3, 30)
    once = population(table_of(sizes, side=0), (500, 500)).statistics
    movie = pd.concat([table_of(sizes, side=0).assign(frame=n, particle=range(30)) for n in range(40)])
    often = population(movie, (500, 500)).statistics
    width, expected = (found.loc["mean", "high"] - found.loc["mean", "low"] for found in (often, once))
    assert width == pytest.approx(expected, rel=0.15)
    assert often.loc["mean", "value"] == pytest.approx(once.loc["mean", "value"])


def test_limits_of_two_frames_stay_possible():
    sizes = np.concatenate([np.full(5, 2.0), np.linspace(50, 51, 5)])
    found = population(table_of(sizes, side=0).assign(frame=np.repeat([0, 1], 5)), (500, 500)).statistics
    assert (found["low"].drop("geometric_sd") >= 0).all()
    assert found.loc["geometric_sd", "low"] >= 1
    assert (found["low"] <= found["value"]).all()
    assert (found["value"] <= found["high"]).all()


def test_few_particles_do_not_tell_how_large_the_largest_are():
    """As the docstring says: limits of the area-weighted D90 hold the truth of 30 particles in half of the cases."""
    rng = np.random.default_rng(5)
    truth = {"d50": 20.0, "area_d90": 20 * np.exp(2 * 0.35**2 + 1.2816 * 0.35)}
    hits = {(name, n): 0 for name in truth for n in (30, 300)}
    for n in (30, 300):
        for _ in range(100):
            sizes = 20 * rng.lognormal(0, 0.35, n)
            limits = population(table_of(sizes, side=0), (500, 500), n_resamples=200, rng=rng).statistics
            for name, value in truth.items():
                hits[name, n] += limits.loc[name, "low"] <= value <= limits.loc[name, "high"]
    assert 35 <= hits["area_d90", 30] <= 60
    assert min(hits["area_d90", 300], hits["d50", 30], hits["d50", 300]) >= 86


def frame(kind):
    labels = np.zeros((40, 50), int)
    if kind == "one":
        labels[10:20, 10:20] = 1
    elif kind == "border":
        labels[:5, :5], labels[30:, 3:9] = 1, 2
    return labels


@pytest.mark.parametrize(("kind", "count", "whole"), [("none", 0, 0), ("one", 1, 1), ("border", 2, 0)])
def test_few_particles_are_told_of_and_drawn(kind, count, whole, tmp_path):
    labels = frame(kind)
    table = measure(labels)
    found = population(table, labels.shape)
    assert (found.count, found.sizes.size, len(found.fits)) == (count, whole, 0)
    assert found.coverage == pytest.approx(np.mean(labels > 0))
    assert np.isnan(found.statistics["low"]).all()
    assert np.isnan(found.statistics.loc["d50", "value"]) == (whole == 0)
    assert population_figure(labels, table, found, tmp_path / "sizes.png").stat().st_size > 1000


def test_the_legend_of_sizes_covers_nothing_and_tells_units():
    rng = np.random.default_rng(0)
    found = population(table_of(rng.lognormal(2, 0.2, 60), side=0), (500, 500), n_resamples=50, rng=rng)
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    draw_sizes(axes, found)
    FigureCanvasAgg(figure).draw()
    box = axes.get_legend().get_window_extent()
    assert box.y1 < axes.xaxis.label.get_window_extent().y0
    assert box.y0 >= 0
    assert box.x1 <= figure.bbox.width
    fit, *lines = (text.get_text() for text in axes.get_legend().get_texts())
    assert re.match(rf"log-normal: geometric mean \S+ {found.unit}, geometric SD", fit)
    assert [line[:3] for line in lines] == ["D10", "D50", "D90"]
    assert all(re.search(rf"\d {found.unit} \(grey: \S+ to \S+\)", line) for line in lines)


def test_maps_of_shape_have_a_scale_bar_and_arrows_only_where_values_lie_beyond():
    labels = np.zeros((60, 80), int)
    for number in range(5):
        labels[10:20, 10 * number : 10 * number + 5 + number % 2] = number + 1
    table = measure(Instances(labels, pixel_size_nm=0.5))
    for values, extend in (([1, 1, 1, 1, 1], "neither"), ([1, 2, 3, 4, 5], "both")):
        figure = Figure()
        axes = figure.subplots()
        draw_shape_map(axes, Instances(labels, pixel_size_nm=0.5), table.assign(aspect_ratio=values), "aspect_ratio")
        assert axes.get_title(loc="center") == "aspect ratio"
        assert [text.get_text() for text in axes.texts] == ["10 nm"]
        assert axes.patches[0].get_width() == 20
        assert axes.images[0].colorbar.extend == extend


def test_frames_without_particles_count_if_told():
    table = pd.concat([measure(frame("one")).assign(frame=number) for number in (0, 4, 5)], ignore_index=True)
    named, told = population(table, (40, 50)), population(table, (40, 50), n_frames=12)
    assert (named.n_frames, told.n_frames) == (3, 12)
    assert told.number_density == pytest.approx(named.number_density / 4)
    assert told.coverage == pytest.approx(named.coverage / 4)
    with pytest.raises(InputError, match="n_frames is 2; expected a whole number of at least 3"):
        population(table, (40, 50), n_frames=2)


def test_wrong_tables_are_refused(tmp_path):
    table = measure(frame("one"))
    with pytest.raises(InputError, match="give pixel_size_nm"):
        population(table, (40, 50), pixel_size_nm=0.5)
    with pytest.raises(InputError, match="confidence"):
        population(table, (40, 50), confidence=95)
    with pytest.raises(InputError, match=r"pixel size is -0\.5"):
        population(table, (40, 50), pixel_size_nm=-0.5)
    for value in (np.nan, -5.0, "large"):
        wrong = table.assign(equivalent_diameter_px=[value] * len(table))
        with pytest.raises(InputError, match="no number above 0; leave those rows out"):
            population(wrong, (40, 50))
    with pytest.raises(InputError, match="expected true or false"):
        population(table.assign(touches_border="False"), (40, 50))
    assert population(table.assign(touches_border=np.array([False], object)), (40, 50)).touching_border == 0
    with pytest.raises(InputError, match="no column 'bbox_y0'"):
        population(table.drop(columns="bbox_y0"), (40, 50))
    with pytest.raises(InputError, match="hold NaN or infinite"):
        population(table.assign(bbox_y0=np.nan), (40, 50))
    with pytest.raises(InputError, match="of a frame of 10 x 12 pixels"):
        population(table, (10, 12))
    found = population(table, (40, 50))
    with pytest.raises(InputError, match="at least two"):
        found.particles_needed("d50", 1.0)
    with pytest.raises(InputError, match="expected the frame's own table"):
        population_figure(frame("border"), table, found, tmp_path / "a.png")
    with pytest.raises(InputError, match="did you mean 'solidity'"):
        population_figure(frame("one"), table, found, tmp_path / "a.png", columns=("solidty",))


def test_fits_of_sizes_that_are_far_from_any_family_or_all_but_equal():
    odd = np.sort(np.r_[np.full(5000, 10.0), 9.999, 1.0])
    weibull = fit_distributions(odd, np.ones(odd.size)).loc["weibull"]
    law = distribution("weibull", weibull["location"], weibull["scale"])
    likelihood = law.logpdf(odd).sum()
    for change in (0.9, 1.1):
        other = distribution("weibull", weibull["location"], weibull["scale"] * change)
        assert other.logpdf(odd).sum() < likelihood
    near = np.array([10.0, np.nextafter(10.0, 11), np.nextafter(10.0, 9)])
    assert len(fit_distributions(np.sort(near), np.ones(3))) == 0


@pytest.mark.parametrize(
    "frames",
    [
        ["a", "a", "b", None],
        ["a", "a", "b", float("nan")],
        [1, 1, "b", "c"],
        pd.Categorical(["a", "a", "b", None]),
        pd.array(["a", "a", "b", None], dtype="string"),
    ],
    ids=str,
)
def test_frames_may_be_named_by_anything(frames):
    found = population(table_of([5.0, 6.0, 7.0, 8.0]).assign(frame=frames), (64, 64))
    assert found.n_frames == 3
    numbered = population(table_of([5.0, 6.0, 7.0, 8.0]).assign(frame=[0, 0, 1, 2]), (64, 64))
    pd.testing.assert_frame_equal(found.statistics, numbered.statistics)
