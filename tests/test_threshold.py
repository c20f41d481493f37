import numpy as np
import pytest

from segmentation.scores import average_precision, size_bias
from segmentation.threshold import background, split_touching, threshold_segment
from simulate import InputError

Y, X = np.mgrid[:96, :128]
PLACES = [(20, 25, 9), (22, 42, 9), (60, 30, 12), (70, 90, 7), (30, 100, 10)]  # the first two touch


def scene():
    labels = np.zeros(X.shape, int)
    for index, (row, col, radius) in enumerate(PLACES, start=1):
        labels[((X - col) ** 2 + (Y - row) ** 2 < radius**2) & (labels == 0)] = index
    return labels


def image(noise=0.1, seed=0):
    return (scene() > 0) + noise * np.random.default_rng(seed).normal(size=X.shape)


@pytest.mark.parametrize("threshold", ["half-height", "otsu"])
@pytest.mark.parametrize("noise", [0.0, 0.2, 0.4])
def test_drawn_disks_are_found_and_touching_ones_split(threshold, noise):
    found = threshold_segment(image(noise), threshold=threshold)
    assert found.max() == len(PLACES)
    assert found.dtype == np.int32
    assert average_precision(scene(), found, 0.75) == 1
    assert abs(size_bias(scene(), found)) < 0.06


def test_dark_and_bright_give_the_same_labels():
    bright = threshold_segment(image(), polarity="bright")
    assert bright.max() == len(PLACES)
    np.testing.assert_array_equal(bright, threshold_segment(-image(), polarity="dark"))
    np.testing.assert_array_equal(bright, threshold_segment(image()))
    np.testing.assert_array_equal(bright, threshold_segment(-image()))


def test_scale_and_offset_do_not_matter():
    np.testing.assert_array_equal(threshold_segment(image()), threshold_segment(1e4 * image() - 7e3))


def test_an_uneven_background_is_taken_off():
    tilt = 3 * (X / 128) + 2 * (Y / 96) ** 2
    assert average_precision(scene(), threshold_segment(image() + tilt), 0.75) == 1
    np.testing.assert_allclose(background(tilt + 5 * (scene() == 3), 2), tilt, atol=0.02)


def test_dim_particles_beside_bright_ones_need_their_own_threshold():
    heights = np.array([0, 1, 1, 0.3, 1, 0.3])[scene()]
    noisy = heights + 0.02 * np.random.default_rng(0).normal(size=X.shape)
    assert average_precision(scene(), threshold_segment(noisy), 0.75) == 1
    assert average_precision(scene(), threshold_segment(noisy, threshold="otsu"), 0.75) < 1


def test_frames_without_particles_are_empty():
    rng = np.random.default_rng(0)
    assert threshold_segment(np.full((32, 32), 7.0)).max() == 0
    assert threshold_segment(np.add.outer(np.arange(64.0), np.arange(48.0))).max() == 0
    assert threshold_segment(1e8 + X + Y).max() == 0  # only rounding is left of it
    assert all(threshold_segment(rng.normal(size=(96, 96))).max() == 0 for _ in range(10))


def test_holes_are_filled_and_specks_dropped():
    ring = (scene() == 3) & ((X - 30) ** 2 + (Y - 60) ** 2 >= 16)
    ring[5, 5] = True
    np.testing.assert_array_equal(threshold_segment(1.0 * ring) > 0, scene() == 3)


def test_splitting_keeps_every_pixel_and_depth_decides():
    mask = np.isin(scene(), (1, 2))
    assert split_touching(mask).max() == 2
    assert split_touching(mask, depth_px=20).max() == 1
    np.testing.assert_array_equal(split_touching(mask) > 0, mask)
    assert split_touching(np.zeros((9, 9), bool)).max() == 0
    assert split_touching(np.ones((9, 9), bool)).max() == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"polarity": "brigth"}, "did you mean 'bright'"),
        ({"threshold": "triangle"}, "unknown threshold"),
        ({"min_area_px": 0}, "min_area_px"),
        ({"smoothing_px": -1}, "smoothing_px"),
        ({"background_degree": 9}, "background_degree"),
        ({"split_depth_px": np.nan}, "split_depth_px"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        threshold_segment(image(), **options)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.full((20, 20), np.nan), "NaN"),
        (np.zeros((3, 20, 20)), "dimensions"),
        (np.zeros((20, 20), complex), "complex"),
    ],
)
def test_bad_images_are_refused(bad, message):
    with pytest.raises(InputError, match=message):
        threshold_segment(bad)


def test_a_pixel_that_touches_by_a_corner_belongs_to_what_it_touches():
    y, x = np.mgrid[:56, :60]
    far, left, right = (np.hypot(y - r, x - c) < radius for r, c, radius in ((12, 12, 8), (40, 30, 10), (40, 47, 10)))
    mask = far | left | right
    corner = next((30, c) for c in range(45, 58) if not mask[30, c] and not mask[29:32, c].any() and mask[31, c - 1])
    mask[corner] = True
    labels = split_touching(mask)
    assert labels[corner] == labels[40, 47]
    assert ((labels > 0) == mask).all()
    assert labels.max() == 3


def test_a_hot_pixel_does_not_hide_the_particles():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :96]
    disks = sum(np.hypot(y - r, x - c) < 8 for r, c in ((20, 20), (20, 70), (70, 30)))
    image = disks + rng.normal(0, 0.05, y.shape)
    image[50, 60] = 1e4
    assert threshold_segment(image).max() == 3
