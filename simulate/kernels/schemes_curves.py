"""Pixels under a curve, in the order in which a beam on it meets them: spiral, Lissajous figure, diameters."""

from __future__ import annotations

import math

import numpy as np

from simulate.kernels.jit import compiled

STEP_PX = 0.5
"""Distance between the points at which a curve is looked at: below a pixel, so that it has no gap."""


@compiled
def spiral(n_rows, n_cols, pitch_px, out):
    """Write the first `out.size` distinct pixels under an Archimedean spiral; return how many it meets in the frame.

    The spiral is followed a quarter turn at a time, and of each only the angles at which it can be in the frame.
    """
    seen = np.zeros(n_rows * n_cols, np.uint8)
    half_rows, half_cols = n_rows / 2, n_cols / 2
    growth = pitch_px / (2 * math.pi)
    found, quarter = 0, 0
    while True:
        inner = quarter * pitch_px / 4
        # Angles from the horizontal axis; the frame's part of the arc shrinks as the radius grows.
        low = math.acos(half_cols / inner) if inner > half_cols else 0.0
        high = math.asin(half_rows / inner) if inner > half_rows else math.pi / 2
        if low >= high:
            return found
        begin = quarter * math.pi / 2 + (math.pi / 2 - high if quarter % 2 else low)
        steps = int((high - low) * (inner + pitch_px / 4) / STEP_PX) + 1
        turn = (high - low) / steps
        cos, sin = math.cos(begin), math.sin(begin)
        cos_turn, sin_turn = math.cos(turn), math.sin(turn)
        for k in range(steps):
            radius = growth * (begin + k * turn)
            row, col = half_rows + radius * sin, half_cols + radius * cos
            if 0 <= row < n_rows and 0 <= col < n_cols:
                pixel = int(row) * n_cols + int(col)
                if not seen[pixel]:
                    seen[pixel] = 1
                    if found < out.size:
                        out[found] = pixel
                    found += 1
            cos, sin = cos * cos_turn - sin * sin_turn, sin * cos_turn + cos * sin_turn
        quarter += 1


@compiled
def lissajous(shape, frequencies, count, rows, cols):
    """Follow a Lissajous figure until it has met `count` distinct pixels, at most for one period.

    Writes the visits to `rows` and `cols` as far as these reach. Returns the number of distinct pixels, the number of
    visits, and the share of the period that was followed.
    """
    half_rows, half_cols = shape[0] / 2, shape[1] / 2
    row_frequency, col_frequency = frequencies
    n_steps = int(2 * math.pi * max(row_frequency * half_rows, col_frequency * half_cols) / STEP_PX) + 1
    seen = np.zeros(shape[0] * shape[1], np.uint8)
    row_turn, col_turn = 2 * math.pi * row_frequency / n_steps, 2 * math.pi * col_frequency / n_steps
    row_cos_turn, row_sin_turn = math.cos(row_turn), math.sin(row_turn)
    col_cos_turn, col_sin_turn = math.cos(col_turn), math.sin(col_turn)
    phase = math.pi / (2 * col_frequency)
    row_cos, row_sin, col_cos, col_sin = math.cos(phase), math.sin(phase), 1.0, 0.0
    found, visits, last = 0, 0, -1
    for k in range(n_steps):
        row = min(int(half_rows * (1 + row_cos)), shape[0] - 1)
        col = min(int(half_cols * (1 + col_cos)), shape[1] - 1)
        pixel = row * shape[1] + col
        if pixel != last:
            last = pixel
            if visits < rows.size:
                rows[visits] = row
                cols[visits] = col
            visits += 1
            if not seen[pixel]:
                seen[pixel] = 1
                found += 1
                if found == count:
                    return found, visits, (k + 1) / n_steps
        row_cos, row_sin = (
            row_cos * row_cos_turn - row_sin * row_sin_turn,
            row_sin * row_cos_turn + row_cos * row_sin_turn,
        )
        col_cos, col_sin = (
            col_cos * col_cos_turn - col_sin * col_sin_turn,
            col_sin * col_cos_turn + col_cos * col_sin_turn,
        )
    return found, visits, 1.0


@compiled
def diameters(n_rows, n_cols, n_diameters, out):
    """Write the first `out.size` distinct pixels on evenly turned diameters; return how many these meet in all.

    Each diameter takes one pixel a column, or one a row if it is steep, and every other one runs backwards.
    """
    seen = np.zeros(n_rows * n_cols, np.uint8)
    found = 0
    for k in range(n_diameters):
        cos, sin = math.cos(math.pi * k / n_diameters), math.sin(math.pi * k / n_diameters)
        steep = abs(sin) > abs(cos)
        slope = cos / sin if steep else sin / cos
        along, across = (n_rows, n_cols) if steep else (n_cols, n_rows)
        # Only positions with |slope * (s + 1/2 - along / 2)| <= across / 2 are in the frame.
        reach = min(along / 2, across / 2 / max(abs(slope), 1e-12) + 1)
        begin, end = max(int(along / 2 - reach), 0), min(int(along / 2 + reach) + 1, along)
        # Both halves of the turn run the same way round, so that the next diameter begins near where one ends.
        backwards = (k % 2 == 1) != (not steep and cos < 0)
        for i in range(end - begin):
            s = end - 1 - i if backwards else begin + i
            t = math.floor(across / 2 + slope * (s + 0.5 - along / 2))
            if 0 <= t < across:
                pixel = s * n_cols + t if steep else t * n_cols + s
                if not seen[pixel]:
                    seen[pixel] = 1
                    if found < out.size:
                        out[found] = pixel
                    found += 1
    return found
