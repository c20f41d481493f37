"""Feret diameters of drawn shapes against their closed forms, and what stands for an outline."""

import numpy as np
import pytest

from segmentation.corners import ELLIPSE_CORNERS, simplest_outline
from segmentation.geometry import convex_hulls, grid_hull, outer_polygon
from segmentation.measure import measure

SIDE = 90


def polygon_pixels(corners):
    y, x = np.mgrid[:SIDE, :SIDE]
    inside = np.ones((SIDE, SIDE), bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        inside &= (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) >= 0
    return inside


def regular(rng, corners, radius):
    angles = rng.uniform(0, np.pi) + np.arange(corners) * 2 * np.pi / corners
    return polygon_pixels(radius * np.c_[np.cos(angles), np.sin(angles)] + 45 + rng.uniform(-0.5, 0.5, 2))


def rectangle(rng, width, height, degrees):
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (width / 2, height / 2)
    return polygon_pixels(corners @ [[cos, sin], [-sin, cos]] + 45 + rng.uniform(-0.5, 0.5, 2))


def ellipse(rng, a, b):
    x, y = np.meshgrid(*(np.arange(SIDE) - 45 + rng.uniform(-0.5, 0.5) for _ in range(2)))
    turn = rng.uniform(0, np.pi)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    return (u / a) ** 2 + (v / b) ** 2 <= 1


def errors(drawn):
    """Errors of the smallest and the largest width of (pixels, smallest, largest), in pixels."""
    found = []
    for pixels, smallest, largest in drawn:
        widths, _ = convex_hulls(pixels.astype(np.int32), 1, (1.0, 1.0))
        found.append((widths.feret_min[0] - smallest, widths.feret_max[0] - largest))
    return np.array(found).T


def test_rotated_rectangles():
    rng = np.random.default_rng(1)
    sizes = [(width := rng.uniform(10, 50), rng.uniform(6, min(width, 30))) for _ in range(400)]
    low, high = errors((rectangle(rng, w, h, rng.uniform(0, 180)), h, np.hypot(w, h)) for w, h in sizes)
    assert (np.abs(low) < 0.5).mean() > 0.96
    assert (np.abs(high) < 0.5).mean() > 0.93, "a rectangle along the grid may have its pixels a row further or not"
    assert np.sqrt(np.mean(high**2)) < 0.26
    assert abs(high.mean()) < 0.1


def test_rectangles_that_lie_askew():
    rng = np.random.default_rng(2)
    low, high = errors((rectangle(rng, 40, 18, angle), 18, np.hypot(40, 18)) for angle in np.arange(12, 79, 1.5))
    assert np.abs(low).max() < 0.5
    assert (np.abs(high) < 0.5).mean() > 0.95
    assert np.sqrt(np.mean(high**2)) < 0.2


def test_triangles_have_their_corners():
    rng = np.random.default_rng(3)
    radii = rng.uniform(8, 30, 80)
    _, high = errors((regular(rng, 3, radius), 1.5 * radius, np.sqrt(3) * radius) for radius in radii)
    assert (np.abs(high) < 0.5).mean() > 0.9
    assert abs(high.mean()) < 0.15


def test_disks_and_ellipses():
    rng = np.random.default_rng(4)
    axes = [(a := rng.uniform(5, 30), a * rng.choice([1.0, rng.uniform(0.4, 0.9)])) for _ in range(100)]
    low, high = errors((ellipse(rng, a, b), 2 * b, 2 * a) for a, b in axes)
    assert np.abs(low).max() < 0.5
    assert np.abs(high).max() < 0.5
    assert abs(high.mean()) < 0.15


def outline_of(pixels):
    y, x = np.nonzero(pixels)
    rows = np.unique(y)
    hull = grid_hull(rows.tolist(), [int(x[y == row].min()) for row in rows], [int(x[y == row].max()) for row in rows])
    polygon = np.array(outer_polygon(hull))
    return polygon, simplest_outline(polygon, pixels)


def test_each_shape_gets_its_kind_of_outline():
    rng = np.random.default_rng(5)
    assert len(outline_of(rectangle(rng, 40, 20, 33))[1]) == 4
    assert len(outline_of(regular(rng, 3, 25))[1]) == 3
    assert len(outline_of(ellipse(rng, 22, 13))[1]) == ELLIPSE_CORNERS
    # Of so many sides one may be as round as not.
    polygon, outline = outline_of(regular(rng, 8, 25))
    np.testing.assert_array_equal(outline, polygon)


def test_small_rectangles_are_no_ellipses():
    rng = np.random.default_rng(10)
    sizes = [(width := rng.uniform(6.5, 12), rng.uniform(6, width)) for _ in range(300)]
    _, high = errors((rectangle(rng, w, h, rng.uniform(0, 180)), h, np.hypot(w, h)) for w, h in sizes)
    assert (np.abs(high) < 0.5).mean() > 0.8
    assert np.sqrt(np.mean(high**2)) < 0.37


@pytest.mark.parametrize("pixels", [[[1, 0], [0, 1]], [[1, 1], [1, 0]], [[0, 1, 1], [1, 0, 0]], [[1, 0, 0], [1, 1, 1]]])
def test_few_pixels_get_no_spikes(pixels):
    pixels = np.pad(np.array(pixels), 2)
    rows, cols = np.nonzero(pixels)
    corners = np.array([(r + a, c + b) for r, c in zip(rows, cols, strict=True) for a in (0, 1) for b in (0, 1)])
    largest = max(np.hypot(*(corners - corner).T).max() for corner in corners)
    for turned in (pixels, np.rot90(pixels), pixels[:, ::-1]):
        assert measure(turned)["feret_max_px"][0] <= largest + 1e-9


def test_it_does_not_matter_where_a_particle_lies():
    rng = np.random.default_rng(11)
    for pixels in [rectangle(rng, 30, 12, angle) for angle in (7, 26.6, 45)] + [ellipse(rng, 17, 9)]:
        here = measure(pixels.astype(int))
        there = measure(np.pad(pixels, ((131, 3), (777, 5))).astype(int))
        np.testing.assert_array_equal(there.filter(like="feret"), here.filter(like="feret"))


def test_a_foreign_pixel_keeps_a_corner_cut():
    pixels = rectangle(np.random.default_rng(6), 40, 20, 20)
    y, x = np.nonzero(pixels)
    tip = np.argmax(x)
    whole = outline_of(pixels)[1][:, 0].max()
    pixels[y[tip], x[tip]] = False
    assert outline_of(pixels)[1][:, 0].max() < whole - 0.3


def test_a_touching_neighbour_bounds_a_corner_as_the_film_does():
    pixels = rectangle(np.random.default_rng(7), 40, 20, 20)
    labels = np.where(pixels, 2, 0)
    alone = measure(labels)
    labels[(labels == 0) & (np.indices(labels.shape)[1] > 50)] = 1
    beside = measure(labels)
    assert beside["feret_max_px"][1] == pytest.approx(alone["feret_max_px"][0], abs=1e-9)


def test_a_particle_cut_by_the_frame_does_not_reach_beyond_it():
    pixels = rectangle(np.random.default_rng(8), 40, 20, 45)[:, :50]
    widths, _ = convex_hulls(pixels.astype(np.int32), 1, (1.0, 1.0))
    x, y = np.nonzero(pixels)[1], np.nonzero(pixels)[0]
    box = np.hypot(np.ptp(x) + 1, np.ptp(y) + 1)
    assert widths.feret_max[0] < box


def test_pixels_of_two_lengths():
    pixels = ellipse(np.random.default_rng(9), 24, 12)
    square, _ = convex_hulls(pixels.astype(np.int32), 1, (1.0, 1.0))
    scaled, _ = convex_hulls(pixels.astype(np.int32), 1, (0.5, 0.5))
    np.testing.assert_allclose(np.stack(scaled), np.stack(square) / 2)
    # Pixels twice as high: an ellipse of other axes, whose widths the outline's own points give.
    outline = outline_of(pixels)[1] * (1.0, 2.0)
    high, _ = convex_hulls(pixels.astype(np.int32), 1, (2.0, 1.0))
    farthest = max(np.hypot(*(outline - point).T).max() for point in outline)
    assert high.feret_max[0] == pytest.approx(farthest, rel=1e-9)
