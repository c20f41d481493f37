"""Frames by multislice, with abTEM: the slow reference for `simulate.crystal_frames`. Needs the extra ``abtem``.

abTEM is licensed under the GPL-3; it is imported only inside the functions here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulate.crystal import Crystal, crystal_by_name
from simulate.errors import InputError, check_positive, check_rng, check_shape, check_within, is_finite
from simulate.projection import project_columns

if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from numpy.typing import NDArray


_VACUUM_NM = np.array([0.4, 0.4, 0.05])


@dataclass(frozen=True)
class MultisliceConfig:
    """The microscope and the numerics of a multislice simulation.

    Parameters
    ----------
    energy_kev : float
        Beam energy in keV.
    convergence_mrad : float
        Half-angle of the probe-forming aperture in mrad.
    defocus_nm, cs_um : float
        Underfocus in nm and spherical aberration of third order in µm.
    detector_mrad : (float, float)
        Inner and outer half-angle of the annular detector in mrad.
    sampling_nm : float
        Sampling of the wave function in nm; its scattering reaches ``wavelength / 3 sampling``.
    slice_nm : float
        Thickness of a slice in nm.
    thermal_rms_nm : float
        Displacement of an atom along one direction, root mean square, in nm.
    n_phonons : int
        How many frozen configurations of displaced atoms to average; 0 keeps the atoms at rest.
    """

    energy_kev: float = 200.0
    convergence_mrad: float = 25.0
    defocus_nm: float = 0.0
    cs_um: float = 0.0
    detector_mrad: tuple[float, float] = (70.0, 150.0)
    sampling_nm: float = 0.005
    slice_nm: float = 0.1
    thermal_rms_nm: float = 0.008
    n_phonons: int = 0

    def __post_init__(self) -> None:
        for name in ("energy_kev", "convergence_mrad", "sampling_nm", "slice_nm", "thermal_rms_nm"):
            check_positive(getattr(self, name), name)
        for name in ("defocus_nm", "cs_um"):
            check_within(getattr(self, name), name, -math.inf)
        if not (isinstance(self.n_phonons, int) and self.n_phonons >= 0):
            raise InputError(f"n_phonons is {self.n_phonons!r}; expected a whole number of at least 0")
        pair = self.detector_mrad
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and all(is_finite(angle) for angle in pair)):
            raise InputError(f"detector_mrad is {pair!r}; expected two numbers, the inner and the outer angle")
        inner, outer = pair
        if not 0 <= inner < outer <= self.largest_angle_mrad:
            raise InputError(
                f"detector_mrad is {self.detector_mrad}; expected an inner angle below the outer one, and that at most "
                f"{self.largest_angle_mrad:.4g} mrad, which sampling_nm={self.sampling_nm:g} reaches"
            )

    @property
    def wavelength_nm(self) -> float:
        """The electron's relativistic wavelength in nm."""
        energy = self.energy_kev
        return 1.22642596 / math.sqrt(1e3 * energy * (1 + energy / 1021.998))

    @property
    def largest_angle_mrad(self) -> float:
        """The largest scattering angle that the sampling holds, two thirds of Nyquist's, in mrad."""
        return 1e3 * self.wavelength_nm / (3 * self.sampling_nm)


def crystal_block(
    crystal: Crystal | str,
    zone_axis: tuple[int, int, int],
    *,
    width_nm: float,
    height_nm: float,
    thickness_nm: float,
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Return the atoms of a block cut from a crystal, its zone axis along the beam.

    The first column of `project_columns` and its first vector lie at the block's corner and along its width, as in
    `crystal_frame` without rotation.

    Parameters
    ----------
    crystal : Crystal or str
        A crystal, or a name from `CRYSTALS`.
    zone_axis : (int, int, int)
        Indices [uvw] in direct-lattice coordinates.
    width_nm, height_nm, thickness_nm : float
        Extent of the block along x, y and the beam, in nm.

    Returns
    -------
    elements : tuple of str
    positions_nm : ndarray, shape (N, 3)
        From 0 up to the extent, in nm.

    Examples
    --------
    >>> elements, _ = crystal_block("Au", (0, 0, 1), width_nm=0.8156, height_nm=0.8156, thickness_nm=0.4078)
    >>> len(elements)
    16
    """
    crystal = crystal_by_name(crystal) if isinstance(crystal, str) else crystal
    size = np.array(
        [
            check_positive(width_nm, "width_nm"),
            check_positive(height_nm, "height_nm"),
            check_positive(thickness_nm, "thickness_nm"),
        ]
    )
    matrix = crystal.matrix_nm @ project_columns(crystal, zone_axis).axes.T
    corners = np.array(np.meshgrid(*([0, side] for side in size))).reshape(3, -1).T @ np.linalg.inv(matrix)
    low, high = np.floor(corners.min(axis=0)).astype(int) - 1, np.ceil(corners.max(axis=0)).astype(int) + 1
    cells = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True))), axis=-1).reshape(-1, 3)
    elements: list[str] = []
    positions = []
    for element, at in crystal.basis:
        points = (cells + np.array(at)) @ matrix
        points = points[((points > -1e-6) & (points < size - 1e-6)).all(axis=1)]
        elements += [str(element)] * len(points)
        positions.append(points)
    return tuple(elements), np.concatenate(positions)


def abtem_frame(
    atoms: Any,
    *,
    pixel_size_nm: float,
    shape: tuple[int, int],
    start_nm: tuple[float, float] = (0.0, 0.0),
    config: MultisliceConfig | None = None,
    rng: np.random.Generator | int | None = None,
) -> NDArray[np.float32]:
    """Simulate a HAADF frame by multislice.

    Parameters
    ----------
    atoms : ase.Atoms, or (elements, positions_nm)
        The specimen in an orthogonal box with the beam along z; or a block from `crystal_block`, which is put in a box
        with 0.4 nm of vacuum at each side. The box repeats, so leave room around the scan, or make it periodic.
    pixel_size_nm : float
        Step of the scan in nm.
    shape : (int, int)
        Frame shape in pixels.
    start_nm : (float, float)
        Position (x, y) of the first pixel's centre, in the atoms' coordinates, in nm.
    config : MultisliceConfig, optional
        Microscope and numerics.
    rng : numpy.random.Generator or int, optional
        Source of randomness or a seed of the thermal displacements.

    Returns
    -------
    ndarray of float32, shape (H, W)
        Share of the beam's electrons on the detector.

    Raises
    ------
    InputError
        If abTEM is not installed, or the frame does not fit in the box.

    References
    ----------
    Madsen and Susi, Open Research Europe 1, 24 (2021), https://doi.org/10.12688/openreseurope.13015.2.

    Examples
    --------
    >>> block = crystal_block("SrTiO3", (0, 0, 1), width_nm=1.6, height_nm=1.6, thickness_nm=4)
    >>> abtem_frame(block, pixel_size_nm=0.02, shape=(20, 20), start_nm=(0.6, 0.6), rng=0)  # doctest: +SKIP
    """
    step = check_positive(pixel_size_nm, "pixel_size_nm")
    height, width = check_shape(shape, "multislice frame", smallest=2)
    config = config or MultisliceConfig()
    generator = check_rng(rng)
    abtem = _abtem()
    atoms, start = _in_a_box(atoms, start_nm)
    end = [first + step * count for first, count in zip(start, (width, height), strict=True)]
    box = np.diag(np.asarray(atoms.cell)) / 10
    if min(start) < 0 or end[0] > box[0] or end[1] > box[1]:
        raise InputError(
            f"the scan spans {start[0]:.4g} to {end[0]:.4g} nm and {start[1]:.4g} to {end[1]:.4g} nm; "
            f"expected it within the box of {box[0]:.4g} x {box[1]:.4g} nm"
        )
    if config.n_phonons:
        atoms = abtem.FrozenPhonons(
            atoms, config.n_phonons, sigmas=10 * config.thermal_rms_nm, seed=int(generator.integers(2**31))
        )
    potential = abtem.Potential(atoms, sampling=10 * config.sampling_nm, slice_thickness=10 * config.slice_nm)
    probe = abtem.Probe(
        energy=1e3 * config.energy_kev,
        semiangle_cutoff=config.convergence_mrad,
        aberrations={"defocus": 10 * config.defocus_nm, "Cs": 1e4 * config.cs_um},
    )
    scan = abtem.GridScan(
        start=tuple(10 * x for x in start), end=tuple(10 * x for x in end), gpts=(width, height), endpoint=False
    )
    detector = abtem.AnnularDetector(*config.detector_mrad)
    measured = probe.scan(potential, scan=scan, detectors=detector).compute(progress_bar=False)
    return np.ascontiguousarray(np.asarray(measured.array, dtype=np.float32).T)


def _in_a_box(atoms: Any, start_nm: tuple[float, float]) -> tuple[Any, tuple[float, float]]:
    """Return atoms in an orthogonal box, and where in it the scan begins, in nm."""
    if hasattr(atoms, "cell"):
        cell = np.asarray(atoms.cell)
        if np.abs(cell - np.diag(np.diag(cell))).max() > 1e-6:
            raise InputError(f"the atoms' cell {cell.tolist()} is not orthogonal; make it so, or use crystal_block")
        return atoms, (float(start_nm[0]), float(start_nm[1]))
    from ase import Atoms  # pyright: ignore[reportMissingImports]

    elements, positions = atoms
    moved = np.asarray(positions) + _VACUUM_NM
    box = moved.max(axis=0) + _VACUUM_NM
    boxed = Atoms(list(elements), positions=10 * moved, cell=10 * box, pbc=True)
    return boxed, (start_nm[0] + float(_VACUUM_NM[0]), start_nm[1] + float(_VACUUM_NM[1]))


def _abtem() -> ModuleType:
    try:
        import abtem  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InputError(
            "abtem is not installed; expected it for multislice frames: pip install 'cs-stem[abtem]'"
        ) from None
    return abtem
