"""Projected thickness of ellipsoids and convex polyhedra: what a HAADF detector sees of one particle.

Lengths are in units of the particle's radius; the third axis is the beam's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import ConvexHull, HalfspaceIntersection

from simulate.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Body:
    """A convex body: half-spaces ``normals @ p <= offsets``, or an ellipsoid of the given semi-axes.

    `lies_flat` marks bodies that rest on the support (rods, platelets) and are only turned within its plane.
    """

    normals: NDArray[np.float64] | None = None
    offsets: NDArray[np.float64] | None = None
    semi_axes: tuple[float, float, float] = (1.0, 1.0, 1.0)
    lies_flat: bool = False


bodies: Registry[Callable[[np.random.Generator], Body]] = Registry("particle shape")


def project(body: Body, rotation: NDArray[np.float64], x: NDArray, y: NDArray) -> NDArray[np.float64]:
    """Return the body's thickness along the beam at the points (x, y), zero outside its outline.

    Parameters
    ----------
    body : Body
    rotation : ndarray, shape (3, 3)
        Turns the body's frame into the microscope's.
    x, y : ndarray
        Positions in units of the radius; the result broadcasts them.
    """
    if body.normals is None:
        return _project_ellipsoid(rotation @ np.diag(1 / np.square(body.semi_axes)) @ rotation.T, x, y)
    assert body.offsets is not None
    return _project_polyhedron(body.normals @ rotation.T, body.offsets, x, y)


def _project_ellipsoid(q: NDArray, x: NDArray, y: NDArray) -> NDArray[np.float64]:
    # p' Q p <= 1 is a quadratic a z^2 + 2 b z + c <= 0 in z; its roots lie 2 sqrt(b^2 - a c) / a apart.
    b = q[0, 2] * x + q[1, 2] * y
    c = q[0, 0] * x * x + 2 * q[0, 1] * x * y + q[1, 1] * y * y - 1
    return 2 * np.sqrt(np.maximum(b * b - q[2, 2] * c, 0)) / q[2, 2]


def _project_polyhedron(normals: NDArray, offsets: NDArray, x: NDArray, y: NDArray) -> NDArray[np.float64]:
    # Each half-space bounds z from above or below; the thickness is what is left between the tightest two.
    x, y = np.broadcast_arrays(x, y)
    top, bottom = np.full(x.shape, np.inf), np.full(x.shape, -np.inf)
    for (nx, ny, nz), offset in zip(normals, offsets, strict=True):
        slack = offset - nx * x - ny * y
        if nz > 1e-9:
            np.minimum(top, slack / nz, out=top)
        elif nz < -1e-9:
            np.maximum(bottom, slack / nz, out=bottom)
        else:
            top = np.where(slack < 0, -np.inf, top)
    return np.maximum(top - bottom, 0)


def _polyhedron(normals: NDArray, offsets: NDArray, *, lies_flat: bool = False) -> Body:
    """Make a polyhedron scaled so that its mean projected area is that of the unit sphere.

    By Cauchy's theorem the mean projection of a convex body is a quarter of its surface area.
    """
    normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    halfspaces = np.column_stack([normals, -offsets])
    surface = ConvexHull(HalfspaceIntersection(halfspaces, np.zeros(3)).intersections).area
    return Body(normals, offsets / np.sqrt(surface / (4 * np.pi)), lies_flat=lies_flat)


_CUBE = np.vstack([np.eye(3), -np.eye(3)])
_OCTAHEDRON = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)], dtype=np.float64)


def _prism(sides: int, half_height: float) -> Body:
    angles = 2 * np.pi * np.arange(sides) / sides
    walls = np.column_stack([np.cos(angles), np.sin(angles), np.zeros(sides)])
    caps = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    offsets = np.concatenate([np.ones(sides), np.full(2, half_height)])
    return _polyhedron(np.vstack([walls, caps]), offsets, lies_flat=True)


@bodies.register("sphere", "a sphere")
def sphere(rng: np.random.Generator) -> Body:
    """Make a sphere."""
    return Body()


@bodies.register("ellipsoid", "an ellipsoid with axis ratios up to 1.8")
def ellipsoid(rng: np.random.Generator) -> Body:
    """Make an ellipsoid of unit volume radius."""
    axes = rng.uniform(0.7, 1.3, 3)
    axes /= np.prod(axes) ** (1 / 3)
    return Body(semi_axes=(axes[0], axes[1], axes[2]))


@bodies.register("rod", "a long ellipsoid lying on the support, aspect ratio 2 to 5")
def rod(rng: np.random.Generator) -> Body:
    """Make a rod of aspect ratio 2 to 5 whose outline has the area of the unit disk."""
    aspect = rng.uniform(2, 5)
    return Body(semi_axes=(aspect**0.5, aspect**-0.5, aspect**-0.5), lies_flat=True)


@bodies.register("cube", "a cube, any orientation")
def cube(rng: np.random.Generator) -> Body:
    """Make a cube."""
    return _fixed_polyhedron("cube")


@bodies.register("octahedron", "a regular octahedron, any orientation")
def octahedron(rng: np.random.Generator) -> Body:
    """Make an octahedron."""
    return _fixed_polyhedron("octahedron")


@bodies.register("truncated-octahedron", "an octahedron with its corners cut by cube faces")
def truncated_octahedron(rng: np.random.Generator) -> Body:
    """Make a truncated octahedron (the Wulff shape of many fcc metals)."""
    return _fixed_polyhedron("truncated-octahedron")


@bodies.register("decahedron", "a pentagonal bipyramid with a random axis")
def decahedron(rng: np.random.Generator) -> Body:
    """Make a decahedron, as multiply twinned metal particles show it."""
    return _fixed_polyhedron("decahedron")


@bodies.register("platelet", "a thin prism of 3 to 6 sides lying on the support")
def platelet(rng: np.random.Generator) -> Body:
    """Make a thin regular prism that lies flat."""
    return _platelet(int(rng.integers(3, 7)))


@cache
def _platelet(sides: int) -> Body:
    return _prism(sides, 0.25)


@cache
def _fixed_polyhedron(name: str) -> Body:
    if name == "cube":
        return _polyhedron(_CUBE, np.ones(6))
    if name == "octahedron":
        return _polyhedron(_OCTAHEDRON, np.ones(8))
    if name == "truncated-octahedron":
        return _polyhedron(np.vstack([_CUBE, _OCTAHEDRON]), np.concatenate([np.ones(6), np.full(8, 1.1)]))
    angles = 2 * np.pi * np.arange(5) / 5
    upper = np.column_stack([np.cos(angles), np.sin(angles), np.full(5, 1.3)])
    return _polyhedron(np.vstack([upper, upper * [1, 1, -1]]), np.ones(10))
