"""What a frame of atomic columns shows: the crystal, its defects and its support, the probe and the tilt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulate.errors import (
    InputError,
    check_count,
    check_pixel_size,
    check_positive,
    check_shape,
    check_within,
    nearest_name,
)
from simulate.projection import ProjectedCell, project_columns

if TYPE_CHECKING:
    from simulate.crystal import Crystal

PARTICLES = ("sphere", "cube", "octahedron", "truncated-octahedron")
"""Outlines that a single crystal can have: a sphere, and bodies whose faces are {100} and {111} of a cubic crystal."""

LARGEST_BLUR = 10
"""The widest probe and the longest streak of a tilted column, in distances between columns;
beyond it no lattice shows."""

_FWHM = math.sqrt(8 * math.log(2))


@dataclass(frozen=True)
class CrystalConfig:
    r"""What to draw.

    A column's image is a Gaussian whose variance is the sum of those of the probe, the source and the atoms' thermal
    motion, :math:`\sigma^2 = (w_p^2 + w_s^2) / 8 \ln 2 + u^2`.

    Parameters
    ----------
    crystal : str or Crystal
        A name from `CRYSTALS`, or a crystal.
    zone_axis : (int, int, int)
        Indices [uvw] of the lattice direction that the beam is near to.
    shape : (int, int)
        Frame shape in pixels.
    pixel_size_nm : float
        Pixel size in nm; at most half the smallest distance between columns.
    rotation_deg : float
        Angle from the frame's x axis (to the right) towards its y axis (downwards) of the cell's first vector.
    thickness_nm : float
        Thickness of the foil along the beam at the frame's centre, or the diameter of the particle, in nm.
    wedge_mrad : (float, float)
        Slope of the foil's thickness along x and y, in mrad; there is no crystal where the thickness reaches zero.
    tilt_mrad : (float, float)
        Tilt of the zone axis from the beam towards x and y, in mrad: a column becomes a streak as long as its height
        times the tilt. Foils stand on a flat entrance surface, particles on their middle plane.
    probe_fwhm_nm, source_fwhm_nm : float
        Full widths at half maximum of the probe and of the effective source, both Gaussian, in nm.
    thermal_rms_nm : float
        Thermal displacement :math:`u` of an atom along one direction, root mean square, in nm: from a Debye-Waller
        factor, :math:`u = \sqrt{B / 8 \pi^2}`.
    static_rms_nm : float
        Displacement of whole columns along x and along y, root mean square, in nm.
    vacancy_columns, vacancy_atoms : float
        Share of the columns that have vacancies, and the chance that an atom of theirs is missing.
    vacancy_element : str
        The element that is missing, or "" for any.
    n_grains : int
        How many grains, bounded by straight lines between random seeds (Voronoi cells), each with its own rotation.
    particle : str
        One of `PARTICLES` in the middle of the frame, or "" for a foil that fills it. Faces turn with the crystal.
    background : float
        Intensity of the amorphous support, relative to the image of the strongest column.
    texture : float
        Relative standard deviation of the support's intensity.
    z_exponent : float
        Power of the atomic number that an atom's intensity grows with.
    """

    crystal: str | Crystal = "Au"
    zone_axis: tuple[int, int, int] = (0, 0, 1)
    shape: tuple[int, int] = (256, 256)
    pixel_size_nm: float = 0.02
    rotation_deg: float = 0.0
    thickness_nm: float = 10.0
    wedge_mrad: tuple[float, float] = (0.0, 0.0)
    tilt_mrad: tuple[float, float] = (0.0, 0.0)
    probe_fwhm_nm: float = 0.08
    source_fwhm_nm: float = 0.05
    thermal_rms_nm: float = 0.008
    static_rms_nm: float = 0.0
    vacancy_columns: float = 0.0
    vacancy_atoms: float = 0.2
    vacancy_element: str = ""
    n_grains: int = 1
    particle: str = ""
    background: float = 0.1
    texture: float = 0.05
    z_exponent: float = 1.7

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", check_shape(self.shape, "crystal frame"))
        for name in ("pixel_size_nm", "thickness_nm", "probe_fwhm_nm", "z_exponent"):
            check_positive(getattr(self, name), name)
        check_pixel_size(self.pixel_size_nm)
        check_within(self.thickness_nm, "thickness_nm", 0, 1e5)
        check_within(self.z_exponent, "z_exponent", 0, 4)
        for name in ("source_fwhm_nm", "thermal_rms_nm", "static_rms_nm", "background", "texture"):
            check_within(getattr(self, name), name, 0, 1e6)
        for name in ("vacancy_columns", "vacancy_atoms"):
            check_within(getattr(self, name), name, 0, 1)
        check_within(self.rotation_deg, "rotation_deg", -1e6, 1e6)
        for name, largest in (("wedge_mrad", 1500), ("tilt_mrad", 500)):
            pair = getattr(self, name)
            if not (isinstance(pair, tuple | list) and len(pair) == 2):
                raise InputError(f"{name} is {pair!r}; expected two numbers, along x and along y")
            for value in pair:
                check_within(value, name, -largest, largest)
            object.__setattr__(self, name, (float(pair[0]), float(pair[1])))
        check_within(self.n_grains, "n_grains", 1, 100)
        check_count(self.n_grains, "n_grains", 1)
        object.__setattr__(self, "n_grains", int(self.n_grains))
        if self.particle and self.particle not in PARTICLES:
            hint = nearest_name(str(self.particle), PARTICLES)
            raise InputError(f"particle is {self.particle!r}{hint}; expected '' or one of {', '.join(PARTICLES)}")
        if self.particle and any(self.wedge_mrad):
            raise InputError("wedge_mrad is the slope of a foil; leave it at (0, 0) with a particle, or leave that out")
        self._check_against_the_lattice(self.cell())

    def _check_against_the_lattice(self, cell: ProjectedCell) -> None:
        spacing = cell.spacing_nm
        if self.pixel_size_nm > spacing / 2:
            raise InputError(
                f"pixel_size_nm is {self.pixel_size_nm:g}, too coarse for columns {spacing:.4g} nm apart; expected at "
                f"most {spacing / 2:.4g}, or a zone axis of lower indices"
            )
        for name, width in (
            ("probe_fwhm_nm", self.probe_fwhm_nm),
            ("source_fwhm_nm", self.source_fwhm_nm),
            ("thermal_rms_nm", self.thermal_rms_nm),
            ("static_rms_nm", self.static_rms_nm),
            ("tilt_mrad", self.thickness_nm * math.hypot(*np.tan(np.multiply(self.tilt_mrad, 1e-3)))),
        ):
            if width > LARGEST_BLUR * spacing:
                raise InputError(
                    f"{name} blurs columns {spacing:.3g} nm apart over {width:.3g} nm; "
                    f"expected at most {LARGEST_BLUR * spacing:.3g} nm, or no lattice shows"
                )
        thinnest = 0.5 / float(cell.atoms_per_nm.max())
        if self.thickness_nm < thinnest:
            raise InputError(
                f"thickness_nm is {self.thickness_nm:g}, less than half an atom in each column; "
                f"expected at least {thinnest:.3g}"
            )
        if self.vacancy_element and self.vacancy_element not in cell.elements:
            raise InputError(
                f"vacancy_element is {self.vacancy_element!r}; expected '' or one of {', '.join(cell.elements)}"
            )

    def cell(self) -> ProjectedCell:
        """Return the projected cell of the crystal along its zone axis."""
        return project_columns(self.crystal, self.zone_axis, z_exponent=self.z_exponent)

    @property
    def sigma_px(self) -> float:
        """Standard deviation of an untilted column's image, in pixels."""
        probe = math.hypot(self.probe_fwhm_nm, self.source_fwhm_nm) / _FWHM
        return math.hypot(probe, self.thermal_rms_nm) / self.pixel_size_nm
