"""Adaptive sampling goes where the uncertainty is, in passes, with all its samples kept."""

from dataclasses import replace

import numpy as np
import pytest

from cs_recon import reconstruct, write_image
from segmentation.cli.main import main
from segmentation.pipeline import adaptive_measure
from simulate import InputError, SceneConfig, adaptive_scan, make_scene, measure, scan_path
from simulate.schemes import refine_positions

FRAME = make_scene(SceneConfig(shape=(64, 80), n_particles=4, diameter_nm=8), rng=0).frame
DOUBT = np.where(np.arange(80) < 20, 1.0, 0.0) * np.ones((64, 1))


def test_later_passes_go_where_the_doubt_is():
    seen = []

    def scan(path):
        seen.append(path)
        return measure(FRAME, path, peak_counts=40, rng=len(seen))

    done = adaptive_scan(scan, lambda _: DOUBT, FRAME.shape, 0.1, n_passes=3, rng=0)
    assert [path.n_positions for path in seen] == [256, 128, 128]
    assert done.mask.sum() == 512 == done.path.n_positions
    first = seen[0].mask
    assert first[:, :20].mean() == pytest.approx(first[:, 20:].mean(), rel=0.15)
    for path in seen[1:]:
        assert not (path.mask & first).any()
        # Weight 1 against a tenth of the mean weight 1/4, over 16 and 48 columns' worth of pixels.
        share = path.mask[:, :20].sum() / path.n_positions
        assert share == pytest.approx(1.025 * 0.25 / (1.025 * 0.25 + 0.025 * 0.75), abs=0.06)
    rows = np.concatenate([path.rows for path in seen])
    np.testing.assert_array_equal(done.path.rows, rows)


def test_positions_are_new_and_follow_the_squared_doubt():
    visited = np.zeros((64, 64), dtype=bool)
    visited[::4] = True
    doubt = np.where(np.arange(64) < 32, 2.0, 1.0) * np.ones((64, 1))
    count = np.zeros(2)
    for seed in range(40):
        rows, cols = refine_positions(visited, doubt, 200, np.random.default_rng(seed))
        assert not visited[rows, cols].any()
        assert len(set(zip(rows.tolist(), cols.tolist(), strict=True))) == 200
        count += [(cols < 32).sum(), (cols >= 32).sum()]
    floor = 0.1 * (1 + 0.25) / 2
    assert count[0] / count[1] == pytest.approx((1 + floor) / (0.25 + floor), rel=0.05)


def test_the_reconstructions_sigma_leads_the_scan():
    first = adaptive_measure(FRAME, 0.2, peak_counts=50, rng=0, noise_rng=1)
    again = adaptive_measure(FRAME, 0.2, peak_counts=50, rng=0, noise_rng=1)
    np.testing.assert_array_equal(first.values, again.values)
    assert first.ratio == pytest.approx(0.2, abs=1e-3)
    bright = np.median(FRAME) * 3 < FRAME
    assert first.mask[bright].mean() > 1.3 * first.mask[~bright].mean()
    with pytest.raises(InputError, match="gives no sigma"):
        adaptive_measure(FRAME, 0.2, recon="linear", rng=0)


def test_what_widens_sigma_everywhere_leads_no_scan(monkeypatch):
    """It would send positions to where nothing is."""
    first = adaptive_measure(FRAME, 0.2, peak_counts=50, rng=0, noise_rng=1)
    seen = []

    def wider(*args, **options):
        found = reconstruct(*args, **options)
        seen.append(found.widened_by)
        much = float(10 * found.sigma.max())
        return replace(found, sigma=np.hypot(found.sigma, much), widened_by=float(np.hypot(found.widened_by, much)))

    monkeypatch.setattr("segmentation.pipeline.reconstruct", wider)
    again = adaptive_measure(FRAME, 0.2, peak_counts=50, rng=0, noise_rng=1)
    assert seen
    bright = np.median(FRAME) * 3 < FRAME
    assert again.mask[bright].mean() == pytest.approx(first.mask[bright].mean(), rel=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("fast", "recon_options is 'fast'; expected a dictionary of options"),
        ({"preste": "fast"}, "has no option 'preste' .did you mean 'preset'"),
    ],
)
def test_options_that_cannot_be_are_refused_before_the_sample_sees_a_beam(options, message, monkeypatch):
    monkeypatch.setattr("segmentation.pipeline.scan_frame", None)
    with pytest.raises(InputError, match=message):
        adaptive_measure(FRAME, 0.2, recon_options=options, rng=0)


def test_the_guide_runs_as_told(monkeypatch, tmp_path):
    """On a machine with a GPU, `--device cpu` is for the passes of an adaptive scan too."""
    told = []

    def recorded(scan, recon, **options):
        told.append(options)
        return reconstruct(scan, recon, **options)

    monkeypatch.setattr("segmentation.pipeline.reconstruct", recorded)
    adaptive_measure(FRAME, 0.2, n_passes=2, peak_counts=50, rng=0, device="cpu", recon_options={"preset": "fast"})
    assert told == [{"device": "cpu", "preset": "fast"}]
    write_image(tmp_path / "frame.tif", FRAME)
    sparse = ["--ratio", "0.2", "--scheme", "adaptive", "--device", "cpu", "--out", str(tmp_path)]
    assert main(["reconstruct", str(tmp_path / "frame.tif"), "--recon", "linear", *sparse]) == 0
    assert told[1:] == [{"device": "cpu"}] * 2


def test_the_scheme_takes_the_doubt_as_its_prior():
    path = scan_path("adaptive", FRAME.shape, 0.1, rng=0, prior=DOUBT)
    assert path.mask[:, :20].mean() > 2 * path.mask[:, 20:].mean()
    assert (np.diff(path.flat) < 0).sum() == 1  # two passes in raster order


@pytest.mark.parametrize(
    ("options", "doubt", "message"),
    [
        ({"n_passes": 1}, DOUBT, "at least 2"),
        ({"n_passes": 2.5}, DOUBT, "whole number"),
        ({"n_passes": 200}, DOUBT, "at least two each"),
        ({}, DOUBT[:-1], "of the frame's"),
        ({}, np.full_like(DOUBT, np.nan), "finite"),
        ({}, -DOUBT, "at least 0"),
    ],
)
def test_bad_passes_and_doubts_are_refused(options, doubt, message):
    with pytest.raises(InputError, match=message):
        adaptive_scan(lambda path: measure(FRAME, path), lambda _: doubt, FRAME.shape, 0.05, rng=0, **options)


def test_a_pass_over_nothing_is_a_pass():
    """Where all is vacuum a pass counts no electron; the whole scan has contrast."""
    frame = np.zeros((64, 64))
    frame[:, 40:50] = 1.0
    passes = []

    def scan(path):
        passes.append(measure(frame, path, peak_counts=20, rng=1))
        return passes[-1]

    done = adaptive_scan(scan, lambda _: np.where(np.arange(64) < 30, 1.0, 0.0) ** 9 * np.ones((64, 1)), (64, 64), 0.05,
                         n_passes=9, rng=0)  # fmt: skip
    assert any(np.ptp(one.samples) == 0 for one in passes[1:])
    np.testing.assert_array_equal(done.samples, sum(one.values for one in passes)[done.mask])
    assert done.path.scheme == "adaptive"
    with pytest.raises(InputError, match="is the file blank"):
        measure(np.zeros((64, 64)), scan_path("random", (64, 64), 0.1, rng=0))


def test_a_doubt_that_is_no_number():
    with pytest.raises(InputError, match="the uncertainty: got the type"):
        adaptive_scan(lambda path: measure(FRAME, path), lambda _: [["a"] * 80] * 64, FRAME.shape, 0.1, rng=0)
