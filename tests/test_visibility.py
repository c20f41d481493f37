"""Which particles a dose can show, and which a reconstruction shows at all."""

import numpy as np
import pytest

from cs_recon import reconstruct
from segmentation import segment
from segmentation.bench.frames import VALIDATION_SEED, simulated_frame
from segmentation.training_data import SceneData, discernible
from segmentation.visibility import MIN_AREA_PX, found_snr, outline_snr, rose_snr, visible
from simulate import InputError, Measurement, SceneConfig, make_scene


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


def test_an_outline_is_as_sure_as_the_counts_beside_it():
    frame, labels = disk_frame(radius=10)
    y, x = np.mgrid[:96, :96]
    apart = np.hypot(y - 48, x - 48)
    middle, rim = apart < 8, (apart >= 8) & (apart < 12)
    step = 2 - frame[rim].mean()
    expected = step / np.sqrt((2 + frame[rim].mean()) / 2 * 2 / 40 * (1 / middle.sum() + 1 / rim.sum()) / 0.1)
    assert outline_snr(frame, labels, peak_counts=40.0, ratio=0.1)[0] == pytest.approx(expected, rel=0.15)


def test_in_a_heap_of_equals_each_is_far_from_the_film_and_no_outline_is_sure():
    labels = np.zeros((96, 96), np.int32)
    labels[16:80, 16:80] = np.kron(np.arange(1, 17).reshape(4, 4), np.ones((16, 16), int))
    frame = np.where(labels > 0, 0.2, 1.0)
    inside = np.array([6, 7, 10, 11]) - 1
    assert (rose_snr(frame, labels, peak_counts=50.0, ratio=0.1) > 7).all()
    assert (outline_snr(frame, labels, peak_counts=50.0, ratio=0.1)[inside] < 1e-6).all()
    assert outline_snr(frame, np.where(labels == 6, 6, 0).astype(np.int32), peak_counts=50.0).size == 1
    full = Measurement(frame, np.ones(frame.shape, bool))
    assert not np.isin(inside + 1, discernible(labels, frame, full, 50.0, SceneData())).any()
    np.testing.assert_array_equal(discernible(labels, frame, full, None, SceneData()), labels)
    np.testing.assert_array_equal(discernible(labels, frame, full, 50.0, SceneData(outline_snr=0.0)), labels)


def test_a_heap_of_particles_too_small_for_a_rim_shows_no_outline_within():
    labels = np.zeros((64, 64), np.int32)
    labels[20:44, 20:44] = np.kron(np.arange(1, 37).reshape(6, 6), np.ones((4, 4), int))
    frame = np.where(labels > 0, 1.0, 0.2)
    found = outline_snr(frame, labels, peak_counts=50.0).reshape(6, 6)
    assert (found[1:-1, 1:-1] == 0).all()
    assert (found[0] > 2).all(), "those at the edge of the heap differ from the film"
    assert outline_snr(frame, np.ones((64, 64), np.int32), peak_counts=50.0) == 0, "one that fills the frame"


def test_particles_that_no_sample_fell_on_are_no_targets():
    frame, labels = disk_frame()
    labels[4:12, 4:12] = 2
    mask = np.zeros(frame.shape, bool)
    mask[40:60:4, 40:60:4] = True
    mask[5, 5:7] = True
    seen = Measurement(frame, mask)
    assert set(np.unique(discernible(labels, frame, seen, None, SceneData()))) == {0, 1}
    assert set(np.unique(discernible(labels, frame, seen, None, SceneData(fewest_samples=2)))) == {0, 1, 2}


@pytest.mark.parametrize("labels", [np.zeros((32, 32), np.int32), np.eye(32, dtype=np.int32)])
def test_outlines_of_nothing_and_of_the_thinnest(labels):
    found = outline_snr(np.ones((32, 32)), labels, peak_counts=10.0)
    assert found.tolist() == [0.0] * labels.max()


@pytest.mark.parametrize("ratio", [1.0, 0.1])
def test_found_particles_are_judged_by_the_counts_of_their_scan(ratio):
    frame, labels = disk_frame()
    mask = np.zeros(frame.shape, bool)
    mask.ravel()[:: round(1 / ratio)] = True
    scan = Measurement(frame, mask, counts_per_unit=10.0)
    expected = rose_snr(frame, labels, peak_counts=20.0, ratio=scan.ratio)
    np.testing.assert_allclose(found_snr(frame, labels, scan), expected)
    twice = Measurement(frame, mask, counts_per_unit=10.0, exposure=np.full(frame.shape, 2.0))
    np.testing.assert_allclose(found_snr(frame, labels, twice), np.sqrt(2) * expected)
    shifted = Measurement(frame + 7, mask, counts_per_unit=10.0, black_level=7.0)
    np.testing.assert_allclose(found_snr(frame + 7, labels, shifted), expected)
    noisy = Measurement(frame, mask, counts_per_unit=10.0, read_noise=np.sqrt(0.3))
    np.testing.assert_allclose(found_snr(frame, labels, noisy), expected / 2)  # a variance of 0.1 becomes one of 0.4


def test_without_counts_the_image_alone_tells():
    frame, labels = disk_frame()
    grainy = frame + np.random.default_rng(0).normal(0, 0.2, frame.shape)
    labels[4:16, 4:16] = 2
    disk, blank = found_snr(grainy, labels)
    assert disk > 10 > 1 > blank
    assert found_snr(frame, labels).tolist() == [np.inf, 0.0]
    np.testing.assert_array_equal(found_snr(grainy, labels, Measurement(grainy, labels >= 0)), [disk, blank])
    assert found_snr(frame, 0 * labels).size == 0


def test_networks_do_not_report_particles_without_contrast():
    """On the blank film between dark particles the detector sees squares of nothing, in a scene that shows it well."""
    frame, _ = simulated_frame("film", VALIDATION_SEED + 38, 256, "ordinary")
    image = reconstruct(frame.scan(0.1, 50.0))
    everything, believed = segment(image, min_snr=0.0), segment(image)
    assert len(everything) - len(believed) > 40
    assert (found_snr(image.image, believed.labels, image.scan) >= 1).all()
    assert believed.ids.tolist() == list(range(1, len(believed) + 1))
    assert set(believed.scores) < set(everything.scores)
    on_particles = [np.mean(frame.labels[believed.labels == index] > 0) > 0.3 for index in believed.ids]
    assert np.mean(on_particles) > 0.8
    with pytest.raises(InputError, match="min_snr is -1"):
        segment(image, min_snr=-1.0)
