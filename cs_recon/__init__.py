"""Reconstruct full images from sparse scans: operator, classical solvers, learned networks, files, metrics."""

from cs_recon.classical import biharmonic, fista_wavelet, linear, nearest
from cs_recon.io import read, read_frames, write_hspy, write_image, write_sparse
from cs_recon.learned import load_unrolled, unrolled_ista
from cs_recon.metrics import psnr, ssim
from cs_recon.noise import estimate_noise
from cs_recon.operator import MaskedScan
from cs_recon.reconstruction import Reconstruction, Reconstructor, reconstruct, reconstructors
from cs_recon.wavelets import OrthogonalWavelet
from simulate.errors import InputError
from simulate.measurement import Measurement

__all__ = [
    "InputError",
    "MaskedScan",
    "Measurement",
    "OrthogonalWavelet",
    "Reconstruction",
    "Reconstructor",
    "biharmonic",
    "estimate_noise",
    "fista_wavelet",
    "linear",
    "load_unrolled",
    "nearest",
    "psnr",
    "read",
    "read_frames",
    "reconstruct",
    "reconstructors",
    "ssim",
    "unrolled_ista",
    "write_hspy",
    "write_image",
    "write_sparse",
]
