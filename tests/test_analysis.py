"""Statistics and figures of a frame's sizes and arrangement, written beside its table."""

import numpy as np
import pandas as pd
import pytest
from command_line import run_main
from PIL import Image

from segmentation import Instances, measure, population
from segmentation.analysis import describe_analysis, save_analysis
from segmentation.dispersion import dispersion

APART = np.kron(np.arange(1, 10).reshape(3, 3), np.pad(np.ones((10, 10), int), 10))
TILES = np.kron(np.arange(1, 26).reshape(5, 5), np.pad(np.ones((9, 9), int), (0, 1)))


def saved(labels, folder):
    particles = Instances(labels, pixel_size_nm=0.5)
    return particles, measure(particles), *save_analysis(particles, measure(particles), folder, "frame")


def test_what_is_written_is_what_was_found(tmp_path):
    particles, table, sizes, arranged, paths = saved(APART, tmp_path)
    expected = population(table, particles.shape, pixel_size_nm=0.5)
    written = pd.read_csv(paths["population"]).set_index("statistic")
    there = written.loc[expected.statistics.index, list(expected.statistics)]
    pd.testing.assert_frame_equal(there, expected.statistics, check_names=False)
    assert written["value"][["count", "effective_n", "number_density"]].tolist() == pytest.approx(
        [expected.count, expected.effective_n, expected.number_density]
    )
    assert written["unit"]["d50"] == "nm"
    summary = pd.read_csv(paths["dispersion"]).set_index("statistic")["value"]
    assert summary["count"] == 9
    assert summary["clark_evans"] == pytest.approx(dispersion(particles, envelopes=0).summary["clark_evans"])
    assert len(pd.read_csv(paths["neighbours"])) == 9
    pd.testing.assert_frame_equal(pd.read_csv(paths["curves"]), arranged.curves)
    for name in ("population_figure", "dispersion_figure"):
        assert np.ptp(np.asarray(Image.open(paths[name]).convert("L"))) > 100
    text = describe_analysis(sizes, arranged)
    assert "D50 5.64" in text
    assert "placed at random without overlap (L function, p = " in text


def test_a_full_frame_has_no_test_and_says_so(tmp_path):
    *_, sizes, arranged, _ = saved(TILES, tmp_path)
    assert "Too dense" in describe_analysis(sizes, arranged)
    assert "hard_core_p_L" not in arranged.summary


@pytest.mark.parametrize("n", [0, 1])
def test_none_and_one_particle(n, tmp_path):
    labels = np.zeros((40, 40), int)
    labels[10:20, 10:20] = n
    *_, sizes, arranged, paths = saved(labels, tmp_path)
    assert sizes.count == arranged.summary["count"] == n
    assert all(path.is_file() for path in paths.values())
    assert "random" not in describe_analysis(sizes, arranged)


def test_the_command_writes_it_where_asked(tmp_path, capsys):
    frame = np.where(APART, 200, 20).astype(np.uint8)
    Image.fromarray(frame).save(tmp_path / "frame.png")
    options = ["--segment", "threshold", "--analysis", "--out", tmp_path / "out"]
    status, text, _ = run_main(capsys, "segment", tmp_path / "frame.png", *options)
    assert status == 0
    assert "Diameters of whole particles in px" in text
    assert (tmp_path / "out" / "frame_dispersion.png").is_file()
    assert (tmp_path / "out" / "frame_population.csv").is_file()
    sizes = pd.read_csv(tmp_path / "out" / "frame_population.csv", keep_default_na=False).set_index("statistic")
    assert sizes["unit"][["d50", "geometric_sd", "number_density"]].tolist() == ["px", "", "1/px2"]
    assert float(sizes["value"]["count"]) == 9
    fits = pd.read_csv(tmp_path / "out" / "frame_fits.csv")
    assert list(fits.columns) == ["family", "location", "scale", "ks", "p_value", "aic"]
    status, *_ = run_main(capsys, "segment", tmp_path / "frame.png", *options[:2], *options[3:])
    assert status == 0
    left = {file.name for file in (tmp_path / "out").iterdir()}
    assert "frame_particles.csv" in left
    assert not left & {"frame_fits.csv", "frame_population.csv", "frame_dispersion.png", "frame_curves.csv"}


def test_a_movie_is_refused(tmp_path, capsys):
    np.save(tmp_path / "movie.npy", np.random.default_rng(0).random((3, 32, 32)))
    status, _, error = run_main(capsys, "run", tmp_path / "movie.npy", "--analysis", "--out", tmp_path / "out")
    assert status == 2
    assert "--analysis is for one frame" in error
    assert not (tmp_path / "out").exists()
