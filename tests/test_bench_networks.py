"""The benchmarks of the networks themselves: their intervals, and what their parts are worth."""

from dataclasses import replace

import numpy as np
import pytest

from cs_recon import reconstruct
from cs_recon.bench import ablation as module
from cs_recon.bench.adaptation import adaptation_table, labyrinth
from cs_recon.bench.frames import frame_sources
from cs_recon.bench.run import scan_of
from cs_recon.bench.uncertainty import coverage_table
from cs_recon.calibrate import coverage
from segmentation.cli import main


def test_coverage_is_the_mean_over_frames_of_each_ratio():
    sources = frame_sources(2, generator="training", size=48)
    table = coverage_table(sources, ratios=(0.1, 0.5))
    frames = [source.make() for source in sources]
    taken = zip(frames, ("random", "jittered-grid"), (5.0, 20.0), strict=True)
    scans = [scan_of(frame, index, scheme, 0.5, counts) for index, (frame, scheme, counts) in enumerate(taken)]
    told = [reconstruct(scan, "inpainting") for scan in scans]
    expected = [coverage(frame, done.image, done.sigma) for frame, done in zip(frames, told, strict=True)]
    assert table.loc["inpainting, training", "50%"] == pytest.approx(np.mean(expected), abs=1e-6)
    assert list(table.columns) == ["10%", "50%"]
    assert len(table) == 6
    untold = [reconstruct(replace(scan, counts_per_unit=None), "inpainting") for scan in scans]
    expected = np.mean([coverage(frame, done.image, done.sigma) for frame, done in zip(frames, untold, strict=True)])
    assert table.loc["inpainting, training, untold", "50%"] == pytest.approx(expected, abs=1e-6)
    assert (table.loc["inpainting, training, untold"] != table.loc["inpainting, training"]).any()


def test_coverage_of_several_kinds_is_given_together_too():
    sources = [
        *frame_sources(2, generator="training", size=32),
        *frame_sources(1, generator="crystal", size=32),
    ]
    table = coverage_table(sources, ratios=(0.5,))["50%"]
    apart = (2 * table["inpainting, training"] + table["inpainting, crystal"]) / 3
    assert table["inpainting, all"] == pytest.approx(apart, abs=1e-6)
    assert len(table) == 18


def test_stripes_have_the_period_they_are_drawn_with():
    frame = labyrinth(256, np.random.default_rng(0))
    power = np.abs(np.fft.fft2(frame - frame.mean())) ** 2
    frequency = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)[None])
    ring = (frequency > 1 / 12) & (frequency < 1 / 6)
    assert power[ring].sum() > 0.85 * power.sum()


def test_adaptation_is_judged_on_other_frames(tmp_path):
    table = adaptation_table(tmp_path, steps=2, size=64, scans=2, frames=2)
    assert (table["PSNR after (dB)"] >= table["PSNR before (dB)"] - 1).all()
    assert table.filter(like="coverage").gt(0.5).all(axis=None)


def test_variants_are_trained_alike_and_judged(tmp_path, monkeypatch, capsys):
    small = replace(module.BASE, widths=(4, 6), steps=2)
    variants = {"base": small, "tied": replace(small, tied=True, steps=3), "one step": replace(small, steps=1)}
    monkeypatch.setattr(module, "VARIANTS", variants)
    monkeypatch.setattr(module, "RATIOS", (0.1,))
    table = module.ablation(tmp_path / "runs", steps=2, frames=2)
    assert list(table.index) == list(variants)
    assert table["parameters (k)"]["tied"] == pytest.approx(table["parameters (k)"]["base"], rel=0.01)
    assert (table["PSNR at 10% (dB)"] > 5).all()
    assert (tmp_path / "runs" / "one-step" / "log.csv").exists()
    assert main(["bench", "ablation", "--steps", "2", "--out", str(tmp_path / "runs")]) == 0  # goes on: nothing to do
    assert "one step" in capsys.readouterr().out
