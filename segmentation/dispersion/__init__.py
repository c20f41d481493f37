"""How particles are arranged: distances, pattern functions with edge corrections, envelopes, topology."""

from segmentation.dispersion.analysis import Dispersion, dispersion
from segmentation.dispersion.clusters import agglomerate_table, cluster_labels
from segmentation.dispersion.curves import distance_curves, pair_curves
from segmentation.dispersion.envelopes import global_envelope, hard_core_points
from segmentation.dispersion.figure import dispersion_figure
from segmentation.dispersion.fractal import Fractal, agglomerate_dimension, box_counting, mass_radius
from segmentation.dispersion.neighbours import clark_evans, voronoi_statistics
from segmentation.dispersion.persistence import alpha_persistence
from segmentation.dispersion.windows import Window

__all__ = [
    "Dispersion",
    "Fractal",
    "Window",
    "agglomerate_dimension",
    "agglomerate_table",
    "alpha_persistence",
    "box_counting",
    "clark_evans",
    "cluster_labels",
    "dispersion",
    "dispersion_figure",
    "distance_curves",
    "global_envelope",
    "hard_core_points",
    "mass_radius",
    "pair_curves",
    "voronoi_statistics",
]
