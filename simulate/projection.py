"""What a beam along a zone axis sees of a crystal: atomic columns in a repeating plane cell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from simulate.crystal import ELEMENTS, Crystal, crystal_by_name
from simulate.errors import InputError, check_positive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LARGEST_INDEX = 1000
"""Of a zone axis: far beyond those along which columns show, and small enough to reckon with exactly."""


@dataclass(frozen=True, eq=False)
class ProjectedCell:
    """The plane cell of atomic columns that a beam along a zone axis sees.

    Parameters
    ----------
    vectors_nm : ndarray, shape (2, 2)
        The two repeat vectors as rows (x right, y down), in nm: the shortest ones, the first along +x.
    positions_nm : ndarray, shape (N, 2)
        Position of each column in the cell, in nm.
    elements : tuple of str
        The crystal's elements, the heaviest first.
    atoms_per_nm : ndarray, shape (N, E)
        Atoms of each element in each column, per nm along the beam.
    axes : ndarray, shape (3, 3)
        The frame's x, y and beam directions as rows, in the crystal's Cartesian coordinates; right-handed.
    z_exponent : float
        The power of the atomic number that an atom's intensity grows with.
    """

    vectors_nm: NDArray[np.float64]
    positions_nm: NDArray[np.float64]
    elements: tuple[str, ...]
    atoms_per_nm: NDArray[np.float64]
    axes: NDArray[np.float64]
    z_exponent: float

    @property
    def area_nm2(self) -> float:
        """Area of the cell in nm²."""
        return float(np.linalg.det(self.vectors_nm))

    @property
    def labels(self) -> tuple[str, ...]:
        """What each column is made of, the heaviest element first: ``"Ti-O"``."""
        return tuple("-".join(np.array(self.elements)[row > 0]) for row in self.atoms_per_nm)

    @property
    def atom_intensities(self) -> NDArray[np.float64]:
        """Intensity of one atom of each element, its atomic number to the power `z_exponent`; shape (E,)."""
        return np.array([(ELEMENTS.index(element) + 1.0) ** self.z_exponent for element in self.elements])

    @property
    def intensity_per_nm(self) -> NDArray[np.float64]:
        """Summed intensity of each column's atoms, per nm along the beam; shape (N,)."""
        return self.atoms_per_nm @ self.atom_intensities

    @cached_property
    def spacing_nm(self) -> float:
        """Smallest distance between two columns, in nm."""
        steps = np.stack(np.meshgrid(*2 * [np.arange(-2, 3)]), axis=-1).reshape(-1, 2) @ self.vectors_nm
        apart = np.linalg.norm(self.positions_nm[:, None, None] - self.positions_nm[:, None] - steps, axis=-1)
        return float(apart[apart > 1e-9].min())


def project_columns(
    crystal: Crystal | str,
    zone_axis: tuple[int, int, int] = (0, 0, 1),
    *,
    tolerance_nm: float = 0.01,
    z_exponent: float = 1.7,
) -> ProjectedCell:
    r"""Project a crystal along a zone axis into columns of atoms.

    The zone axis :math:`\mathbf{w} = u\mathbf{a} + v\mathbf{b} + w\mathbf{c}` (divided by the common factor of its
    indices) is completed to a basis of the same lattice; the other two vectors, without their part along the beam, are
    repeat vectors of the projection. Atoms that fall on one another form a column, which repeats after
    :math:`|\mathbf{w}|` and has the intensity

    .. math:: \frac{1}{|\mathbf{w}|} \sum_{\text{atoms}} Z^{p}

    per length. Where columns of the same composition repeat within that cell, the smallest cell is returned: their
    heights along the beam make no difference to an incoherent image.

    Parameters
    ----------
    crystal : Crystal or str
        A crystal, or a name from `CRYSTALS`.
    zone_axis : (int, int, int)
        Indices [uvw] in direct-lattice coordinates, not all zero.
    tolerance_nm : float
        Atoms whose projections are closer than this belong to one column, in nm.
    z_exponent : float
        Power :math:`p` of the atomic number: 1.6 to 1.9 for annular dark field, less for a smaller inner angle.

    Returns
    -------
    ProjectedCell

    Raises
    ------
    InputError
        If the crystal is unknown, or the zone axis is not three integers of at most 1000 that are not all zero.

    References
    ----------
    Krivanek et al., Nature 464, 571 (2010), https://doi.org/10.1038/nature08879 (an exponent of 1.64).

    Examples
    --------
    >>> cell = project_columns("SrTiO3", (0, 0, 1))
    >>> dict(zip(cell.labels, (cell.intensity_per_nm / cell.intensity_per_nm.max()).round(2).tolist()))
    {'Sr': 1.0, 'Ti-O': 0.47, 'O': 0.07}
    """
    crystal = crystal_by_name(crystal) if isinstance(crystal, str) else crystal
    if not isinstance(crystal, Crystal):
        raise InputError(f"crystal is a {type(crystal).__name__}; expected a Crystal or a name from CRYSTALS")
    check_positive(tolerance_nm, "tolerance_nm")
    check_positive(z_exponent, "z_exponent")
    vectors = _complete_to_basis(_check_zone_axis(zone_axis)) @ crystal.matrix_nm
    repeat_nm = float(np.linalg.norm(vectors[2]))
    beam = vectors[2] / repeat_nm
    plane = _reduced(vectors[:2] - np.outer(vectors[:2] @ beam, beam))
    elements = tuple(sorted({str(element) for element, _ in crystal.basis}, key=ELEMENTS.index, reverse=True))
    at = np.array([at for _, at in crystal.basis]) @ crystal.matrix_nm @ np.linalg.pinv(plane)
    one_hot = np.array([[element == other for other in elements] for element, _ in crystal.basis], dtype=np.float64)
    at, atoms = _merge(at, one_hot, plane, tolerance_nm)
    at, atoms, plane = _smallest_cell(at, atoms, plane, beam, tolerance_nm)
    right = plane[0] / np.linalg.norm(plane[0])
    axes = np.stack([right, np.cross(beam, right), beam])
    flat = (plane @ axes[:2].T).round(12) + 0.0  # no -0
    # A fraction that rounds to 1 is the same column as 0.
    fractions = np.round(at % 1.0, 9) % 1.0
    return ProjectedCell(flat, fractions @ flat, elements, atoms / repeat_nm, axes, float(z_exponent))


def _check_zone_axis(zone_axis: Sequence[int]) -> NDArray[np.int64]:
    try:
        indices = np.asarray(zone_axis)
    except ValueError:  # lists of different lengths
        indices = np.empty(0)
    if indices.shape != (3,) or indices.dtype.kind not in "iu" or not indices.any():
        raise InputError(f"zone axis is {zone_axis!r}; expected three integers [uvw], not all zero, e.g. (1, 1, 0)")
    whole = [int(index) for index in indices]
    lowest = [index // math.gcd(*whole) for index in whole]
    if max(map(abs, lowest)) > LARGEST_INDEX:
        raise InputError(f"zone axis is {zone_axis!r}; expected indices of at most {LARGEST_INDEX}: no columns show")
    return np.array(lowest, dtype=np.int64)


def _complete_to_basis(axis: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return an integer matrix of determinant 1 whose last row is `axis` (indices without a common factor)."""
    u, v, w = axis.tolist()
    g, s, t = _bezout(u, v)
    if g == 0:
        return np.array([[1, 0, 0], [0, w, 0], [0, 0, w]])
    _, m, n = _bezout(g, w)
    # axis = g e + w k with e = (u, v, 0) / g and k = (0, 0, 1); the second row completes (e, k), the first e alone.
    first = [-t, s, 0]
    second = [-n * u // g, -n * v // g, m]
    rows = np.array([first, second, [u, v, w]])
    return rows * np.array([[round(np.linalg.det(rows))], [1], [1]])


def _bezout(a: int, b: int) -> tuple[int, int, int]:
    """Return (g, s, t) with g = gcd(a, b) = s a + t b and g of at least 0."""
    (g, s, t), (r, x, y) = (a, 1, 0), (b, 0, 1)
    while r:
        q = g // r
        (g, s, t), (r, x, y) = (r, x, y), (g - q * r, s - q * x, t - q * y)
    return (g, s, t) if g >= 0 else (-g, -s, -t)


def _wrapped(at: NDArray, others: NDArray) -> NDArray:
    """Return the differences between fractional positions, each to the nearest image; shape (N, M, 2)."""
    apart = at[:, None] - others[None]
    return apart - np.round(apart)


def _merge(at: NDArray, atoms: NDArray, plane: NDArray, tolerance_nm: float) -> tuple[NDArray, NDArray]:
    """Return the mean positions and the summed atoms of groups of positions closer than the tolerance."""
    left = np.arange(len(at))
    centres, sums = [], []
    while left.size:
        apart = _wrapped(at[left], at[left[:1]])[:, 0]
        near = np.linalg.norm(apart @ plane, axis=1) < tolerance_nm
        centres.append(at[left[0]] + apart[near].mean(axis=0))
        sums.append(atoms[left[near]].sum(axis=0))
        left = left[~near]
    return np.array(centres), np.array(sums)


def _reduced(plane: NDArray) -> NDArray[np.float64]:
    """Return the shortest two vectors of the plane lattice that `plane` spans (Lagrange's reduction)."""
    a, b = sorted(plane, key=np.linalg.norm)
    while True:
        b = b - round(float(a @ b / (a @ a))) * a
        # Rounding must not let two vectors of one length take turns for ever.
        if b @ b > (1 - 1e-9) * (a @ a):
            return np.stack([a, b])
        a, b = b, a


def _smallest_cell(
    at: NDArray, atoms: NDArray, plane: NDArray, beam: NDArray, tolerance_nm: float
) -> tuple[NDArray, NDArray, NDArray]:
    """Return positions, atoms and right-handed repeat vectors of the smallest cell that repeats the columns."""
    same = (atoms[:, None] == atoms[None]).all(axis=2)
    shifts = []
    for shift in _wrapped(at, at[:1])[same[0], 0]:
        meets = (np.linalg.norm(_wrapped(at + shift, at) @ plane, axis=2) < tolerance_nm) & same
        if meets.any(axis=1).all():
            shifts.append(shift)
    steps = np.stack(np.meshgrid(*2 * [np.arange(-2, 3)]), axis=-1).reshape(-1, 2)
    repeats = (np.array(shifts)[:, None] + steps).reshape(-1, 2) @ plane
    # Of vectors of one length, the one most along the crystal's x axis comes first, then along y.
    x, y, z = -repeats.T.round(9)
    repeats = repeats[np.lexsort((z, y, x, np.linalg.norm(repeats, axis=1).round(9)))]
    first = repeats[np.linalg.norm(repeats, axis=1) > tolerance_nm][0]
    aside = np.linalg.norm(np.cross(repeats, first), axis=1) / np.linalg.norm(first)
    second = repeats[aside > tolerance_nm][0]
    smallest = np.stack([first, second * np.sign(np.cross(first, second) @ beam)])
    at, atoms = _merge(at @ plane @ np.linalg.pinv(smallest), atoms, smallest, tolerance_nm)
    return at, atoms / len(shifts), smallest
