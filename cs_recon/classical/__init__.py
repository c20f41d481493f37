"""Reconstruction without learning."""

from cs_recon.classical.bpfa import bpfa
from cs_recon.classical.dictionary import ksvd
from cs_recon.classical.full_scan import full_scan_denoise
from cs_recon.classical.gaussian_process import gaussian_process
from cs_recon.classical.interpolation import biharmonic, linear, natural, nearest
from cs_recon.classical.plug_and_play import plug_and_play
from cs_recon.classical.smooth import cls
from cs_recon.classical.sparse import admm_dct, admm_wavelet, fista_wavelet, iht, ista_wavelet
from cs_recon.classical.total_variation import tv

__all__ = [
    "admm_dct",
    "admm_wavelet",
    "biharmonic",
    "bpfa",
    "cls",
    "fista_wavelet",
    "full_scan_denoise",
    "gaussian_process",
    "iht",
    "ista_wavelet",
    "ksvd",
    "linear",
    "natural",
    "nearest",
    "plug_and_play",
    "tv",
]
