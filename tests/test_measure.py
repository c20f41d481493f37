import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import ConvexHull

from segmentation.geometry import grid_hull, outer_polygon, pixels_in_hull
from segmentation.instances import Instances
from segmentation.measure import measure, summary
from simulate import InputError


def grid(reach, pixel_size=(1.0, 1.0), offset=(0.0, 0.0)):
    """Physical coordinates of pixel centres around the origin, which `offset` pixels lie off a centre."""
    n_rows, n_cols = (int(reach / size) + 3 for size in pixel_size)
    y, x = np.mgrid[-n_rows : n_rows + 1, -n_cols : n_cols + 1]
    return (y + offset[0]) * pixel_size[0], (x + offset[1]) * pixel_size[1]


def disk(radius, **options):
    y, x = grid(radius, **options)
    return (x**2 + y**2 < radius**2).astype(int)


def turned(degrees, half_length, **options):
    """Coordinates along and across a direction, counter-clockwise as seen with rows downwards."""
    y, x = grid(half_length, **options)
    angle = np.radians(degrees)
    return x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)


def rectangle(length, width, degrees, **options):
    along, across = turned(degrees, np.hypot(length, width) / 2, **options)
    return ((abs(along) <= length / 2) & (abs(across) <= width / 2)).astype(int)


def ellipse(major, minor, degrees, **options):
    along, across = turned(degrees, major / 2, **options)
    return ((2 * along / major) ** 2 + (2 * across / minor) ** 2 < 1).astype(int)


def one(labels, **options):
    table = measure(Instances(labels, **options))
    assert len(table) == 1
    return table.iloc[0]


def offsets(n, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (n, 2))


@pytest.mark.parametrize("radius", [*np.arange(3, 12, 0.5), 16, 23, 40])
def test_disks_are_round(radius):
    assert abs(one(disk(radius)).circularity - 1) < 0.06
    rows = [one(disk(radius, offset=offset)) for offset in offsets(20)]
    assert max(abs(row.circularity - 1) for row in rows) < 0.06
    assert abs(np.mean([row.circularity for row in rows]) - 1) < 0.03
    assert min(row.solidity for row in rows) == 1
    assert max(row.aspect_ratio for row in rows) < 1 + 1.6 / radius
    diameters = np.array([row.equivalent_diameter_px for row in rows]) / (2 * radius)
    assert abs(diameters.mean() - 1) < (0.01 if radius >= 10 else 0.03 if radius >= 4 else 0.05)
    axes = np.array([[row.major_axis_px, row.minor_axis_px] for row in rows]) / (2 * radius)
    assert abs(axes.mean() - 1) < (0.01 if radius >= 10 else 0.03 if radius >= 4 else 0.05)


@pytest.mark.parametrize(("radius", "share"), [(10, 0.035), (20, 0.015), (30, 0.01), (50, 0.007)])
def test_the_feret_diameters_of_disks_spread_by_half_a_pixel(radius, share):
    rows = [one(disk(radius, offset=offset)) for offset in offsets(10)]
    largest = np.array([row.feret_max_px for row in rows])
    smallest = np.array([row.feret_min_px for row in rows])
    assert abs(largest / (2 * radius) - 1).max() < share
    assert (largest - 2 * radius).mean() < 0.6
    assert abs(smallest - 2 * radius).mean() < 0.6


@pytest.mark.parametrize(("length", "width"), [(12, 8), (30, 12), (60, 30)])
def test_rotated_rectangles_keep_their_size(length, width):
    angles = np.random.default_rng(1).uniform(-90, 90, 40)
    rows = [one(rectangle(length, width, a, offset=o)) for a, o in zip(angles, offsets(40), strict=True)]
    smallest = np.array([row.feret_min_px for row in rows]) - width
    largest = np.array([row.feret_max_px for row in rows]) - np.hypot(length, width)
    assert abs(smallest).max() < 0.55
    assert abs(smallest.mean()) < 0.15
    assert abs(largest.mean()) < 0.55
    assert abs(largest).max() < 1.3
    if length >= 30:
        assert max(abs(row.perimeter_px / (2 * (length + width)) - 1) for row in rows) < 0.05
        assert max(abs(row.area_px2 / (length * width) - 1) for row in rows) < 0.05


def test_rectangles_along_the_axes_are_exact():
    frame = np.zeros((20, 30), int)
    frame[3:8, 4:16] = 1
    row = one(frame, pixel_size_nm=0.5)
    assert (row.x, row.y) == (9.5, 5)
    assert row.area_nm2 == pytest.approx(60 * 0.25)
    assert row.feret_min_nm == pytest.approx(2.5)
    assert row.feret_max_nm == pytest.approx(6.5)  # 5, 12, 13
    assert row.major_axis_nm == pytest.approx(4 * 6 / np.sqrt(12))
    assert row.minor_axis_nm == pytest.approx(4 * 2.5 / np.sqrt(12))
    assert row.orientation_deg == 0
    assert row.solidity == 1


@pytest.mark.parametrize("degrees", [-80, -45, -10, 0, 25, 45, 70, 90])
def test_ellipses_give_axes_and_orientation(degrees):
    row = one(ellipse(40, 20, degrees, offset=(0.3, 0.2)), pixel_size_nm=2.0)
    assert row.major_axis_nm == pytest.approx(80, rel=0.02)
    assert row.minor_axis_nm == pytest.approx(40, rel=0.02)
    assert row.aspect_ratio == pytest.approx(2, rel=0.02)
    assert row.eccentricity == pytest.approx(np.sqrt(3) / 2, abs=0.01)
    assert (row.orientation_deg - degrees + 90) % 180 - 90 == pytest.approx(0, abs=1)
    assert -90 < row.orientation_deg <= 90


@pytest.mark.parametrize("pixel_size", [(1.0, 0.5), (0.25, 1.0), (0.5, 0.4)])
@pytest.mark.parametrize(("shape", "sizes"), [(ellipse, (40, 24)), (rectangle, (40, 20)), (ellipse, (30, 30))])
def test_the_same_shape_on_rectangular_pixels_has_the_same_size(pixel_size, shape, sizes):
    fine = one(shape(*sizes, 30, pixel_size=(0.25, 0.25)), pixel_size_nm=0.25)
    row = one(shape(*sizes, 30, pixel_size=pixel_size), pixel_size_nm=pixel_size)
    assert row.area_nm2 == pytest.approx(fine.area_nm2, rel=0.02)
    assert row.perimeter_nm == pytest.approx(fine.perimeter_nm, rel=0.045)
    for column in ("feret_min_nm", "feret_max_nm", "major_axis_nm", "minor_axis_nm"):
        assert row[column] == pytest.approx(fine[column], rel=0.01, abs=max(pixel_size)), column
    if sizes[0] != sizes[1]:
        assert row.orientation_deg == pytest.approx(fine.orientation_deg, abs=1)
    assert row.circularity == pytest.approx(fine.circularity, abs=0.08)


def test_solidity_counts_the_pixels_a_hull_adds():
    ell = np.zeros((12, 12), int)
    ell[1:11, 1:3], ell[9:11, 1:11] = 1, 1
    y, x = np.nonzero(ell)
    hull = ConvexHull(np.c_[x, y])
    inside = [(hull.equations @ (col, row, 1) <= 1e-9).all() for row in range(12) for col in range(12)]
    assert one(ell).solidity == pytest.approx(ell.sum() / sum(inside))


@pytest.mark.parametrize("seed", range(20))
def test_the_hull_is_the_hull_and_pick_counts_it(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((9, 11)) < rng.uniform(0.05, 0.6)
    mask[4, 5] = mask[0, 0] = mask[0, 9] = True
    rows = np.flatnonzero(mask.any(axis=1))
    starts = [int(np.flatnonzero(mask[row])[0]) for row in rows]
    ends = [int(np.flatnonzero(mask[row])[-1]) for row in rows]
    hull = grid_hull(rows.tolist(), starts, ends)
    y, x = np.nonzero(mask)
    expected = ConvexHull(np.c_[x, y])
    assert sorted(hull) == sorted((int(x[i]), int(y[i])) for i in expected.vertices)
    inside = [(expected.equations @ (col, row, 1) <= 1e-9).all() for row in range(9) for col in range(11)]
    assert pixels_in_hull(hull) == sum(inside)
    # The outer polygon holds every pixel centre with room to spare, and is convex.
    outer = ConvexHull(np.array(outer_polygon(hull)))
    assert (outer.equations @ np.c_[x, y, np.ones(x.size)].T < -0.02).all()


@pytest.mark.parametrize(
    ("labels", "feret"),
    [
        (np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]]), (1, np.sqrt(2))),
        (np.array([[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]), (1, np.sqrt(10))),
        (np.array([[0, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0]]), (1, np.sqrt(5))),
    ],
)
def test_single_pixels_and_lines_have_a_width(labels, feret):
    row = one(labels)
    assert (row.feret_min_px, row.feret_max_px) == pytest.approx(feret)
    assert row.solidity == 1
    assert np.isfinite(row.drop("score").to_numpy(dtype=float)).all()


def test_diagonal_lines_are_measured_too():
    row = one(np.eye(9, dtype=int))
    assert row.orientation_deg == pytest.approx(-45)
    assert row.feret_max_px == pytest.approx(9 * np.sqrt(2), abs=1)
    assert row.solidity == 1


def test_each_of_many_particles_is_measured_as_if_alone():
    rng = np.random.default_rng(3)
    frame = np.zeros((60, 90), int)
    ids = rng.permutation(np.arange(1, 500))[:24].tolist()
    for index, particle_id in enumerate(ids):
        tile = frame[15 * (index // 6) : 15 * (index // 6) + 15, 15 * (index % 6) : 15 * (index % 6) + 15]
        tile[rng.random((15, 15)) < 0.5] = particle_id
    image = rng.random(frame.shape)
    table = measure(frame, image)
    assert table["label"].tolist() == sorted(ids)
    # What surrounds a particle differs when the others are gone.
    alone_only = ["label", "background_intensity", "net_intensity"]
    for _, row in table.iterrows():
        alone = measure((frame == row.label) * 5, image).iloc[0]
        np.testing.assert_allclose(alone.drop(alone_only).astype(float), row.drop(alone_only).astype(float), rtol=1e-6)
        assert row.mean_intensity == pytest.approx(image[frame == row.label].mean(), rel=1e-5)


def test_touching_the_border_is_seen_on_each_side():
    frame = np.zeros((20, 20), int)
    frame[0, 5], frame[19, 8], frame[9, 0], frame[12, 19], frame[10, 10] = 1, 2, 3, 4, 5
    assert measure(frame)["touches_border"].tolist() == [True, True, True, True, False]


def test_an_empty_frame_gives_all_columns_with_their_types():
    full = measure(Instances(disk(5), pixel_size_nm=0.5, intensity=disk(5)))
    empty = measure(Instances(0 * disk(5), pixel_size_nm=0.5, intensity=disk(5)))
    assert len(empty) == 0
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()
    found = summary(empty)
    assert found["count"] == found["touching_border"] == 0
    assert np.isnan(found["d50_nm"])


def test_the_intensity_image_must_fit():
    with pytest.raises(InputError, match="intensity image has shape"):
        measure(disk(5), np.zeros((3, 3)))
    with pytest.raises(InputError, match="NaN or infinite"):
        measure(disk(5), np.where(disk(5), np.nan, 1.0))
    assert "mean_intensity" not in measure(disk(5))


def test_intensities_above_a_large_offset_are_not_lost():
    labels = disk(5)
    found = measure(labels, np.where(labels, 1e9 + 3.0, 1e9))
    assert found["net_intensity"].tolist() == [3.0 * np.count_nonzero(labels)]


def test_no_circle_inside_is_wider_than_the_particle():
    rng = np.random.default_rng(3)
    for _ in range(150):
        blob = ndimage.binary_opening(ndimage.gaussian_filter(rng.standard_normal((24, 24)), 2) > 0)
        found = measure(ndimage.label(blob)[0])
        assert (found["inscribed_diameter_px"] <= found["feret_min_px"]).all()


def test_a_summary_counts_every_row():
    frame = np.zeros((40, 40), int)
    frame[0:2, 0:2], frame[10:14, 10:14], frame[20:26, 20:26] = 1, 2, 3
    found = summary(measure(Instances(frame, pixel_size_nm=2.0)))
    diameters = np.sqrt(4 / np.pi) * 2 * np.array([2, 4, 6])
    assert (found["count"], found["touching_border"]) == (3, 1)
    assert found["mean_equivalent_diameter_nm"] == pytest.approx(diameters.mean())
    assert found["d50_nm"] == found["median_equivalent_diameter_nm"] == pytest.approx(diameters[1])
    assert found["sd_equivalent_diameter_nm"] == pytest.approx(diameters.std(ddof=1))
    assert found["d10_nm"] == pytest.approx(np.percentile(diameters, 10))
    with pytest.raises(InputError, match="expected a table"):
        summary(measure(frame).drop(columns="equivalent_diameter_px"))


@pytest.mark.slow
def test_each_of_ten_thousand_particles_is_measured_as_one_alone():
    tile = np.zeros((19, 19), np.int32)
    tile[disk(8, offset=(0.2, 0.3))[1:20, 1:20] > 0] = 1
    frame = np.zeros((2048, 2048), np.int32)
    for index in range(10_000):
        row, col = 20 * (index // 100), 20 * (index % 100)
        frame[row : row + 19, col : col + 19] = tile * (index + 1)
    alone = measure(np.pad(tile, 20)).iloc[0]
    table = measure(frame)
    assert len(table) == 10_000
    inside = table[~table["touches_border"].astype(bool)]
    for name in ("area_px2", "perimeter_px", "feret_max_px", "feret_min_px", "circularity", "solidity"):
        np.testing.assert_allclose(inside[name], alone[name], rtol=1e-4)
