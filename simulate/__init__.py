"""Simulate what a sparse-scanning STEM sees: scans and their cost, scenes with exact truth, detection."""

from simulate.detector import measure
from simulate.errors import InputError
from simulate.measurement import Measurement
from simulate.registry import Registry
from simulate.scan import ScanPath, ScanTiming
from simulate.schemes import scan_path, schemes

__all__ = ["InputError", "Measurement", "Registry", "ScanPath", "ScanTiming", "measure", "scan_path", "schemes"]
