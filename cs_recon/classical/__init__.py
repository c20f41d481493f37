"""Reconstruction without learning."""

from cs_recon.classical.fista import fista_wavelet
from cs_recon.classical.interpolation import biharmonic, linear, nearest

__all__ = ["biharmonic", "fista_wavelet", "linear", "nearest"]
