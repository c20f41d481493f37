"""Reconstruct full images from sparse scans: operator, classical solvers, learned networks, files, metrics."""
