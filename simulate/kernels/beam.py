"""Where the beam is: the deflector's lag and hysteresis, and the trail of unblanked jumps."""

from __future__ import annotations

import math

import numpy as np

from simulate.kernels.jit import compiled


@compiled
def play(targets, width):
    """Return what a deflector with a dead band of `width` makes of the targets (the play operator)."""
    out = np.empty(targets.size)
    half = width / 2
    at = float(targets[0])
    for k in range(targets.size):
        at = min(max(at, targets[k] - half), targets[k] + half)
        out[k] = at
    return out


@compiled
def lagging(targets, relax_us, dwell_us, lag_us):
    """Return the mean position during each dwell of a beam that approaches its target exponentially.

    `relax_us` is the time for which the deflection has settled before each dwell; the first target is reached.
    """
    out = np.empty(targets.size)
    at = float(targets[0])
    for k in range(targets.size):
        error = (at - targets[k]) * math.exp(-relax_us[k] / lag_us)
        decay = math.exp(-dwell_us[k] / lag_us)
        out[k] = targets[k] + error * lag_us / dwell_us[k] * (1 - decay)
        at = targets[k] + error * decay
    return out


@compiled
def trails(rows, cols, move_us, dose):
    """Add each move's time to the pixels of `dose` under the straight line between its ends (both left out)."""
    for k in range(1, rows.size):
        if move_us[k] <= 0:
            continue
        d_row, d_col = rows[k] - rows[k - 1], cols[k] - cols[k - 1]
        steps = max(abs(d_row), abs(d_col))
        if steps < 2:
            dose[rows[k], cols[k]] += move_us[k]
            continue
        share = move_us[k] / (steps - 1)
        for s in range(1, steps):
            row = math.floor(rows[k - 1] + d_row * s / steps + 0.5)
            col = math.floor(cols[k - 1] + d_col * s / steps + 0.5)
            dose[row, col] += share
