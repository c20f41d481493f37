"""What a particle's outline most simply is, a polygon of few sides or an ellipse, if one explains every pixel.

Compiled by numba: import it inside the function that calls it, since numba takes a while to load.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from simulate.kernels.jit import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_SIDES = 6
"""So few sides that leave out every other pixel are no accident: disks of a radius of 4 pixels need more."""
POLYGON_SLACK_PX = 0.1
"""How far inside a corner a foreign pixel's centre may lie."""
ELLIPSE_SLACK_PX = 0.15
"""How far on the wrong side of an ellipse a pixel's centre may lie."""
ELLIPSE_CORNERS = 96
NARROWEST_PX = 6.0
"""Minor axis from which on there are pixels enough to tell a corner: on narrower particles it would be a spike."""
STRAIGHT = 1e-9
"""Sine of the angle below which two sides count as parallel."""


@compiled
def simplest_outline(polygon: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the outline that stands for a particle.

    Parameters
    ----------
    polygon : ndarray, shape (K, 2)
        Convex outline of the particle's pixels (x, y), counter-clockwise as x and y go; one that cuts off corners.
    inside : ndarray of bool, shape (H, W)
        The particle's pixels, with a rim of others around.

    Returns
    -------
    ndarray, shape (M, 2)
        The polygon with its short sides left out as far as they only cut off corners; where that leaves many, the
        ellipse of the pixels' area and second moments, if all pixels are on its right side; else, and for narrow
        particles, the polygon as it was.
    """
    centre, axes, angle, area = _moments(inside)
    if 2 * axes[1] < NARROWEST_PX:
        return polygon
    sides = _merged_sides(polygon, inside)
    if len(sides) <= MOST_SIDES:
        return sides
    ellipse = _ellipse(inside, centre, axes, angle, area)
    return ellipse if len(ellipse) > 0 else polygon


@compiled
def _merged_sides(polygon: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Leave out sides, each time the one that adds the least area, while what is added holds no foreign pixel."""
    corners = polygon.copy()
    while len(corners) > 3:
        count = len(corners)
        least, chosen = np.inf, -1
        tip_x = tip_y = 0.0
        for side in range(count):
            x0, y0 = corners[side - 1]
            x1, y1 = corners[side]
            x2, y2 = corners[(side + 1) % count]
            x3, y3 = corners[(side + 2) % count]
            # The sides before and after this one, 1 -> 2, prolonged to where they meet.
            ax, ay, bx, by = x1 - x0, y1 - y0, x3 - x2, y3 - y2
            cross = ax * by - ay * bx
            if cross <= STRAIGHT * math.hypot(ax, ay) * math.hypot(bx, by):
                continue
            along = ((x2 - x1) * by - (y2 - y1) * bx) / cross
            x, y = x1 + along * ax, y1 + along * ay
            area = abs((x - x1) * (y2 - y1) - (y - y1) * (x2 - x1)) / 2
            if area < least and _is_free(inside, x1, y1, x, y, x2, y2):
                least, chosen, tip_x, tip_y = area, side, x, y
        if chosen < 0:
            break
        fewer = np.empty((count - 1, 2))
        place = 0
        for corner in range(count):
            if corner == (chosen + 1) % count:
                continue
            fewer[place, 0] = tip_x if corner == chosen else corners[corner, 0]
            fewer[place, 1] = tip_y if corner == chosen else corners[corner, 1]
            place += 1
        corners = fewer
    return corners


@compiled
def _is_free(inside: NDArray[np.bool_], x1: float, y1: float, x: float, y: float, x2: float, y2: float) -> bool:
    """Whether the triangle over a side, with its tip at x, y, holds no foreign pixel deeper than the slack."""
    height, width = inside.shape
    if not (0 <= x <= width - 1 and 0 <= y <= height - 1):
        return False
    length_a, length_b = math.hypot(x - x1, y - y1), math.hypot(x2 - x, y2 - y)
    if length_a == 0 or length_b == 0:
        return True
    first_row, last_row = math.ceil(min(y1, y, y2)), math.floor(max(y1, y, y2))
    first_col, last_col = math.ceil(min(x1, x, x2)), math.floor(max(x1, x, x2))
    for row in range(max(first_row, 0), min(last_row, height - 1) + 1):
        for col in range(max(first_col, 0), min(last_col, width - 1) + 1):
            if inside[row, col]:
                continue
            beyond_own = (x2 - x1) * (row - y1) - (y2 - y1) * (col - x1) <= 0
            depth_a = ((x - x1) * (row - y1) - (y - y1) * (col - x1)) / length_a
            depth_b = ((x2 - x) * (row - y) - (y2 - y) * (col - x)) / length_b
            if beyond_own and depth_a > POLYGON_SLACK_PX and depth_b > POLYGON_SLACK_PX:
                return False
    return True


@compiled
def _moments(
    inside: NDArray[np.bool_],
) -> tuple[tuple[float, float], tuple[float, float], float, int]:
    """Return the pixels' centre (x, y), semi-axes (major, minor), the major one's angle to x, and number."""
    height, width = inside.shape
    count, mean_x, mean_y = 0, 0.0, 0.0
    for row in range(height):
        for col in range(width):
            if inside[row, col]:
                count += 1
                mean_x += col
                mean_y += row
    mean_x, mean_y = mean_x / count, mean_y / count
    xx = yy = xy = 0.0
    for row in range(height):
        for col in range(width):
            if inside[row, col]:
                xx += (col - mean_x) ** 2
                yy += (row - mean_y) ** 2
                xy += (col - mean_x) * (row - mean_y)
    xx, yy, xy = xx / count, yy / count, xy / count
    spread = math.hypot((xx - yy) / 2, xy)
    large, small = (xx + yy) / 2 + spread, max((xx + yy) / 2 - spread, 0.0)
    return (mean_x, mean_y), (2 * math.sqrt(large), 2 * math.sqrt(small)), math.atan2(2 * xy, xx - yy) / 2, count


@compiled
def _ellipse(
    inside: NDArray[np.bool_], centre: tuple[float, float], axes: tuple[float, float], angle: float, area: int
) -> NDArray[np.float64]:
    """Return the ellipse of the pixels' area and second moments as a polygon, or nothing if it explains them badly."""
    height, width = inside.shape
    nothing = np.empty((0, 2))
    mean_x, mean_y = centre
    cos, sin = math.cos(angle), math.sin(angle)
    scale = math.sqrt(area / (math.pi * axes[0] * axes[1]))
    a, b = scale * axes[0], scale * axes[1]
    for row in range(height):
        for col in range(width):
            u = (col - mean_x) * cos + (row - mean_y) * sin
            v = -(col - mean_x) * sin + (row - mean_y) * cos
            level = math.hypot(u / a, v / b)
            # Distance to the ellipse to first order; the centre, where it fails, is far inside.
            slope = math.hypot(u / a**2, v / b**2)
            distance = (level - 1) * level / slope if slope > 1e-9 else -b
            if (distance if inside[row, col] else -distance) > ELLIPSE_SLACK_PX:
                return nothing
    outline = np.empty((ELLIPSE_CORNERS, 2))
    for corner in range(ELLIPSE_CORNERS):
        turn = 2 * math.pi * corner / ELLIPSE_CORNERS
        u, v = a * math.cos(turn), b * math.sin(turn)
        outline[corner, 0] = mean_x + u * cos - v * sin
        outline[corner, 1] = mean_y + u * sin + v * cos
    return outline
