"""Frames of atomic columns, as high-resolution HAADF sees them, with the exact place and make-up of every column."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import KDTree

from simulate.crystal_config import CrystalConfig
from simulate.errors import check_kind, check_rng
from simulate.shapes import bodies

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulate.projection import ProjectedCell

_CLOSEST_ACROSS_A_BOUNDARY = 0.7
_AMORPHOUS_NM = 0.1

COLUMN_DTYPE = np.dtype([
    ("x", np.float64), ("y", np.float64), ("intensity", np.float64), ("element", "U16"), ("n_atoms", np.int32),
    ("occupancy", np.float64), ("vacancy", np.bool_), ("thickness_nm", np.float64), ("grain", np.int32),
])  # fmt: skip
"""One record a column: centre of its image in pixels (x right, y down, whole numbers at pixel centres), intensity
relative to the strongest column of the whole crystal at `thickness_nm`, elements (the heaviest first), atoms present,
their share of the sites, whether any is missing, the crystal's thickness there, and the grain, from 1."""


@dataclass(frozen=True, eq=False)
class CrystalScene:
    """A drawn crystal.

    Parameters
    ----------
    frame : ndarray of float32, shape (H, W)
        Noise-free intensity: 1 is the peak of the strongest column alone, before pixels average it. A column of
        intensity I adds ``2 pi sigma_px**2 I`` to the sum over the frame.
    labels : ndarray of int32, shape (H, W)
        Which grain is there, 0 for none.
    columns : ndarray of COLUMN_DTYPE, shape (N,)
        The columns whose centres lie within the frame.
    cell : ProjectedCell
        The cell that repeats.
    config : CrystalConfig
        What was asked for.
    """

    frame: NDArray[np.float32]
    labels: NDArray[np.int32]
    columns: NDArray
    cell: ProjectedCell
    config: CrystalConfig


def crystal_frame(config: CrystalConfig, *, rng: np.random.Generator | int | None = None) -> CrystalScene:
    r"""Draw the HAADF frame of a crystal near a zone axis.

    Each column is a line of atoms along which the probe is integrated: with the streak :math:`\mathbf{s}` between the
    projections of its ends and the total intensity :math:`T`,

    .. math:: I(\mathbf{r}) = T \int_{-1/2}^{1/2} G_\sigma(\mathbf{r} - \mathbf{c} - \tau \mathbf{s}) \, d\tau,

    averaged over each pixel, so that the sum over the pixels is :math:`T` wherever the column lies. The total is
    proportional to the sum of :math:`Z^p` over the atoms present: the incoherent image of a thin crystal, without
    channelling. For its effects see `simulate.abtem_frames`.

    Parameters
    ----------
    config : CrystalConfig
        What to draw.
    rng : numpy.random.Generator or int, optional
        Source of randomness or a seed; the same seed gives the same frame.

    Returns
    -------
    CrystalScene

    References
    ----------
    Pennycook and Jesson, Ultramicroscopy 37, 14 (1991), https://doi.org/10.1016/0304-3991(91)90004-P.

    Examples
    --------
    >>> from simulate.crystal_config import CrystalConfig
    >>> scene = crystal_frame(CrystalConfig("SrTiO3", shape=(64, 64)), rng=0)
    >>> scene.frame.shape, sorted(set(scene.columns["element"].tolist()))
    ((64, 64), ['O', 'Sr', 'Ti-O'])
    """
    from simulate.kernels.columns import add_columns

    check_kind(config, "the crystal's configuration", CrystalConfig)
    generator = check_rng(rng)
    cell = config.cell()
    sigma = config.sigma_px
    angles = np.deg2rad(config.rotation_deg) + generator.uniform(0, 2 * np.pi, config.n_grains)
    angles[0] = np.deg2rad(config.rotation_deg)
    seeds = generator.uniform(0, 1, (config.n_grains, 2)) * config.shape[::-1]
    places, kinds, grains = _sites(config, cell, angles, seeds, generator)
    thickness = _thickness_nm(config, cell, angles[0], places)
    kept = thickness > 0
    places, kinds, grains, thickness = places[kept], kinds[kept], grains[kept], thickness[kept]
    columns = _occupy(config, cell, kinds, thickness, generator)
    streaks = thickness[:, None] * np.tan(np.multiply(config.tilt_mrad, 1e-3)) / config.pixel_size_nm
    places = places + generator.normal(0, 1, places.shape) * (config.static_rms_nm / config.pixel_size_nm)
    places += 0 if config.particle else streaks / 2
    columns["x"], columns["y"], columns["grain"] = places[:, 0], places[:, 1], grains + 1
    frame = np.zeros(config.shape)
    longest = float(np.linalg.norm(streaks, axis=1).max(initial=0))
    nodes, shares = np.polynomial.legendre.leggauss(1 if longest == 0 else 4 + math.ceil(1.5 * longest / sigma))
    totals = 2 * np.pi * sigma**2 * columns["intensity"]
    add_columns(frame, places, streaks, totals, sigma, nodes / 2, shares / 2)
    frame += _support(config, generator)
    inside = (np.abs(places - _middle(config)) <= np.array(config.shape[::-1]) / 2).all(axis=1)
    labels = _labels(config, cell, angles[0], seeds)
    return CrystalScene(frame.astype(np.float32), labels, columns[inside & (columns["element"] != "")], cell, config)


def _middle(config: CrystalConfig) -> NDArray[np.float64]:
    return (np.array(config.shape[::-1]) - 1) / 2


def _sites(
    config: CrystalConfig, cell: ProjectedCell, angles: NDArray, seeds: NDArray, rng: np.random.Generator
) -> tuple[NDArray, NDArray, NDArray]:
    """Return places (N, 2) in pixels, the column of the cell at each, and its grain; some lie outside the frame."""
    tilt = np.abs(np.tan(np.multiply(config.tilt_mrad, 1e-3)))
    slope = np.abs(np.tan(np.multiply(config.wedge_mrad, 1e-3)))
    thickest = config.thickness_nm + float(slope @ config.shape[::-1]) * config.pixel_size_nm
    margin = 5 * config.sigma_px + (5 * config.static_rms_nm + thickest * tilt.max()) / config.pixel_size_nm + 1
    half = np.array(config.shape[::-1]) / 2 + margin
    corners = half * np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)])
    found: list[tuple[NDArray, NDArray, NDArray]] = []
    for grain, angle in enumerate(angles):
        turn = _turn(angle)[:2, :2]
        vectors = cell.vectors_nm @ turn / config.pixel_size_nm
        offset = rng.uniform(0, 1, 2) @ vectors + _middle(config)
        reach = (corners + _middle(config) - offset) @ np.linalg.inv(vectors)
        low, high = np.floor(reach.min(axis=0)).astype(int) - 1, np.ceil(reach.max(axis=0)).astype(int) + 1
        i, j = np.mgrid[low[0] : high[0] + 1, low[1] : high[1] + 1].reshape(2, -1)
        points = offset + np.stack([i, j], axis=1) @ vectors
        within = cell.positions_nm @ turn / config.pixel_size_nm
        at = (points[:, None] + within).reshape(-1, 2)
        kinds = np.tile(np.arange(len(within)), len(points))
        kept = (np.abs(at - _middle(config)) <= half).all(axis=1)
        if len(angles) > 1:
            kept &= KDTree(seeds).query(at)[1] == grain
        found.append((at[kept], kinds[kept], np.full(np.count_nonzero(kept), grain)))
    places, kinds, grains = (np.concatenate(parts) for parts in zip(*found, strict=True))
    if len(angles) > 1:
        near = KDTree(places).query_pairs(
            _CLOSEST_ACROSS_A_BOUNDARY * cell.spacing_nm / config.pixel_size_nm, output_type="ndarray"
        )
        near = near[grains[near[:, 0]] != grains[near[:, 1]]]
        kept = np.ones(len(places), dtype=bool)
        kept[near.max(axis=1)] = False
        places, kinds, grains = places[kept], kinds[kept], grains[kept]
    return places, kinds, grains


def _turn(angle: float) -> NDArray[np.float64]:
    """Return the matrix that turns row vectors in the frame's plane, from x towards y."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])


def _thickness_nm(config: CrystalConfig, cell: ProjectedCell, angle: float, at: NDArray) -> NDArray[np.float64]:
    """Return the crystal's thickness along the beam at places (N, 2) in pixels, zero outside its outline."""
    off_centre = (at - _middle(config)) * config.pixel_size_nm
    if not config.particle:
        slope = np.tan(np.multiply(config.wedge_mrad, 1e-3))
        return np.maximum(config.thickness_nm + off_centre @ slope, 0)
    radius = config.thickness_nm / 2
    if config.particle == "sphere":
        return 2 * np.sqrt(np.maximum(radius**2 - (off_centre**2).sum(axis=1), 0))
    body = bodies[config.particle](np.random.default_rng(0))  # these bodies leave nothing to chance
    assert body.normals is not None
    assert body.offsets is not None
    # Each face bounds the beam's way from above or below; the thickness is what is left between the tightest two.
    top, bottom = np.full(len(at), np.inf), np.full(len(at), -np.inf)
    for normal, offset in zip(body.normals @ cell.axes.T @ _turn(angle), body.offsets, strict=True):
        slack = radius * offset - off_centre @ normal[:2]
        if abs(normal[2]) < 1e-9:
            top[slack < 0] = -np.inf
        elif normal[2] > 0:
            top = np.minimum(top, slack / normal[2])
        else:
            bottom = np.maximum(bottom, slack / normal[2])
    return np.maximum(top - bottom, 0)


def _occupy(
    config: CrystalConfig, cell: ProjectedCell, kinds: NDArray, thickness: NDArray, rng: np.random.Generator
) -> NDArray:
    """Return the columns' records without their places: the atoms of each, less the missing ones."""
    sites = np.floor(thickness[:, None] * cell.atoms_per_nm[kinds] + 0.5).astype(np.int64)
    affected = rng.random(len(kinds)) < config.vacancy_columns
    missing = rng.binomial(sites, config.vacancy_atoms) * affected[:, None]
    if config.vacancy_element:
        missing *= np.array(cell.elements) == config.vacancy_element
    strongest = float(cell.intensity_per_nm.max()) * config.thickness_nm
    columns = np.zeros(len(kinds), dtype=COLUMN_DTYPE)
    columns["intensity"] = (sites - missing) @ cell.atom_intensities / strongest
    columns["element"] = np.where(sites.any(axis=1), np.array(cell.labels)[kinds], "")
    columns["n_atoms"] = (sites - missing).sum(axis=1)
    columns["occupancy"] = columns["n_atoms"] / np.maximum(sites.sum(axis=1), 1)
    columns["vacancy"] = missing.any(axis=1)
    columns["thickness_nm"] = thickness
    return columns


def _support(config: CrystalConfig, rng: np.random.Generator) -> NDArray[np.float64] | float:
    """Return the amorphous support's intensity: white noise as the probe sees it, about its level."""
    if not (config.background and config.texture):
        return config.background
    speckle = gaussian_filter(
        rng.normal(size=config.shape), math.hypot(config.sigma_px, _AMORPHOUS_NM / config.pixel_size_nm), mode="wrap"
    )
    return config.background * np.maximum(1 + config.texture * speckle / speckle.std(), 0)


def _labels(config: CrystalConfig, cell: ProjectedCell, angle: float, seeds: NDArray) -> NDArray[np.int32]:
    rows, cols = np.indices(config.shape).reshape(2, -1)
    at = np.stack([cols, rows], axis=1).astype(np.float64)
    grain = KDTree(seeds).query(at)[1] if len(seeds) > 1 else 0
    return np.where(_thickness_nm(config, cell, angle, at) > 0, grain + 1, 0).reshape(config.shape).astype(np.int32)
