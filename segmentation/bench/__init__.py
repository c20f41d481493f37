"""Benchmarks of segmentation: the comparison of architectures, robustness, transfer learning and speed."""
