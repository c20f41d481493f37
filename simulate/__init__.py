"""Simulate what a sparse-scanning STEM sees: scans and their cost, scenes with exact truth, detection."""

from simulate.detector import measure
from simulate.errors import InputError
from simulate.lattice import lattice_frame
from simulate.measurement import Measurement
from simulate.registry import Registry
from simulate.hardware import HARDWARE, ScanHardware
from simulate.scan import ScanPath
from simulate.scenes import Scene, SceneConfig, make_scene, random_config
from simulate.schemes import scan_path, schemes
from simulate.shapes import bodies

__all__ = [
    "InputError",
    "Measurement",
    "Registry",
    "ScanPath",
    "ScanHardware",
    "Scene",
    "SceneConfig",
    "bodies",
    "lattice_frame",
    "make_scene",
    "measure",
    "random_config",
    "scan_path",
    "schemes",
]
