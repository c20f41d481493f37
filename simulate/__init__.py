"""Simulate what a sparse-scanning STEM sees: scans and their cost, scenes with exact truth, detection."""

from simulate.arrange import ARRANGEMENTS
from simulate.detector import measure
from simulate.errors import InputError
from simulate.hardware import HARDWARE, ScanHardware
from simulate.lattice import lattice_frame
from simulate.materials import MATERIALS, MODES
from simulate.measurement import Measurement
from simulate.optics import Probe
from simulate.random_scenes import random_config
from simulate.registry import Registry
from simulate.scan import ScanPath
from simulate.scenes import Scene, SceneConfig, make_scene
from simulate.schemes import scan_path, schemes
from simulate.shapes import bodies
from simulate.support import Support

__all__ = [
    "ARRANGEMENTS",
    "HARDWARE",
    "MATERIALS",
    "MODES",
    "InputError",
    "Measurement",
    "Probe",
    "Registry",
    "ScanHardware",
    "ScanPath",
    "Scene",
    "SceneConfig",
    "Support",
    "bodies",
    "lattice_frame",
    "make_scene",
    "measure",
    "random_config",
    "scan_path",
    "schemes",
]
