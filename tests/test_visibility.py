"""Which particles a dose can show."""

import numpy as np
import pytest

from segmentation.visibility import MIN_AREA_PX, rose_snr, visible
from simulate import SceneConfig, make_scene


def disk_frame(radius=6.0, signal=1.0, background=1.0, shape=(96, 96)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = (np.hypot(y - 48, x - 48) < radius).astype(np.int32)
    return background + signal * labels.astype(float), labels


@pytest.mark.parametrize("counts", [20.0, 200.0])
@pytest.mark.parametrize("ratio", [1.0, 0.1])
def test_a_disk_on_a_flat_film_has_the_signal_to_noise_of_its_counts(counts, ratio):
    frame, labels = disk_frame(signal=1.0, background=1.0)
    # Brightest 2 gets `counts`; the film half of them; the disk's extra counts sum over its sampled pixels.
    area = labels.sum() * ratio
    expected = (counts / 2) * area / np.sqrt(counts / 2 * area)
    assert rose_snr(frame, labels, peak_counts=counts, ratio=ratio)[0] == pytest.approx(expected, rel=0.02)


def test_dark_particles_count_as_bright_ones_do():
    frame, labels = disk_frame(signal=-0.5, background=1.0)
    other, _ = disk_frame(signal=0.5, background=1.0)
    noise = {"peak_counts": 100.0}
    dark, bright = rose_snr(frame, labels, **noise)[0], rose_snr(other, labels, **noise)[0]
    assert dark == pytest.approx(bright * np.sqrt(1.5), rel=0.05), "the bright one's peak takes more of the counts"


def test_grain_hides_particles_that_counts_would_show():
    rng = np.random.default_rng(0)
    frame, labels = disk_frame(signal=0.2)
    grainy = frame + rng.normal(0, 0.2, frame.shape)
    assert rose_snr(frame, labels, peak_counts=1e5)[0] > 30
    assert rose_snr(grainy, labels, peak_counts=1e5)[0] < 8


def test_visible_keeps_labels_and_drops_what_is_small_or_lost():
    frame, labels = disk_frame(radius=8, signal=0.05)
    labels = labels * 7
    labels[2:4, 2:9] = 3
    assert labels[labels == 3].size < MIN_AREA_PX
    assert set(np.unique(visible(labels))) == {0, 7}
    assert set(np.unique(visible(labels, frame, peak_counts=1e6))) == {0, 7}
    assert visible(labels, frame, peak_counts=10.0).max() == 0


def test_less_dose_shows_no_more_particles():
    scene = make_scene(SceneConfig(shape=(192, 192), n_particles=25, diameter_nm=6), rng=3)
    counts = [0.1, 1.0, 300.0]
    shown = [np.unique(visible(scene.labels, scene.frame, peak_counts=dose)).size for dose in counts]
    assert shown == sorted(shown)
    assert shown[0] < shown[-1]


@pytest.mark.parametrize("labels", [np.zeros((32, 32), np.int32), np.ones((32, 32), np.int32)])
def test_frames_of_nothing_or_of_one_particle(labels):
    frame = np.ones((32, 32))
    assert np.isfinite(rose_snr(frame, labels, peak_counts=10)).all()
    assert visible(labels, frame, peak_counts=10).max() == 0
