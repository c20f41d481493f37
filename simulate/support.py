"""The film under the particles: amorphous carbon with grain, thickness ramp, holes and contamination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from simulate.errors import check_positive, check_within
from simulate.materials import material_by_name

if TYPE_CHECKING:
    from numpy.typing import NDArray


LARGEST_SCALE_NM = 1e6
"""Of grain and holes: a millimetre, far beyond any frame."""


@dataclass(frozen=True)
class Support:
    """A supporting film.

    Parameters
    ----------
    material : str
        A name from `simulate.MATERIALS`.
    thickness_nm : float
        Mean thickness; 0 for none.
    texture : float
        Relative standard deviation of the thickness by the film's grain.
    texture_nm : float
        Correlation length (standard deviation of the smoothing Gaussian) of the grain.
    ramp : float
        Relative change of the thickness from one side of the frame to the other, in a random direction.
    hole_share : float
        Share of the frame that is a hole in the film, as in lacey or holey carbon, 0 to 0.9. The rims of holes are
        thicker than the film.
    hole_nm : float
        Size of the holes.
    contamination_nm : float
        Largest thickness of the patches of contamination (taken as carbon of the film's material); 0 for none.
    """

    material: str = "C"
    thickness_nm: float = 10.0
    texture: float = 0.05
    texture_nm: float = 0.8
    ramp: float = 0.1
    hole_share: float = 0.0
    hole_nm: float = 100.0
    contamination_nm: float = 0.0

    def __post_init__(self) -> None:
        for name, high in (("thickness_nm", LARGEST_SCALE_NM), ("texture", 10), ("ramp", 10)):
            check_within(getattr(self, name), f"support: {name}", 0, high)
        check_within(self.contamination_nm, "support: contamination_nm", 0, LARGEST_SCALE_NM)
        for name in ("texture_nm", "hole_nm"):
            check_positive(getattr(self, name), f"support: {name}", "give it in nm")
            check_within(getattr(self, name), f"support: {name}", 0, LARGEST_SCALE_NM)
        check_within(self.hole_share, "support: hole_share", 0, 0.9)
        material_by_name(self.material)

    def draw(
        self, shape: tuple[int, int], pixel_size_nm: float, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the thickness in nm, (H, W), at least 0, and where there is film, (H, W)."""
        height, width = shape
        angle = rng.uniform(0, 2 * np.pi)
        down = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None]
        across = np.linspace(-0.5, 0.5, width, dtype=np.float32)
        thickness = 1 + np.float32(self.ramp) * (np.float32(np.sin(angle)) * down + np.float32(np.cos(angle)) * across)
        if self.texture:
            thickness *= 1 + np.float32(self.texture) * smooth_field(shape, self.texture_nm / pixel_size_nm, rng)
        film = np.ones(shape, dtype=np.bool_)
        if self.hole_share:
            field = smooth_field(shape, self.hole_nm / pixel_size_nm / 4, rng)
            edge = float(np.quantile(field, self.hole_share))
            film = field >= edge
            # A rim of up to twice the thickness, which falls off into the film.
            thickness = np.where(film, thickness * (1 + np.exp(-np.square((field - edge) / 0.25))), 0)
        thickness = np.maximum(thickness, 0) * np.float32(self.thickness_nm)
        if self.contamination_nm:
            patches = np.maximum(smooth_field(shape, min(shape) / 10, rng) - 0.5, 0)
            thickness += np.where(film, np.float32(self.contamination_nm / 2) * np.minimum(patches, 2), 0)
        return thickness.astype(np.float32), film


def smooth_field(shape: tuple[int, int], sigma_px: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return Gaussian noise smoothed by a Gaussian of `sigma_px` pixels, with variance 1, (H, W).

    Where the smoothing is wide, the noise is drawn on a coarse grid and summed with Gaussian weights, one matrix
    product for each axis, which costs no more for wider ones.
    """
    if sigma_px < 4:
        noise = rng.standard_normal(shape, dtype=np.float32)
        field = np.asarray(gaussian_filter(noise, sigma_px, mode="wrap", truncate=3), dtype=np.float32)
    else:
        rows, cols = (_weights(side, sigma_px) for side in shape)
        field = rows @ rng.standard_normal((rows.shape[1], cols.shape[1]), dtype=np.float32) @ cols.T
        # The weights' own power, so that the variance is 1 everywhere, however few nodes there are.
        return (field / np.sqrt(np.outer(np.square(rows).sum(axis=1), np.square(cols).sum(axis=1)))).astype(np.float32)
    spread = float(field.std())
    return field / np.float32(spread) if spread else field


def _weights(side: int, sigma: float) -> NDArray[np.float32]:
    nodes = np.arange(-3 * sigma, side + 3 * sigma, sigma / 2, dtype=np.float32)
    distance = (np.arange(side, dtype=np.float32)[:, None] - nodes) / np.float32(sigma)
    return np.exp(-0.5 * np.square(distance))
