"""How large the particles of a frame are as a population, and how they are arranged: tables and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from segmentation.dispersion import dispersion, dispersion_figure
from segmentation.output import analysis_paths, write_csv
from segmentation.population import population
from segmentation.population_figures import population_figure
from simulate.atomic import make_folder
from simulate.errors import InputError

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from segmentation.dispersion import Dispersion
    from segmentation.instances import Instances
    from segmentation.population import Population


FEW = 8
"""Particles below which intervals and tests are shown with a warning, or not at all."""


def save_analysis(
    instances: Instances, table: pd.DataFrame, folder: str | os.PathLike[str], stem: str, *, seed: int = 0
) -> tuple[Population, Dispersion, dict[str, Path]]:
    """Describe population and dispersion of a frame's particles and write both; return them and the paths.

    Parameters
    ----------
    instances : Instances
        The particles.
    table : pandas.DataFrame
        Their table from `measure`.
    folder : path
        Where to write; made if it is not there.
    stem : str
        What the files' names begin with.
    seed : int
        Of the bootstrap and of the simulated envelopes.

    Returns
    -------
    population : Population
    dispersion : Dispersion
        Without envelopes where the particles cover so much of the frame that they find no room at random.
    paths : dict of str to Path
        As of `segmentation.output.analysis_paths`.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from segmentation import Instances, measure
    >>> particles = Instances(np.kron(np.diag([1, 2, 3]), np.pad(np.ones((8, 8), int), 8)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sizes, arranged, paths = save_analysis(particles, measure(particles), folder, "frame")
    >>> print(sizes.count, paths["curves"].name)
    3 frame_curves.csv
    """
    home = make_folder(folder)
    paths = analysis_paths(home, stem)
    sizes = population(table, instances.shape, pixel_size_nm=instances.pixel_size_nm, rng=seed)
    try:
        arranged = dispersion(instances, rng=seed)
    except InputError:
        arranged = dispersion(instances, envelopes=0)
    write_csv(paths["population"], sizes.table())
    write_csv(paths["fits"], sizes.fits.reset_index())
    write_csv(paths["dispersion"], pd.DataFrame(list(arranged.summary.items()), columns=["statistic", "value"]))
    write_csv(paths["curves"], arranged.curves)
    write_csv(paths["neighbours"], arranged.particles)
    population_figure(instances, table, sizes, paths["population_figure"])
    dispersion_figure(arranged, paths["dispersion_figure"])
    return sizes, arranged, paths


def describe_analysis(sizes: Population, arranged: Dispersion) -> str:
    """Return in a few lines what population and dispersion say."""
    lines = []
    if sizes.sizes.size:
        spread = ", ".join(f"{name.upper()} {_value(sizes, name)}" for name in ("d10", "d50", "d90"))
        lines.append(f"Diameters of whole particles in {sizes.unit}, freed of the border's bias (95 %): {spread}")
    if 0 < sizes.sizes.size < FEW:
        lines.append(f"Only {sizes.sizes.size} whole particles: too few to trust these intervals")
    if len(sizes.fits):
        lines.append(
            f"Geometric mean {_value(sizes, 'geometric_mean')} {sizes.unit}, geometric standard deviation "
            f"{_value(sizes, 'geometric_sd')}; best fit: {sizes.fits.index[0]}"
        )
    tested = arranged.summary.get("hard_core_p_L", np.nan)
    if np.isfinite(tested) and sizes.count < FEW:
        lines.append(f"Only {sizes.count} particles: too few for a test of their arrangement")
    elif np.isfinite(tested):
        how = "unlike" if tested < 0.05 else "like"
        lines.append(f"Arranged {how} particles placed at random without overlap (L function, p = {tested:.2f})")
    elif sizes.count > 1:
        lines.append("Too dense for particles placed at random: no test of the arrangement")
    return "\n".join(lines)


def _value(sizes: Population, name: str) -> str:
    value, low, high = sizes.statistics.loc[name].to_numpy(dtype=float)
    return f"{value:.3g} ({low:.3g} to {high:.3g})" if np.isfinite(low) else f"{value:.3g} (one particle: no interval)"
