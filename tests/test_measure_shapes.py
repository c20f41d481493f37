"""Columns of `measure` against closed forms, brute force and scikit-image; sub-pixel outlines; size intervals."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize, special
from skimage.measure import regionprops_table

from segmentation.circles import backgrounds, inscribed_diameters
from segmentation.instances import Instances
from segmentation.measure import measure
from segmentation.outlines import mask_areas, mask_outlines
from segmentation.polygons import polygon_widths
from segmentation.size_interval import COMMON_SHARE, PIXEL_COUNT_VARIANCE, mean_displacement_sd, size_intervals
from simulate import InputError


def convex(rng, n):
    angles = np.sort(rng.uniform(0, 2 * np.pi, n))
    return np.c_[3 * np.cos(angles) + 1, 2 * np.sin(angles) - 4]


def test_polygons_agree_with_brute_force():
    rng = np.random.default_rng(0)
    polygons = [convex(rng, n) for n in (3, 3, 4, 5, 8, 13, 40, 41, 90)]
    found = polygon_widths(polygons)
    turns = np.linspace(0, np.pi, 20001)
    for index, corners in enumerate(polygons):
        widths = np.ptp(corners @ np.stack([np.cos(turns), np.sin(turns)]), axis=0)
        assert found.feret_min[index] == pytest.approx(widths.min(), rel=1e-3)
        assert found.feret_max[index] == pytest.approx(widths.max(), rel=1e-6)
        narrow = turns[widths.argmin()] + np.pi / 2
        across = np.ptp(corners @ [np.cos(narrow), np.sin(narrow)])
        assert found.feret_perpendicular[index] == pytest.approx(across, rel=2e-3)
        radius = optimize.minimize(
            lambda c, corners=corners: np.linalg.norm(corners - c, axis=1).max(),
            corners.mean(axis=0),
            method="Nelder-Mead",
            options={"xatol": 1e-9, "fatol": 1e-9, "maxiter": 4000},
        ).fun
        assert found.enclosing_diameter[index] == pytest.approx(2 * radius, rel=1e-5)
        assert found.enclosing_diameter[index] <= 2 * radius * (1 + 1e-9)
        alone = polygon_widths([corners])
        np.testing.assert_allclose([value[0] for value in alone], [value[index] for value in found])


def test_square_pixels_agree_with_scikit_image():
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:80, :120]
    labels = np.zeros((80, 120), int)
    for number in range(1, 13):
        at, axes = rng.uniform((8, 8), (72, 112)), rng.uniform(3, 9, 2)
        labels[((y - at[0]) / axes[0]) ** 2 + ((x - at[1]) / axes[1]) ** 2 < 1] = number
    image = rng.random(labels.shape)
    names = ("label", "area", "centroid", "bbox", "eccentricity", "axis_major_length", "axis_minor_length")
    expected = regionprops_table(labels, image, properties=(*names, "intensity_mean", "equivalent_diameter_area"))
    table = measure(labels, image)
    pairs = {
        "label": "label", "area_px2": "area", "y": "centroid-0", "x": "centroid-1", "bbox_y0": "bbox-0",
        "bbox_x0": "bbox-1", "bbox_y1": "bbox-2", "bbox_x1": "bbox-3", "eccentricity": "eccentricity",
        "major_axis_px": "axis_major_length", "minor_axis_px": "axis_minor_length",
        "mean_intensity": "intensity_mean", "equivalent_diameter_px": "equivalent_diameter_area",
    }  # fmt: skip
    for own, theirs in pairs.items():
        # Axes apart: there a pixel is a point, here a rectangle.
        rtol = 0.02 if own in ("eccentricity", "major_axis_px", "minor_axis_px") else 1e-5
        np.testing.assert_allclose(table[own], expected[theirs], rtol=rtol, atol=1e-7, err_msg=own)
    np.testing.assert_allclose(table["integrated_intensity"], expected["area"] * expected["intensity_mean"], rtol=1e-5)


@pytest.mark.parametrize("pixel_size", [1.0, (0.5, 2.0)])
def test_rectangles_of_pixels_have_exact_circles_and_ratios(pixel_size):
    labels = np.zeros((40, 40), int)
    labels[3:15, 4:8] = 1  # 12 x 4
    labels[3:15, 8:13] = 2  # touches the first
    sizes = np.broadcast_to(pixel_size, 2)
    table = measure(Instances(labels, pixel_size_nm=pixel_size))
    for row, width in zip(table.itertuples(), (4, 5), strict=True):
        height, width = 12 * sizes[0], width * sizes[1]
        assert row.inscribed_diameter_nm == pytest.approx(min(height, width))
        assert row.enclosing_diameter_nm == pytest.approx(np.hypot(height, width))
        assert row.feret_perpendicular_nm == pytest.approx(max(height, width))
        assert row.roundness == pytest.approx(4 * height * width / np.pi / (height**2 + width**2))


@pytest.mark.parametrize("pixel_size", [(1.0, 1.0), (0.5, 0.8)])
def test_mirrored_and_turned_particles_have_the_same_circle(pixel_size):
    """The deepest pixel, and the nearest one outside, may be several: the first found depends on the direction."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:44, :44]
    for long in (2.5, 4, 6, 9, 15):
        for _ in range(12):
            turn, wide, (row, col) = rng.uniform(0, np.pi), long * rng.uniform(0.4, 1), rng.uniform(21, 22, 2)
            along, across = ((x - col) * np.cos(a) + (y - row) * np.sin(a) for a in (turn, turn + np.pi / 2))
            shape = (np.hypot(along / long, across / wide) <= 1).astype(np.int32)
            views = [np.ascontiguousarray(np.rot90(one, k)) for one in (shape, shape[::-1]) for k in range(4)]
            sizes = [pixel_size if k % 2 == 0 else pixel_size[::-1] for k in range(8)]
            found = [inscribed_diameters(view, 1, size)[0] for view, size in zip(views, sizes, strict=True)]
            np.testing.assert_allclose(found, found[0], rtol=1e-6)


@pytest.mark.parametrize("radius", [5, 12, 25])
def test_disks_fill_their_circles(radius):
    y, x = np.mgrid[-30:31, -30:31]
    row = measure((np.hypot(y - 0.3, x + 0.2) < radius).astype(int)).iloc[0]
    assert row.inscribed_diameter_px == pytest.approx(2 * radius, abs=1)
    assert row.enclosing_diameter_px == pytest.approx(2 * radius, abs=1)
    assert (
        row.feret_min_px - 1e-9
        <= row.feret_perpendicular_px
        <= row.feret_max_px + 1e-9
        <= row.enclosing_diameter_px + 1e-6
    )
    assert row.convexity > 0.97
    assert row.roundness > 0.95


def test_the_background_is_that_around_a_particle_without_its_neighbours():
    _, x = np.mgrid[:60, :80]
    labels = np.zeros((60, 80), int)
    labels[20:30, 20:30], labels[20:30, 33:43], labels[45:50, 60:70] = 1, 2, 3
    image = np.where(labels == 2, 100.0, 7.0 + 0.01 * x) + 5 * (labels == 1)
    table = measure(labels, image)
    assert table["background_intensity"].to_numpy() == pytest.approx([7.2, 7.4, 7.65], abs=0.06)
    assert table["net_intensity"][0] == pytest.approx(500, abs=10)
    assert np.isnan(measure(np.ones((9, 9), int), np.ones((9, 9)))["net_intensity"][0])


def drawn_disk(radius, centre, margin=1.5, shape=(48, 48)):
    """Particles with the mask that a sure network gives a disk, and the label map of its pixels."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = (np.hypot(y - centre[0], x - centre[1]) < radius).astype(int)
    reach = radius + margin
    cells = (np.arange(28) + 0.5) / 28 * 2 * reach - reach
    mask = np.clip(0.5 + (radius - np.hypot(cells[:, None], cells)) / 1.5, 0, 1)
    y0, x0 = centre[0] + 0.5 - reach, centre[1] + 0.5 - reach
    return Instances(labels, boxes=[[x0, y0, x0 + 2 * reach, y0 + 2 * reach]], masks=[mask], intensity=1.0 * labels)


@pytest.mark.parametrize("radius", [3, 4, 6, 9, 11])
def test_masks_give_small_disks_their_size_at_any_centre(radius):
    for offset in np.random.default_rng(2).uniform(-0.5, 0.5, (10, 2)):
        particles = drawn_disk(radius, 20 + offset)
        diameter = measure(particles).equivalent_diameter_px[0]
        assert diameter == pytest.approx(2 * radius, rel=0.01)
        ((outline,),) = mask_outlines(particles)
        x, y = outline.T
        area = abs(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) / 2
        assert area == pytest.approx(mask_areas(particles)[0], rel=1e-3)
        assert np.hypot(x - 20 - offset[1], y - 20 - offset[0]) == pytest.approx(radius, abs=0.12)
        assert measure(particles, outline="pixels").area_px2[0] == np.count_nonzero(particles.labels)


def test_a_disk_of_cells_coarser_than_pixels_is_counted():
    particles = drawn_disk(20, (30.2, 29.9), shape=(60, 60))
    n_pixels = np.count_nonzero(particles.labels)
    assert measure(particles).area_px2[0] == n_pixels
    assert measure(particles, outline="masks").area_px2[0] != n_pixels


@pytest.mark.parametrize(("share", "counted"), [(0.4, True), (0.6, False), (1.6, False), (2.5, True)])
def test_an_outline_of_less_than_half_or_more_than_twice_the_pixels_does_not_count(share, counted):
    """A label map that keeps a share of what the mask holds, as when others cover the rest."""
    y, x = np.mgrid[:48, :48]
    particles = drawn_disk(8, (20.2, 20.4))
    outlined = mask_areas(particles)[0]
    particles = replace(particles, labels=(np.hypot(y - 20.2, x - 20.4) < 8 * np.sqrt(share)).astype(int))
    expected = np.count_nonzero(particles.labels) if counted else outlined
    for outline in ("auto", "masks"):
        assert measure(particles, outline=outline).area_px2[0] == pytest.approx(expected)


def test_masks_end_at_the_frame_and_at_other_particles():
    labels = np.ones((20, 20), int)
    full = Instances(labels, masks=np.ones((1, 28, 28)))
    assert mask_areas(full)[0] == pytest.approx(400)
    labels[:, 10:] = 2
    both = Instances(labels, boxes=[[0, 0, 20, 20]] * 2, masks=np.ones((2, 28, 28)))
    assert mask_areas(both) == pytest.approx(200, rel=0.04)


def test_intervals_grow_with_sigma_and_confidence_and_scale_with_the_pixel():
    particles = drawn_disk(8, (20.2, 20.4))
    widths = []
    for sigma, confidence in ((0.05, 0.95), (0.1, 0.95), (0.1, 0.5)):
        row = measure(particles, sigma=np.full((48, 48), sigma), confidence=confidence).iloc[0]
        assert row.equivalent_diameter_low_px < row.equivalent_diameter_px < row.equivalent_diameter_high_px
        assert row.area_high_px2 == pytest.approx(np.pi / 4 * row.equivalent_diameter_high_px**2)
        widths.append(row.equivalent_diameter_high_px - row.equivalent_diameter_low_px)
    assert widths[0] < widths[1]
    assert widths[2] < widths[1]
    nm = Instances(
        particles.labels, boxes=particles.boxes, masks=particles.masks, intensity=particles.intensity, pixel_size_nm=3.0
    )
    row = measure(nm, sigma=np.full((48, 48), 0.1)).iloc[0]
    assert row.equivalent_diameter_high_nm - row.equivalent_diameter_low_nm == pytest.approx(3 * widths[1], rel=1e-6)


@pytest.mark.parametrize("axis", [0, 1])
def test_an_edge_is_as_steep_as_its_own_axis_is_long(axis):
    """A ridge over the whole frame: an error of 0.1 moves its sides by 0.1 over the slope in nm."""
    along = np.moveaxis(np.broadcast_to(np.abs(np.arange(41) - 20), (41, 41)), 1, axis)
    ridge = Instances((along < 10).astype(int), pixel_size_nm=(0.5, 2.0), intensity=100 - 0.25 * along)
    sd = mean_displacement_sd(
        ridge, sigma=np.full((41, 41), 0.1), perimeter=np.array([1e9]), counted=np.array([False])
    )  # of so long an outline only the common share is left
    assert sd[0] == pytest.approx(np.sqrt(COMMON_SHARE) * 0.1 / 0.25 * (0.5, 2.0)[axis], rel=0.01)


@pytest.mark.parametrize("pixel_size", [0.5, 3.0, (0.5, 0.8)])
def test_counting_pixels_displaces_an_outline_by_its_closed_form(pixel_size):
    """In pixels by the root of 0.0728 over the perimeter in pixels; sigma is nowhere above 0."""
    disk = (np.hypot(*np.mgrid[-12:13, -12:13]) < 9).astype(int)
    pixel, around = np.sqrt(np.prod(np.broadcast_to(pixel_size, 2))), 2 * np.pi * 9
    sd = mean_displacement_sd(
        Instances(disk, pixel_size_nm=pixel_size, intensity=disk), sigma=np.zeros(disk.shape),
        perimeter=np.array([around * pixel]), counted=np.array([True]),
    )  # fmt: skip
    assert sd[0] == pytest.approx(pixel * np.sqrt(PIXEL_COUNT_VARIANCE / around))


def test_backgrounds_do_not_hang_on_the_order_of_pixels():
    """Between two particles seven columns apart the middle one is 4 pixels from both, and neither's."""
    labels = np.zeros((13, 19), np.int32)
    labels[5:8, 3:6], labels[5:8, 13:16] = 1, 2
    rng = np.random.default_rng(9)
    image = rng.normal(size=labels.shape)
    image[:, 9] = 1e9
    value, n_pixels = backgrounds(image, labels, 2)
    assert value.max() < 1
    assert n_pixels[0] == n_pixels[1]
    for turned in (lambda of: of[::-1], lambda of: of[:, ::-1], np.transpose):
        again = backgrounds(turned(image), np.ascontiguousarray(turned(labels)), 2)
        np.testing.assert_array_equal(again, (value, n_pixels))


@pytest.mark.parametrize("length", [0, 8, 16])
def test_the_masks_of_rods_are_as_unsure_as_those_of_disks(length):
    """The edge is a normal distribution of width 1 px all around; what the mean of an outline tells is no radius."""
    width, y, x = 3, *(np.mgrid[:28, :28] - 13.5)
    outside = np.hypot(x - np.clip(x, -length / 2, length / 2), y) - width
    around = 2 * length + 2 * np.pi * width
    rod = Instances((outside < 0).astype(int), boxes=[[0, 0, 28, 28]], masks=[special.ndtr(-outside)])
    sd = mean_displacement_sd(rod, perimeter=np.array([around]), counted=np.array([False]))
    assert sd[0] == pytest.approx(np.sqrt(COMMON_SHARE), rel=0.12)  # bilinear cells blur
    fine = Instances(rod.labels, pixel_size_nm=0.5, boxes=rod.boxes, masks=rod.masks)
    half = mean_displacement_sd(fine, perimeter=np.array([around / 2]), counted=np.array([False]))
    assert half[0] == pytest.approx(sd[0] / 2)


def test_the_interval_covers_disks_of_a_noisy_edge():
    """Outlines displaced by smooth noise of a known variance, as pixels alone: 90 to 98 % within."""
    rng = np.random.default_rng(3)
    inside = []
    y, x = np.mgrid[-16:17, -16:17]
    for _ in range(150):
        centre, radius = rng.uniform(-0.5, 0.5, 2), rng.uniform(8, 11)
        common = rng.normal(0, 0.4)
        labels = (np.hypot(y - centre[0], x - centre[1]) < radius + common).astype(int)
        row = measure(labels).iloc[0]
        low, high = size_intervals(*(np.array([v]) for v in (row.equivalent_diameter_px, row.perimeter_px, 0.4)))
        inside.append(low[0] <= 2 * radius <= high[0])
    assert 0.88 < np.mean(inside) < 0.99


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": np.ones((3, 3))}, "sigma has shape"),
        ({"sigma": np.full((48, 48), np.nan)}, "sigma holds"),
        ({"sigma": np.ones((48, 48)), "confidence": 1}, "confidence is 1"),
        ({"confidence": "high"}, "confidence is 'high'"),
        ({"outline": "mask"}, "did you mean 'masks'"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        measure(drawn_disk(8, (20, 20)), **options)


def test_what_is_missing_is_named():
    labels = drawn_disk(8, (20, 20)).labels
    with pytest.raises(InputError, match="no mask probabilities"):
        measure(labels, outline="masks")
    with pytest.raises(InputError, match="sigma but no image"):
        measure(labels, sigma=np.ones((48, 48)))
    empty = measure(Instances(0 * labels, intensity=1.0 * labels), sigma=np.ones((48, 48)))
    assert len(empty) == 0
    assert "equivalent_diameter_low_px" in empty


def test_the_size_of_what_fills_the_frame_is_not_known():
    whole = np.ones((40, 40), int)
    found = measure(whole, np.add.outer(np.arange(40.0), np.arange(40.0)), sigma=np.full((40, 40), 0.01))
    low, high = (found[f"equivalent_diameter_{end}_px"].item() for end in ("low", "high"))
    diameter = found["equivalent_diameter_px"].item()
    assert low == 0
    assert high > 2 * diameter
