"""Every registered segmentation method, by the same tests: a new one gets them free."""

import numpy as np
import pytest

from cs_recon import reconstruct
from segmentation import average_precision, segment
from segmentation.bench.compare import shipped_models
from segmentation.measure import measure as measure_particles
from simulate import InputError, Measurement, SceneConfig, Support, make_scene, measure, scan_path

SCENE = make_scene(
    SceneConfig(
        shape=(160, 192),
        n_particles=10,
        diameter_nm=12,
        shapes=("sphere",),
        support=Support(thickness_nm=100, texture=0.02),
    ),
    rng=6,
)


METHODS = sorted({model.method for model in shipped_models()})


@pytest.mark.parametrize("method", METHODS)
class TestEveryMethod:
    def test_it_finds_well_separated_particles(self, method):
        found = segment(SCENE.frame, method, pixel_size_nm=0.5)
        assert average_precision(SCENE.labels, found.labels, 0.5) >= 0.8
        assert found.labels.dtype == np.int32
        assert found.labels.shape == SCENE.frame.shape
        assert (found.pixel_size_nm, found.method) == (0.5, method)
        np.testing.assert_array_equal(found.intensity, SCENE.frame)

    @pytest.mark.parametrize(("gain", "offset"), [(1e-6, 0.0), (1e6, 0.0), (4.0, -300.0)])
    def test_the_unit_does_not_matter(self, method, gain, offset):
        base = segment(SCENE.frame, method)
        other = segment(SCENE.frame.astype(np.float64) * gain + offset, method)
        assert average_precision(base.labels, other.labels, 0.9) > 0.9

    def test_a_blank_image_is_empty_without_a_warning(self, method):
        assert len(segment(np.zeros((64, 64)), method)) == 0

    def test_a_frame_that_is_hardly_larger_than_a_particle(self, method):
        assert segment(SCENE.frame[:16, :16], method).labels.shape == (16, 16)

    def test_a_hot_pixel_hides_nothing(self, method):
        hot = SCENE.frame.astype(np.float64)
        hot[80, 100] = 1e4 * np.ptp(hot)
        base, other = segment(SCENE.frame, method), segment(hot, method)
        assert average_precision(base.labels, other.labels, 0.5) >= 0.8

    def test_reconstructions_and_full_scans_bring_name_and_pixel_size(self, method):
        scan = measure(SCENE.frame, scan_path("raster", SCENE.frame.shape), pixel_size_nm=0.25, name="lot 7")
        for image in (scan, reconstruct(scan, "nearest")):
            found = segment(image, method)
            assert (found.pixel_size_nm, found.name) == (0.25, "lot 7")

    def test_a_list_gives_what_each_frame_gives(self, method):
        """Of several shapes and kinds, in their order."""
        scan = measure(SCENE.frame, scan_path("raster", SCENE.frame.shape), peak_counts=200, rng=0, name="a scan")
        frames = [SCENE.frame, SCENE.frame[:96, :128], np.zeros(SCENE.frame.shape), scan, reconstruct(scan, "nearest")]
        together = segment(frames, method, batch_size=3)
        for frame, found in zip(frames, together, strict=True):
            alone = segment(frame, method)
            np.testing.assert_array_equal(found.labels, alone.labels)
            np.testing.assert_array_equal(found.intensity, alone.intensity)
            assert (found.name, found.method, found.info) == (alone.name, method, alone.info)
        assert segment([], method) == []

    def test_an_unknown_option_is_refused(self, method):
        with pytest.raises(InputError, match="has no option"):
            segment(SCENE.frame, method, treshold=1)


def test_a_device_that_is_not_there_is_refused():
    for image in (SCENE.frame, []):
        with pytest.raises(InputError, match="device is 'tpu'"):
            segment(image, "threshold", device="tpu")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((32, 32), np.nan), "NaN or infinite"),
        (np.zeros((1, 32)), "at least 8 x 8"),
        (np.zeros((32, 32, 3)), "3 dimensions"),
        (np.zeros((32, 32), complex), "real numbers"),
        ([SCENE.frame, Measurement(SCENE.frame, SCENE.labels > 0)], "frame 1 of the list: the measurement is sparse"),
        ([SCENE.frame, "frame.tif"], "frame 1 of the list is str; expected images"),
        ([SCENE.frame, np.full((32, 32), np.nan)], "frame 1 of the list: 1024 of 1024 pixels are NaN or infinite"),
        (Measurement(SCENE.frame, np.indices(SCENE.frame.shape).sum(axis=0) % 2 == 0), "reconstruct it first"),
    ],
)
def test_bad_images_are_one_clear_line(image, message):
    with pytest.raises(InputError, match=message):
        segment(image, "threshold")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_area_px": 0}, "min_area_px is 0"),
        ({"min_area_px": "a"}, "min_area_px is 'a'"),
        ({"views": 2.0}, "views is 2.0"),
        ({"min_score": "a"}, "min_score is 'a'"),
    ],
)
def test_bad_options_are_one_clear_line(options, message):
    with pytest.raises(InputError, match=message):
        segment(SCENE.frame, "mask-rcnn", **options)


@pytest.mark.parametrize("method", ["mask-rcnn", "mask-rpn"])
def test_particles_that_a_frame_of_any_size_cuts_end_with_it(method):
    """Sides that are no multiple of a network's stride: it sees what lies beyond, mirrored, and must not measure it."""
    y, x = np.mgrid[:104, :108]
    centres = ((50, 106), (102, 40), (40, 1), (1, 60))
    true = [np.hypot(y - row, x - col) < 10 for row, col in centres]
    image = 1.0 * np.any(true, axis=0) + np.random.default_rng(0).normal(0, 0.05, y.shape)
    found = segment(image, method)
    table = measure_particles(found)
    assert len(table) == 4
    assert table["touches_border"].all()
    for disk in true:
        label = np.bincount(found.labels[disk]).argmax()
        area = float(table.loc[table["label"] == label, "area_px2"].iloc[0])
        assert area == pytest.approx(np.count_nonzero(disk), rel=0.2)
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [108, 104, 108, 104]).all()


def test_a_misspelt_method_gets_the_nearest_name():
    with pytest.raises(InputError, match="did you mean 'mask-rcnn'"):
        segment(SCENE.frame, "maskrcnn")


@pytest.mark.parametrize("min_score", [-0.1, 1.5])
def test_bad_scores(min_score):
    with pytest.raises(InputError, match="min_score"):
        segment(SCENE.frame, "mask-rcnn", min_score=min_score)
