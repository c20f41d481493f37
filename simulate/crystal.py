"""Crystals: a lattice and the atoms of its cell, and a table of common ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulate.errors import InputError, nearest_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

_SYMBOLS = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr "
    "Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir "
    "Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl "
    "Mc Lv Ts Og"
)
ELEMENTS = tuple(_SYMBOLS.split())
"""Element symbols in the order of the atomic number, hydrogen first."""

SHORTEST_BOND_NM = 0.05
"""Atoms closer than this are a mistake in the basis or in the unit of the lattice vectors."""


@dataclass(frozen=True)
class Crystal:
    """A crystal: a lattice and the atoms of its cell.

    Parameters
    ----------
    vectors_nm : array_like, shape (3, 3)
        Lattice vectors a, b, c as rows, in nm.
    basis : sequence of (str or int, (float, float, float))
        The atoms of the cell: element symbol or atomic number, and fractional coordinates (wrapped into 0 to 1).
    name : str
        What to call it.

    Raises
    ------
    InputError
        If the cell has no volume or no atoms, an element is unknown, or two atoms nearly coincide.

    Examples
    --------
    >>> iron = Crystal(0.2866 * np.eye(3), [("Fe", (0, 0, 0)), (26, (0.5, 0.5, 0.5))], "alpha-iron")
    >>> round(iron.volume_nm3, 5), iron.basis[1][0]
    (0.02354, 'Fe')
    """

    vectors_nm: ArrayLike
    basis: Sequence[tuple[str | int, ArrayLike]]
    name: str = "crystal"

    def __post_init__(self) -> None:
        vectors = _floats(self.vectors_nm, (3, 3), "lattice vectors")
        if abs(np.linalg.det(vectors)) < 1e-6 * np.linalg.norm(vectors, axis=1).prod() or not vectors.any():
            raise InputError(f"lattice vectors {vectors.tolist()} nm span no volume; expected three independent ones")
        try:
            pairs = [(element, at) for element, at in self.basis]
        except (TypeError, ValueError):
            raise InputError(f"basis is {self.basis!r}; expected atoms as (element, (x, y, z))") from None
        basis = [(_symbol(element), _floats(at, (3,), "fractional coordinates") % 1.0) for element, at in pairs]
        if not basis:
            raise InputError("the crystal's basis is empty; expected at least one atom as (element, (x, y, z))")
        object.__setattr__(self, "vectors_nm", tuple(tuple(row) for row in vectors.tolist()))
        object.__setattr__(self, "basis", tuple((symbol, tuple(at.tolist())) for symbol, at in basis))
        at = np.stack([at for _, at in basis])
        apart = at[:, None] - at
        apart = np.linalg.norm((apart - np.round(apart)) @ vectors, axis=2) + np.diag(np.full(len(at), np.inf))
        if apart.min() < SHORTEST_BOND_NM:
            raise InputError(
                f"two atoms of {self.name!r} are {apart.min():.3g} nm apart; expected at least {SHORTEST_BOND_NM:g} "
                "nm: is an atom listed twice, or are the lattice vectors not in nm?"
            )

    @property
    def matrix_nm(self) -> NDArray[np.float64]:
        """The lattice vectors as rows of an array, in nm."""
        return np.array(self.vectors_nm)

    @property
    def volume_nm3(self) -> float:
        """Volume of the cell in nm³."""
        return abs(float(np.linalg.det(self.matrix_nm)))


def _floats(values: ArrayLike, shape: tuple[int, ...], what: str) -> NDArray[np.float64]:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{what} are {values!r}; expected numbers of shape {shape}") from None
    if array.shape != shape or not np.isfinite(array).all():
        raise InputError(f"{what} are {values!r}; expected finite numbers of shape {shape}")
    return array


def _symbol(element: str | int) -> str:
    if element in ELEMENTS:
        return str(element)
    if isinstance(element, int | np.integer) and 1 <= element <= len(ELEMENTS):
        return ELEMENTS[int(element) - 1]
    raise InputError(f"unknown element {element!r}; expected a symbol such as 'Au' or a number from 1 to 118")


def _fill(points: Sequence[tuple[float, float, float]], *sites: tuple[str, tuple[float, float, float]]) -> list:
    """Return each site repeated at each lattice point of a centred cell."""
    return [(element, np.add(at, point)) for element, at in sites for point in points]


_O, _Q, _H = (0, 0, 0), (0.25, 0.25, 0.25), (0.5, 0.5, 0.5)
_FCC = (_O, (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0))
_PEROVSKITE = [("Sr", _O), ("Ti", _H), ("O", (0, 0.5, 0.5)), ("O", (0.5, 0, 0.5)), ("O", (0.5, 0.5, 0))]
_RUTILE = [("Ti", _O), ("Ti", _H), *(("O", (x, y, z)) for x, y, z in (
    (0.305, 0.305, 0), (0.695, 0.695, 0), (0.195, 0.805, 0.5), (0.805, 0.195, 0.5)))]  # fmt: skip
_T, _U = (1 / 3, 2 / 3), (2 / 3, 1 / 3)


def _cubic(name: str, a_nm: float, basis: list) -> Crystal:
    return Crystal(a_nm * np.eye(3), basis, name)


def _hexagonal(name: str, a_nm: float, c_nm: float, basis: list) -> Crystal:
    return Crystal([[a_nm, 0, 0], [-a_nm / 2, a_nm * math.sqrt(0.75), 0], [0, 0, c_nm]], basis, name)


CRYSTALS = {
    crystal.name: crystal
    for crystal in (
        *(
            _cubic(metal, a_nm, _fill(_FCC, (metal, _O)))
            for metal, a_nm in {"Au": 0.4078, "Pt": 0.3924, "Pd": 0.3891, "Ag": 0.4086, "Cu": 0.3615}.items()
        ),
        *(_cubic(metal, a_nm, _fill((_O, _H), (metal, _O))) for metal, a_nm in {"Fe": 0.2866, "W": 0.3165}.items()),
        _cubic("Si", 0.5431, _fill(_FCC, ("Si", _O), ("Si", _Q))),
        _cubic("Ge", 0.5658, _fill(_FCC, ("Ge", _O), ("Ge", _Q))),
        _cubic("GaAs", 0.5653, _fill(_FCC, ("Ga", _O), ("As", _Q))),
        _cubic("MgO", 0.4212, _fill(_FCC, ("Mg", _O), ("O", _H))),
        _cubic("CeO2", 0.5411, _fill(_FCC, ("Ce", _O), ("O", _Q), ("O", (0.75, 0.75, 0.75)))),
        _cubic("SrTiO3", 0.3905, _PEROVSKITE),
        Crystal(np.diag([0.4594, 0.4594, 0.2959]), _RUTILE, "TiO2"),
        _hexagonal("graphene", 0.246, 0.335, [("C", (*_T, 0)), ("C", (*_U, 0))]),
        _hexagonal("MoS2", 0.316, 0.615, [("Mo", (*_T, 0.5)), ("S", (*_U, 0.246)), ("S", (*_U, 0.754))]),
        _hexagonal("GaN", 0.3189, 0.5185, [
            ("Ga", (*_T, 0)), ("Ga", (*_U, 0.5)), ("N", (*_T, 0.377)), ("N", (*_U, 0.877))]),
    )
}  # fmt: skip
"""Common crystals by name, with lattice constants at room temperature. Graphene and MoS2 stack by whole layers (AA), so
that a thickness of their c axis (0.335 and 0.615 nm) is a single layer; TiO2 is rutile."""


def crystal_by_name(name: str) -> Crystal:
    """Return one of `CRYSTALS`; raise `InputError` with the nearest name for an unknown one."""
    if name not in CRYSTALS:
        raise InputError(f"unknown crystal {name!r}{nearest_name(str(name), CRYSTALS)}; known: {', '.join(CRYSTALS)}")
    return CRYSTALS[name]
