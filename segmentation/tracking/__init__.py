"""Particles through time: trajectories, what becomes of them, how they move and grow, and how right that is."""

from segmentation.tracking.growth import growth_rates
from segmentation.tracking.motion import diffusion, drift, mean_squared_displacement, without_drift
from segmentation.tracking.scores import event_score, score_tracks
from segmentation.tracking.tracks import Tracks, track

__all__ = [
    "Tracks",
    "diffusion",
    "drift",
    "event_score",
    "growth_rates",
    "mean_squared_displacement",
    "score_tracks",
    "track",
    "without_drift",
]
