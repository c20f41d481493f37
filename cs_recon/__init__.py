"""Reconstruct full images from sparse scans: operator, classical solvers, learned networks, files, metrics."""

from cs_recon import classical
from cs_recon.io import read, read_frames, write_hspy, write_image, write_sparse
from cs_recon.learned import load_network
from cs_recon.metrics import psnr, ssim
from cs_recon.noise import estimate_noise
from cs_recon.noise_levels import with_noise
from cs_recon.operator import MaskedScan
from cs_recon.reconstruction import Reconstruction, Reconstructor, reconstruct, reconstructors
from cs_recon.temporal import reconstruct_movie
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
    "classical",
    "estimate_noise",
    "load_network",
    "psnr",
    "read",
    "read_frames",
    "reconstruct",
    "reconstruct_movie",
    "reconstructors",
    "ssim",
    "with_noise",
    "write_hspy",
    "write_image",
    "write_sparse",
]
