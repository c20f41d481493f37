"""Simulate what a sparse-scanning STEM sees: scans and their cost, scenes with exact truth, detection."""

from simulate.abtem_frames import MultisliceConfig, abtem_frame, crystal_block
from simulate.arrange import ARRANGEMENTS
from simulate.crystal import CRYSTALS, Crystal, crystal_by_name
from simulate.crystal_config import CrystalConfig
from simulate.crystal_frames import CrystalScene, crystal_frame
from simulate.detector import measure
from simulate.distortions import Distortion
from simulate.dose import dose_e_per_A2, dwell_for_dose, electrons_for_dose, electrons_per_pixel
from simulate.errors import InputError
from simulate.export import read_scan, write_scan
from simulate.hardware import HARDWARE, ScanHardware
from simulate.materials import MATERIALS, MODES
from simulate.measurement import Measurement
from simulate.movie import Movie, MovieFrame
from simulate.movie_config import MovieConfig
from simulate.movie_scan import measure_movie, movie_paths
from simulate.optics import Probe
from simulate.projection import ProjectedCell, project_columns
from simulate.random_scenes import ordinary_config, random_config, random_crystal
from simulate.readout import Detector
from simulate.registry import Registry
from simulate.reorder import reorder
from simulate.scan import ScanPath
from simulate.scenes import Scene, SceneConfig, make_scene
from simulate.schemes import adaptive_scan, scan_path, schemes
from simulate.shapes import bodies
from simulate.support import Support

__all__ = [
    "ARRANGEMENTS",
    "CRYSTALS",
    "HARDWARE",
    "MATERIALS",
    "MODES",
    "Crystal",
    "CrystalConfig",
    "CrystalScene",
    "Detector",
    "Distortion",
    "InputError",
    "Measurement",
    "Movie",
    "MovieConfig",
    "MovieFrame",
    "MultisliceConfig",
    "Probe",
    "ProjectedCell",
    "Registry",
    "ScanHardware",
    "ScanPath",
    "Scene",
    "SceneConfig",
    "Support",
    "abtem_frame",
    "adaptive_scan",
    "bodies",
    "crystal_block",
    "crystal_by_name",
    "crystal_frame",
    "dose_e_per_A2",
    "dwell_for_dose",
    "electrons_for_dose",
    "electrons_per_pixel",
    "make_scene",
    "measure",
    "measure_movie",
    "movie_paths",
    "ordinary_config",
    "project_columns",
    "random_config",
    "random_crystal",
    "read_scan",
    "reorder",
    "scan_path",
    "schemes",
    "write_scan",
]
