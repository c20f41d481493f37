"""Read microscope images and sparse scans; write images, label maps, sparse scans and provenance."""

from cs_recon.io.provenance import provenance, write_provenance
from cs_recon.io.read import SUFFIXES, iter_frames, read, read_frames
from cs_recon.io.write import write_hspy, write_image, write_sparse

__all__ = [
    "SUFFIXES",
    "iter_frames",
    "provenance",
    "read",
    "read_frames",
    "write_hspy",
    "write_image",
    "write_provenance",
    "write_sparse",
]
