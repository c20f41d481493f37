"""The one call that says how particles are arranged, and the tables it gives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.spatial import KDTree

from segmentation.columns import as_flags, as_numbers
from segmentation.dispersion.clusters import agglomerate_table, cluster_labels, components
from segmentation.dispersion.curves import check_correction, curve_table, distance_curves, pair_curves
from segmentation.dispersion.envelopes import global_envelope, simulate_curves
from segmentation.dispersion.fractal import agglomerate_dimension
from segmentation.dispersion.gaps import Surfaces
from segmentation.dispersion.neighbours import clark_evans, voronoi_statistics
from segmentation.dispersion.persistence import alpha_persistence
from segmentation.dispersion.windows import Window
from segmentation.instances import Instances, as_instances
from segmentation.measure import measure
from segmentation.population import border_weights
from simulate.errors import (
    InputError,
    PixelSize,
    check_count,
    check_pixel_size,
    check_rng,
    check_shape,
    check_within,
    pixel_size_pair,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

N_RADII = 64
SPACINGS = 5
"""Mean spacings of the particles, up to which functions of distance go (at most a quarter of the window)."""
TESTED = ("L", "g", "G", "F")


@dataclass(frozen=True, eq=False)
class Dispersion:
    r"""How particles are arranged. Lengths are in `unit`, which stands in the columns' names.

    Attributes
    ----------
    unit : {"nm", "px"}
        Of all lengths.
    window : Window
        Where particles were looked for; positions count from its upper left corner.
    particles : pandas.DataFrame
        A row a particle: `label`; `x`, `y` and the `radius` of the disk of equal area; `nearest_centre` and
        `nearest_surface`, the distances to the nearest other particle (0 where surfaces touch); `coordination`, `psi6`,
        `voronoi_area` and `voronoi_at_border` (`voronoi_statistics`); `contacts`, its degree in the contact network,
        `component` of that network; `cluster` of DBSCAN, -1 for noise.
    contacts : pandas.DataFrame
        A row a pair with surfaces within the reach: `first`, `second` (labels) and `gap`.
    agglomerates : pandas.DataFrame
        A row a cluster: see `agglomerate_table`.
    curves : pandas.DataFrame
        K, L, g, G, F and J of r, over the particles further than the `edge_margin` from the window's border; without
        envelopes no more. Of L, g, G and F also the pointwise 95 % envelopes of the simulations (`_low`, `_high`) and
        the global ones (`_global_low`, `_global_high`). No rows for fewer than two.
    persistence : pandas.DataFrame
        `dimension` (0 components, 1 holes), `birth` and `death` (`alpha_persistence`).
    summary : dict
        One number each: `count`; `density`, for which whole particles stand for the cut ones
        (`population.border_weights`; of a mask, or a table that does not say which are cut, it is that of the particles
        within the margin); `edge_margin`, the largest radius, nearer than which to the border a particle may be cut or
        was left out, so that centres there tell nothing (at most a quarter of the window's shorter side; 0 where fewer
        than two particles lie deeper); means of the nearest distances; `clark_evans` of the particles within the
        margin, its `_z` and `_p`; means of `coordination` and `psi6` and the coefficient of variation of the Voronoi
        area over cells away from the border;
        numbers of `contacts`, network `components`, `clusters` and the share of particles `clustered`;
        `fractal_dimension`, its `_error` and the fitted `fractal_prefactor` over whole agglomerates of at least three;
        `hard_core_p_L`, `_g`, `_G`, `_F`: p values of the global tests against placement at random without overlap
        (choose one beforehand: together they give more false alarms).
    """

    unit: str
    window: Window
    particles: pd.DataFrame
    contacts: pd.DataFrame
    agglomerates: pd.DataFrame
    curves: pd.DataFrame
    persistence: pd.DataFrame
    summary: dict[str, float]


def dispersion(
    particles: Instances | pd.DataFrame | ArrayLike,
    *,
    window: tuple[int, int] | NDArray[np.bool_] | None = None,
    pixel_size_nm: PixelSize | None = None,
    correction: str = "translation",
    reach: float | None = None,
    min_samples: int = 2,
    envelopes: int = 99,
    rng: np.random.Generator | int | None = None,
) -> Dispersion:
    """Describe how particles are arranged on a frame.

    Parameters
    ----------
    particles : Instances, pandas.DataFrame, or array_like of int, shape (H, W)
        The particles, their table from `segmentation.measure` (then they count as disks), or a label map.
    window : (int, int) or ndarray of bool, shape (H, W), optional
        Frame shape (rows, columns), or True where particles were looked for; the whole frame of `Instances` if None.
    pixel_size_nm : float or (float, float), optional
        Taken from `Instances` if None; lengths are in pixels where none is known.
    correction : {"translation", "isotropic", "border"}
        Edge correction of K, L and g ("isotropic" not with a mask). G and F always have the border correction.
    reach : float, optional
        Particles are in contact, and of one cluster, up to this gap between their surfaces, in nm or pixels; a pixel's
        longer side if None.
    min_samples : int
        Particles in reach, itself counted, that make a core particle of DBSCAN.
    envelopes : int
        Simulations of the same disks placed at random without overlap; 0 for none. A test at 5 % needs 19 or more.
    rng : numpy.random.Generator or int, optional
        Of the simulations.

    Returns
    -------
    Dispersion

    Raises
    ------
    InputError
        If particles lie outside the window, an option is unknown, or the particles cover so much of the window that
        they find no room at random (then ask for no envelopes).

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.zeros((64, 64), int)
    >>> labels[8:12, 8:12], labels[8:12, 20:24] = 1, 2
    >>> dispersion(labels, envelopes=0).particles["nearest_surface_px"].tolist()
    [8.0, 8.0]
    """
    check_count(envelopes, "number of envelopes")
    check_count(min_samples, "min_samples", 1)
    generator = check_rng(rng)
    if isinstance(particles, pd.DataFrame):
        instances, table, pixel_size = None, particles, check_pixel_size(pixel_size_nm)
        n_frames = len(np.unique(table["frame"].to_numpy())) if "frame" in table else 1
        if n_frames > 1:
            raise InputError(f"the table is of {n_frames} frames; expected one: give table[table['frame'] == n]")
    else:
        instances = as_instances(particles)
        if pixel_size_nm is not None:
            instances = replace(instances, pixel_size_nm=pixel_size_nm)
        table, pixel_size = measure(instances), instances.pixel_size_nm
    pixel, unit = pixel_size_pair(pixel_size), "px" if pixel_size is None else "nm"
    region = _window(window, instances, pixel)
    check_correction(correction, region)
    reach = max(pixel) if reach is None else reach
    check_within(reach, "reach")
    points, radii = _disks(table, pixel, unit)
    outside = ~region.contains(points)
    if outside.any():
        raise InputError(
            f"{int(outside.sum())} of {len(points)} particles lie outside the window; "
            "expected all inside: leave them out, or give the window they were found in"
        )
    surfaces = Surfaces(points, radii, pixel, instances)
    labels = table["label"].to_numpy() if "label" in table else np.arange(1, len(points) + 1)
    rows = {"label": labels, f"x_{unit}": points[:, 0], f"y_{unit}": points[:, 1], f"radius_{unit}": radii}
    rows, contacts, summary = _neighbourhood(rows, surfaces, region, unit, (reach, int(min_samples)))
    margin, kept, inner, at = _deep_inside(points, radii, region)
    described = {
        "count": float(len(points)),
        f"density_per_{unit}2": _density(table, region, pixel, len(at) / inner.area),
        f"edge_margin_{unit}": margin,
    }
    summary = described | summary | clark_evans(at, inner)
    cut = as_flags(table, "touches_border") if "touches_border" in table else np.zeros(len(points), bool)
    cut = cut | (region.border_distances(points) < radii)
    groups = agglomerate_table(rows["cluster"], points, radii, cut, unit)
    curves, tests = _functions(at, radii[kept], inner, unit, (correction, int(envelopes), generator))
    return Dispersion(
        unit,
        region,
        pd.DataFrame(rows),
        contacts,
        groups,
        curves,
        _persistence(points, unit),
        summary | _fractal(groups, unit) | tests,
    )


def _neighbourhood(
    rows: dict[str, NDArray], surfaces: Surfaces, region: Window, unit: str, options: tuple[float, int]
) -> tuple[dict[str, NDArray], pd.DataFrame, dict[str, float]]:
    """Add to the particles' columns who lies next to whom; return them, the contacts and a summary."""
    points, n = surfaces.points, len(surfaces.points)
    centre = KDTree(points).query(points, k=2)[0][:, 1] if n > 1 else np.full(n, np.nan)
    nearest, pairs, gaps = surfaces.near(options[0])
    cells = voronoi_statistics(points, region)
    rows = rows | {f"nearest_centre_{unit}": centre, f"nearest_surface_{unit}": nearest}
    rows |= {f"voronoi_area_{unit}2" if name == "voronoi_area" else name: cells[name] for name in cells}
    rows["contacts"] = np.bincount(pairs.ravel(), minlength=n)
    rows["component"] = components(n, pairs)
    rows["cluster"] = cluster_labels(n, pairs, options[1])
    labels = rows["label"]
    contacts = pd.DataFrame({"first": labels[pairs[:, 0]], "second": labels[pairs[:, 1]], f"gap_{unit}": gaps})

    inner = ~cells["voronoi_at_border"]
    area = cells["voronoi_area"][inner]
    summary = {f"mean_nearest_centre_{unit}": _mean(centre), f"mean_nearest_surface_{unit}": _mean(nearest)}
    summary |= {f"mean_{name}": _mean(cells[name][inner]) for name in ("coordination", "psi6")}
    summary["voronoi_area_cv"] = float(area.std(ddof=1) / area.mean()) if area.size > 1 else float("nan")
    summary["contacts"] = float(len(pairs))
    summary["components"] = float(rows["component"].max() + 1) if n else 0.0
    summary["clusters"] = float(rows["cluster"].max() + 1) if n else 0.0
    summary["clustered"] = _mean((rows["cluster"] >= 0).astype(np.float64))
    return rows, contacts, summary


def _density(table: pd.DataFrame, region: Window, pixel: tuple[float, float], deep: float) -> float:
    """Return how many particles there are to an area, whole ones standing for cut ones; `deep` if those are unknown."""
    boxes = {"bbox_x0", "bbox_y0", "bbox_x1", "bbox_y1"}
    if region.mask is not None or not {"touches_border"} | boxes <= set(table):
        return deep
    shape = round(region.height / pixel[0]), round(region.width / pixel[1])
    return float(border_weights(table, shape).sum()) / region.area


def _deep_inside(
    points: NDArray, radii: NDArray, region: Window
) -> tuple[float, NDArray[np.bool_], Window, NDArray[np.float64]]:
    """Return the margin, which particles lie further than it from the border, where that is, and their places there.

    What is seen of a cut particle has its centre elsewhere, and where cut ones are left out there are none near the
    border: neither is an arrangement by chance of whole disks. Where fewer than two lie so deep, all are returned.
    """
    everyone = np.ones(len(points), dtype=bool)
    margin = min(float(radii.max(initial=0)), min(region.bounds[1]) / 4)
    found = region.inner(margin)
    if found is not None:
        inner, corner = found
        inside = inner.contains(points - corner)
        if inside.sum() >= 2:
            return margin, inside, inner, (points - corner)[inside]
    return 0.0, everyone, region, points


def _functions(
    points: NDArray, radii: NDArray, region: Window, unit: str, settings: tuple[str, int, np.random.Generator]
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return the functions of distance with their envelopes, and the tests' p values."""
    correction, count, generator = settings
    tests = {f"hard_core_p_{name}": float("nan") for name in TESTED} if count else {}
    few = len(points) < 2
    longest = min(min(region.bounds[1]) / 4, SPACINGS * np.sqrt(region.area / max(len(points), 1)))
    r = np.linspace(0, longest, N_RADII)

    def describe(at: NDArray) -> dict[str, NDArray[np.float64]]:
        return pair_curves(at, region, r, correction) | distance_curves(at, region, r)

    found = {name: np.full(r.size, np.nan) for name in ("K", "L", "g", "G", "F", "J")} if few else describe(points)
    curves = curve_table(found, r, unit)
    simulated = {} if few else simulate_curves(count, describe, radii, region, generator)
    for name in TESTED if count else ():
        every = simulated.get(name, np.full((count, r.size), np.nan))
        low, high, tests[f"hard_core_p_{name}"] = global_envelope(found[name], every)
        known = np.isfinite(every).all(axis=0)
        pointwise = np.full((2, r.size), np.nan)
        pointwise[:, known] = np.percentile(every[:, known], [2.5, 97.5], axis=0)
        ending = f"_{unit}" if name == "L" else ""
        sides = {"low": pointwise[0], "high": pointwise[1], "global_low": low, "global_high": high}
        for side, values in sides.items():
            curves[f"{name}_{side}{ending}"] = values
    return curves.iloc[:0] if few else curves, tests


def _fractal(groups: pd.DataFrame, unit: str) -> dict[str, float]:
    names = ["particles", f"radius_of_gyration_{unit}", f"primary_radius_{unit}"]
    whole = ~groups["touches_border"].to_numpy(dtype=bool)
    counts, gyration, primary = groups[names].to_numpy(dtype=np.float64)[whole].T
    fit = agglomerate_dimension(counts, gyration, primary)
    return {
        "fractal_dimension": fit.dimension,
        "fractal_dimension_error": fit.error,
        "fractal_prefactor": fit.prefactor,
    }


def _persistence(points: NDArray, unit: str) -> pd.DataFrame:
    groups = alpha_persistence(points)
    both = np.vstack(groups)
    dimension = np.repeat([0, 1], [len(group) for group in groups])
    return pd.DataFrame({"dimension": dimension, f"birth_{unit}": both[:, 0], f"death_{unit}": both[:, 1]})


def _window(
    window: tuple[int, int] | NDArray[np.bool_] | None, instances: Instances | None, pixel: tuple[float, float]
) -> Window:
    mask = window if isinstance(window, np.ndarray) else None
    if isinstance(window, np.ndarray):
        shape = window.shape
    elif window is not None:
        shape = window
    elif instances is not None:
        shape = instances.shape
    else:
        raise InputError("window is None; expected the frame's shape or a mask beside a table: it has no frame")
    rows, cols = check_shape(shape, "window", smallest=1)
    if instances is not None and (rows, cols) != instances.shape:
        raise InputError(f"window is {rows} x {cols} pixels; expected the label map's {instances.shape}")
    whole = mask is None or (mask.dtype == np.bool_ and mask.all())
    return Window(cols * pixel[1], rows * pixel[0], None if whole else mask)


def _disks(table: pd.DataFrame, pixel: tuple[float, float], unit: str) -> tuple[NDArray, NDArray]:
    """Return centres and radii, in the unit, of a table's particles."""
    names = [name for name in table.columns if name in ("equivalent_diameter_nm", "equivalent_diameter_px")]
    if len(names) != 1 or not {"x", "y"} <= set(table.columns):
        raise InputError(
            f"the table has columns {', '.join(map(str, table.columns))}; expected x, y and one of "
            "equivalent_diameter_nm and equivalent_diameter_px"
        )
    if unit == "px" and names[0].endswith("_nm"):
        raise InputError("the table is in nm but its positions in pixels; expected pixel_size_nm beside it")
    values = as_numbers(table, ["x", "y", names[0]])
    if not (np.isfinite(values).all() and (values[:, 2] > 0).all()):
        raise InputError("the table holds positions or diameters that are no finite positive numbers; leave them out")
    scale = float(np.sqrt(pixel[0] * pixel[1])) if unit == "nm" and names[0].endswith("_px") else 1.0
    return (values[:, :2] + 0.5) * pixel[::-1], values[:, 2] / 2 * scale


def _mean(values: NDArray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
