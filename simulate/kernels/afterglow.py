"""The slow part of a scintillator's light, carried from visit to visit."""

from __future__ import annotations

import math

from simulate.kernels.jit import compiled


@compiled
def add_afterglow(signal, moves_us, dwells_us, fraction, decay_us):
    """Delay, in place, a fraction of each visit's signal by an exponential decay.

    Charge `stored` is fed evenly in a dwell and leaks at the rate `stored / decay_us`: what leaks in a dwell is
    recorded in it, what leaks while the beam moves is not.
    """
    stored = 0.0
    for k in range(signal.size):
        stored *= math.exp(-moves_us[k] / decay_us)
        slow = fraction * signal[k]
        keep = math.exp(-dwells_us[k] / decay_us)
        left = stored * keep + slow * decay_us / dwells_us[k] * (1 - keep)
        signal[k] += stored - left
        stored = left
