"""What scatters: materials by composition and density, and how strongly each detector sees them."""

from __future__ import annotations

from dataclasses import dataclass

from simulate.errors import InputError, nearest_name

AVOGADRO_PER_MOL = 6.02214076e23


@dataclass(frozen=True)
class Material:
    """A material as the beam sees it.

    Parameters
    ----------
    name : str
        Chemical formula.
    density_g_per_cm3, molar_mass_g : float
        Density, and mass of a mole of formula units.
    atoms : tuple of (int, float)
        Atomic number and count of each element in a formula unit.
    """

    name: str
    density_g_per_cm3: float
    molar_mass_g: float
    atoms: tuple[tuple[int, float], ...]

    @property
    def units_per_nm3(self) -> float:
        """Formula units in a cubic nanometre."""
        return self.density_g_per_cm3 / self.molar_mass_g * AVOGADRO_PER_MOL * 1e-21


_TABLE = (
    Material("C", 2.0, 12.011, ((6, 1),)),  # amorphous
    Material("SiO2", 2.2, 60.084, ((14, 1), (8, 2))),
    Material("Al2O3", 3.95, 101.961, ((13, 2), (8, 3))),
    Material("Si", 2.33, 28.086, ((14, 1),)),
    Material("TiO2", 4.23, 79.866, ((22, 1), (8, 2))),
    Material("Fe3O4", 5.17, 231.533, ((26, 3), (8, 4))),
    Material("ZnO", 5.61, 81.38, ((30, 1), (8, 1))),
    Material("Ni", 8.91, 58.693, ((28, 1),)),
    Material("Cu", 8.96, 63.546, ((29, 1),)),
    Material("CeO2", 7.22, 172.115, ((58, 1), (8, 2))),
    Material("CdSe", 5.82, 191.385, ((48, 1), (34, 1))),
    Material("Pd", 12.02, 106.42, ((46, 1),)),
    Material("Ag", 10.49, 107.868, ((47, 1),)),
    Material("PbS", 7.60, 239.27, ((82, 1), (16, 1))),
    Material("Pt", 21.45, 195.084, ((78, 1),)),
    Material("Au", 19.30, 196.967, ((79, 1),)),
)
MATERIALS: dict[str, Material] = {material.name: material for material in _TABLE}
"""The known materials by formula."""


def material_by_name(name: str) -> Material:
    """Return one of `MATERIALS`; raise `InputError` with the nearest name for an unknown one."""
    if not isinstance(name, str) or name not in MATERIALS:
        raise InputError(
            f"unknown material {name!r}{nearest_name(str(name), MATERIALS)}; known: {', '.join(MATERIALS)}"
        )
    return MATERIALS[name]


@dataclass(frozen=True)
class DetectorMode:
    r"""How a detector's signal depends on what the beam has crossed.

    An atom of atomic number :math:`Z` scatters past the detector's inner angle with the cross-section
    :math:`\sigma_0 Z^p`. An annular detector collects :math:`1 - e^{-m}` of the beam and a bright-field one
    :math:`e^{-m}`, with the optical depth :math:`m = \sum_i n_i \sigma_0 Z_i^p t`.

    Parameters
    ----------
    gold_per_nm : float
        Optical depth of a nanometre of gold, which fixes :math:`\sigma_0`.
    exponent : float
        :math:`p`.
    dark_field : bool
        Whether the scattered (annular) or the unscattered (bright-field) beam is collected.
    """

    gold_per_nm: float
    exponent: float
    dark_field: bool

    def depth_per_nm(self, material: Material) -> float:
        """Return the optical depth of a nanometre of a material."""
        gold = MATERIALS["Au"].units_per_nm3 * 79**self.exponent
        scattering = sum(count * number**self.exponent for number, count in material.atoms)
        return self.gold_per_nm * material.units_per_nm3 * scattering / gold


MODES = {
    "haadf": DetectorMode(gold_per_nm=0.0093, exponent=1.7, dark_field=True),
    "adf": DetectorMode(gold_per_nm=0.04, exponent=1.4, dark_field=True),
    "bf": DetectorMode(gold_per_nm=0.1, exponent=1.37, dark_field=False),
}
"""HAADF (beyond about 80 mrad), medium-angle ADF (beyond about 30 mrad) and bright field (within about 10 mrad) at
200 kV.

Gold's HAADF value is the Rutherford cross-section beyond 80 mrad at 200 kV,
:math:`1.62\\times 10^{-20} (Z / E_\\mathrm{keV})^2 \\cot^2(\\theta / 2)` cm² (Goldstein et al., Scanning Electron
Microscopy and X-Ray Microanalysis, https://doi.org/10.1007/978-1-4615-0215-9); the others are orders of magnitude. At
smaller angles the nucleus is screened and the exponent falls below Rutherford's 2 (Langmore and Smith, Ultramicroscopy
46, 349 (1992), https://doi.org/10.1016/0304-3991(92)90024-E); 1.7 lies between that and the 1.64 measured at medium
angles and 60 kV (Krivanek et al., Nature 464, 571 (2010), https://doi.org/10.1038/nature08879). Neither diffraction nor
channelling is part of it.
"""


def mode_by_name(name: str) -> DetectorMode:
    """Return one of `MODES`; raise `InputError` with the nearest name for an unknown one."""
    if not isinstance(name, str) or name not in MODES:
        raise InputError(f"mode is {name!r}{nearest_name(str(name), MODES)}; expected one of {', '.join(MODES)}")
    return MODES[name]
