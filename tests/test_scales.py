"""At which size a network sees a frame: the choice by its own scores, and what comes back of it."""

import numpy as np
import pytest
import torch
from command_line import run_main
from scipy.ndimage import gaussian_filter

from cs_recon import reconstruct
from segmentation import Instances, average_precision, load_segmenter, mapping, segment
from segmentation.scales import SMALLEST_MEDIAN_PX, SURE, octaves, shrunk, surest
from segmentation.shipped import shipped_file
from simulate import InputError, SceneConfig, make_scene, measure, scan_path

SHAPE = (512, 600)


def discs(*circles):
    """Label map of (row, column, diameter)."""
    labels = np.zeros(SHAPE, np.int32)
    rows, cols = np.ogrid[: SHAPE[0], : SHAPE[1]]
    for number, (row, col, diameter) in enumerate(circles, start=1):
        labels[(rows - row) ** 2 + (cols - col) ** 2 <= diameter**2 / 4] = number
    return labels


def found(labels, *scores):
    return Instances(labels, scores=np.array(scores, dtype=np.float32))


LARGE = found(discs((150, 150, 200), (350, 400, 220)), 0.9, 0.95)
TEXTURE = found(discs((140, 150, 20), (340, 400, 24), (400, 60, 14)), 0.6, 0.7, 0.4)
NOTHING = Instances(np.zeros(SHAPE, np.int32))


def chosen(by_scale, other=NOTHING):
    """What `surest` makes of these, and at which scales it looked."""
    asked = []

    def look(scale, frames):
        asked.append(round(scale, 3))
        assert frames == [0]
        return [by_scale.get(round(scale, 3), other)]

    ((result, scale),) = surest(look, SHAPE)
    return result, round(scale, 3), asked


@pytest.mark.parametrize(
    ("shape", "expected"), [((512, 600), [1, 0.5, 0.25]), ((239, 4000), [1]), ((240, 240), [1, 0.5]), ((32, 32), [1])]
)
def test_frames_are_not_seen_too_small(shape, expected):
    assert octaves(shape) == expected


def test_the_surest_scale_is_taken_and_its_neighbours_are_tried():
    result, scale, asked = chosen({1: TEXTURE, 0.5: LARGE})
    assert scale == 0.5
    assert asked == [1, 0.5, 0.25, 0.354, 0.707]
    np.testing.assert_array_equal(result.labels, LARGE.labels)
    surer = found(LARGE.labels, 0.98, 0.98)
    assert chosen({1: TEXTURE, 0.5: LARGE, 0.354: surer})[1] == 0.354
    assert chosen({1: TEXTURE, 0.5: LARGE, 0.707: surer})[1] == 0.707
    result, scale, asked = chosen({1: LARGE, 0.5: TEXTURE})
    assert (scale, asked) == (1, [1, 0.5, 0.25])


def test_each_of_several_frames_gets_its_own_scale():
    frames = [{1: LARGE}, {1: TEXTURE, 0.5: LARGE}, {1: TEXTURE, 0.25: LARGE}]
    asked = {}

    def look(scale, which):
        asked[round(scale, 3)] = which
        return [frames[index].get(round(scale, 3), NOTHING) for index in which]

    assert [round(scale, 3) for _, scale in surest(look, SHAPE, 3)] == [1, 0.5, 0.25]
    assert asked == {1: [0, 1, 2], 0.5: [0, 1, 2], 0.25: [0, 1, 2], 0.354: [1, 2], 0.707: [1]}


def test_of_scales_that_are_as_sure_the_largest_is_taken():
    surer, as_sure = found(LARGE.labels, 0.94, 0.94), found(LARGE.labels, 0.93, 0.93)
    assert chosen({1: as_sure, 0.25: surer, 0.5: as_sure})[1] == 0.25
    assert chosen({1: TEXTURE, 0.25: surer, 0.5: surer})[1] == 0.5
    assert chosen({1: surer, 0.25: surer, 0.5: surer})[1] == 1


def test_a_scale_that_leaves_particles_too_small_is_not_taken():
    small = discs((100, 100, 30), (200, 300, 30))
    assert chosen({1: found(small, 0.5, 0.5), 0.5: found(small, 0.9, 0.9)})[1] == 1
    wide = discs((100, 100, 34), (200, 300, 34))
    assert 17 >= SMALLEST_MEDIAN_PX > 15
    assert chosen({1: found(wide, 0.5, 0.5), 0.5: found(wide, 0.9, 0.9)})[1] == 0.5


def test_where_nothing_is_found_the_full_size_is_seen():
    result, scale, _ = chosen({})
    assert (len(result), scale) == (0, 1)


def test_sure_small_particles_of_larger_views_are_added():
    beside, within, wide = (450, 50, 12), (150, 150, 12), (80, 500, 60)
    view = found(discs(beside, within, wide, (480, 560, 12)), 0.94, 0.99, 0.99, SURE - 0.2)
    assert len(chosen({1: view, 0.5: found(LARGE.labels, 0.999, 0.999)})[0]) == 2  # it is less sure than those
    result, scale, _ = chosen({1: view, 0.5: found(LARGE.labels, 0.97, SURE)})
    assert scale == 0.5
    assert len(result) == 3
    assert result.labels[450, 50] == 3
    assert result.scores.tolist() == pytest.approx([0.97, SURE, 0.94])
    assert result.boxes[2].tolist() == [44, 444, 57, 457]
    assert result.labels[150, 150] == 1
    assert result.labels[80, 500] == 0  # seen at half its size too, and not found there
    assert result.labels[480, 560] == 0


def test_an_image_is_averaged():
    image = np.random.default_rng(0).normal(3, 1, (200, 240))
    small = shrunk(image, 0.25)
    assert small.shape == (50, 60)
    assert small.mean() == pytest.approx(image.mean(), abs=0.01)
    # A triangle of weights over 4 pixels a side each way leaves a variance of (sum of squares) 0.172 a direction.
    assert small[2:-2, 2:-2].std() == pytest.approx(0.172, abs=0.02)
    ramp = np.add.outer(np.arange(64.0), np.zeros(64))
    np.testing.assert_allclose(shrunk(ramp, 0.5)[4:-4, 0], 2 * np.arange(4, 28) + 0.5)
    assert shrunk(image, 1) is image


def large_particles(*circles):
    """A frame of particles wider than networks know, rough within as real ones are, and their labels."""
    rng = np.random.default_rng(5)
    labels = discs(*circles or ((150, 160, 250), (340, 430, 290)))
    rough, film = (gaussian_filter(rng.normal(size=SHAPE), width) for width in (4, 2))
    return np.where(labels > 0, 200 + 25 * rough / rough.std(), 60 + 4 * film / film.std()), labels


@pytest.mark.parametrize("circles", [[(256, 300, 440)], [(150, 160, 250), (340, 430, 290)]])
def test_particles_wider_than_a_network_knows_are_found_at_their_size(circles):
    frame, labels = large_particles(*circles)
    result = segment(frame)
    assert result.info["scale"] < 1
    assert average_precision(labels, result.labels, 0.8) == 1
    areas = np.bincount(result.labels.ravel())[1:]
    assert sorted(areas / np.bincount(labels.ravel())[1:]) == pytest.approx([1] * len(circles), abs=0.08)
    for row, col, diameter in circles:
        edges = np.array([col - diameter / 2, row - diameter / 2, col + diameter / 2, row + diameter / 2])
        assert np.abs(result.boxes - edges).max(axis=1).min() < 0.05 * diameter


def test_the_full_size_alone_shows_no_particle_that_is_too_wide():
    frame, labels = large_particles((256, 300, 440))
    assert average_precision(labels, segment(frame, scale=1).labels) == 0


@pytest.mark.parametrize("ratio", [1.0, 0.2])
def test_features_are_seen_as_their_reconstruction_is(ratio):
    frame, labels = large_particles()
    path = scan_path("random", SHAPE, ratio, rng=0) if ratio < 1 else scan_path("raster", SHAPE)
    scan = measure(frame, path, peak_counts=200, rng=0)
    image = reconstruct(scan)
    through_image = segment(image)
    for given in (image, scan):
        result = segment(given, mapping="features")
        assert result.info["scale"] == through_image.info["scale"] < 1
        # The shipped weights are those of the detector of images: folded and reduced, both see the same.
        assert average_precision(through_image.labels, result.labels, 0.9) == 1
    assert average_precision(labels, result.labels, 0.8) == 1


def test_features_of_frames_of_windows_are_seen_at_full_size(monkeypatch):
    frame, _ = large_particles()
    monkeypatch.setattr(mapping, "WHOLE_PIXELS", 1000)
    scan = measure(frame, scan_path("raster", SHAPE), peak_counts=200, rng=0)
    assert segment(scan, mapping="features").info["scale"] == 1
    with pytest.raises(InputError, match="sees this frame at full size"):
        segment(scan, mapping="features", scale=0.5)


def test_small_particles_are_seen_at_full_size():
    scene = make_scene(SceneConfig(shape=(256, 256), n_particles=20, diameter_nm=6), rng=2)
    own, full = segment(scene.frame), segment(scene.frame, scale=1)
    assert own.info["scale"] == full.info["scale"] == 1
    np.testing.assert_array_equal(own.labels, full.labels)


@pytest.mark.parametrize("method", ["mask-rcnn", "u-net"])
def test_a_given_scale_is_kept_and_shapes_come_back(method):
    frame, labels = large_particles()
    result = segment(frame, method, scale=0.25)
    assert result.info["scale"] == 0.25
    assert result.shape == SHAPE
    assert average_precision(labels, result.labels) == 1
    np.testing.assert_array_equal(result.intensity, frame)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"scale": 0}, "scale"),
        ({"scale": 1.5}, "scale is 1.5"),
        ({"scale": float("nan")}, "scale"),
        ({"scale": 0.05}, "fewer than 32 a side; expected 0.063 or more"),
        ({"scale": 0.5, "mapping": "sparse"}, "sees this frame at full size"),
    ],
)
def test_impossible_scales_are_refused(options, told):
    frame, _ = large_particles()
    with pytest.raises(InputError, match=told):
        segment(frame, **options)


def test_the_command_says_the_scale(capsys, tmp_path):
    np.save(tmp_path / "large.npy", large_particles()[0])
    for given, told in (
        ([], "mask-rcnn saw the frame at 0."),
        (["--scale", "0.25"], "at 0.25 of its size, as --scale says"),
    ):
        status, printed, error = run_main(capsys, "segment", tmp_path / "large.npy", *given, "--out", tmp_path / "out")
        assert status == 0, error
        assert told in printed
    status, printed, _ = run_main(
        capsys, "segment", tmp_path / "large.npy", "--scale", 1, "--out", tmp_path / "out", "--min-snr", 0
    )
    assert status == 0
    assert "of its size" not in printed


def test_a_detector_first_loaded_in_inference_serves_training_too(tmp_path):
    copied = tmp_path / "detector.safetensors"
    with shipped_file("mask-rcnn") as path:
        copied.write_bytes(path.read_bytes())
    with torch.inference_mode():
        network = load_segmenter("mask-rcnn", weights=str(copied)).network
    assert not any(parameter.is_inference() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("shape", "told"), [((20, 40), "expected 1, the full size"), ((310, 400), "expected 0.104 or")]
)
def test_the_least_scale_that_a_message_tells_is_accepted(shape, told):
    frame = np.random.default_rng(0).normal(size=shape)
    with pytest.raises(InputError, match=told):
        segment(frame, scale=0.1)
    assert segment(frame, scale=min(1.0, np.ceil(32_000 / min(shape)) / 1000)).shape == shape


def test_a_blank_frame_tells_its_scale_like_any_other():
    assert segment(np.ones((300, 300))).info["scale"] == 1
