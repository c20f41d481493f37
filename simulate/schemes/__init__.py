"""Scan schemes by name: which pixels the beam visits, and in which order."""

from simulate.schemes.adaptive import adaptive, adaptive_scan, refine_positions
from simulate.schemes.blue_noise import poisson_disc, poisson_disc_mask
from simulate.schemes.curves import lissajous, lissajous_frequencies, radial, random_walk, spiral, spiral_pitch_px
from simulate.schemes.lines import line_hop, random_lines, raster
from simulate.schemes.low_discrepancy import halton, r2, sobol
from simulate.schemes.order import hilbert_curve
from simulate.schemes.points import bernoulli, hilbert, jittered_grid, random_pixels, uniform_grid
from simulate.schemes.prior import inclusion_probabilities, variable_density
from simulate.schemes.registry import Scheme, scan_path, schemes

__all__ = [
    "Scheme",
    "adaptive",
    "adaptive_scan",
    "bernoulli",
    "halton",
    "hilbert",
    "hilbert_curve",
    "inclusion_probabilities",
    "jittered_grid",
    "line_hop",
    "lissajous",
    "lissajous_frequencies",
    "poisson_disc",
    "poisson_disc_mask",
    "r2",
    "radial",
    "random_lines",
    "random_pixels",
    "random_walk",
    "raster",
    "refine_positions",
    "scan_path",
    "schemes",
    "sobol",
    "spiral",
    "spiral_pitch_px",
    "uniform_grid",
    "variable_density",
]
