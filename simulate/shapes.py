"""The particles' bodies: ellipsoids and convex polyhedra, solid, hollow or with a core.

Lengths are in units of the particle's radius; the third axis is the beam's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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

    Parameters
    ----------
    semi_axes : (float, float, float)
        Of an ellipsoid.
    normals, offsets : ndarray, shape (F, 3) and (F,)
        Of a polyhedron's faces; None for an ellipsoid.
    vertices, face_areas : ndarray, shape (V, 3) and (F,)
        Its corners and the area of each face.
    body_volume : float
        Its volume.
    lies_flat : bool
        Whether it rests on the support (rods, platelets) and is turned only within its plane.
    inner : float
        Size of an inner part of the same form, relative to the whole; 0 for none.
    inner_part : {"", "core", "cavity"}
        What the inner part is: of another material, or empty.
    """

    semi_axes: tuple[float, float, float] = (1.0, 1.0, 1.0)
    normals: NDArray[np.float64] | None = None
    offsets: NDArray[np.float64] | None = None
    vertices: NDArray[np.float64] | None = None
    face_areas: NDArray[np.float64] | None = None
    body_volume: float = 0.0
    lies_flat: bool = False
    inner: float = 0.0
    inner_part: str = ""

    @property
    def volume(self) -> float:
        """Volume within the outer surface, in cubed radii."""
        return self.body_volume if self.normals is not None else 4 / 3 * np.pi * float(np.prod(self.semi_axes))

    @property
    def reach(self) -> float:
        """Largest distance of a point of the body from its centre, in radii."""
        if self.vertices is None:
            return max(self.semi_axes)
        return float(np.linalg.norm(self.vertices, axis=1).max())

    def outline(self, rotation: NDArray[np.float64]) -> tuple[float, float]:
        r"""Return area and largest Feret diameter of the body's shadow along the beam, in radii.

        The shadow of an ellipsoid is an ellipse of area :math:`\pi a b c \sqrt{n^T \mathrm{diag}(a, b, c)^{-2} n}` for
        the beam's direction :math:`n` in the body's frame; that of a convex polyhedron has half the area
        :math:`\sum_f A_f |n_f \cdot z|`.
        """
        if self.normals is None or self.vertices is None or self.face_areas is None:
            axes = np.array(self.semi_axes)
            area = np.pi * axes.prod() * np.linalg.norm(rotation[2] / axes)
            # The shadow's semi-axes are the singular values of the first two rows of R diag(a, b, c).
            return float(area), 2 * float(np.linalg.norm((rotation * axes)[:2], 2))
        area = 0.5 * self.face_areas @ np.abs(self.normals @ rotation[2])
        corners = self.vertices @ rotation[:2].T
        return float(area), float(np.linalg.norm(corners[:, None] - corners[None], axis=2).max())

    def shadow(self, rotation: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return points (x, y) whose convex hull is the body's shadow, in radii, shape (K, 2); 128 for an ellipsoid."""
        if self.vertices is not None:
            return self.vertices @ rotation[:2].T
        half = (rotation * np.array(self.semi_axes))[:2]
        return (_CIRCLE @ np.linalg.cholesky(half @ half.T).T).astype(np.float64)


_TURN = 2 * np.pi * np.arange(128) / 128
_CIRCLE = np.column_stack([np.cos(_TURN), np.sin(_TURN)])

bodies: Registry[Callable[[np.random.Generator], Body]] = Registry("particle shape")


def _polyhedron(normals: NDArray, offsets: NDArray, *, lies_flat: bool = False) -> Body:
    """Make a polyhedron scaled so that its mean projected area is that of the unit sphere.

    By Cauchy's theorem the mean projection of a convex body is a quarter of its surface area.
    """
    normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    corners = HalfspaceIntersection(np.column_stack([normals, -offsets]), np.zeros(3)).intersections
    scale = 1 / np.sqrt(ConvexHull(corners).area / (4 * np.pi))
    offsets, corners = offsets * scale, corners * scale
    hull = ConvexHull(corners)
    # The hull is made of triangles; each belongs to the face whose plane it lies in.
    triangles = corners[hull.simplices]
    areas = np.linalg.norm(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), axis=1) / 2
    face = np.argmax(hull.equations[:, :3] @ normals.T, axis=1)
    return Body(
        normals=normals,
        offsets=offsets,
        vertices=corners[hull.vertices],
        face_areas=np.bincount(face, areas, minlength=len(normals)).astype(np.float64),
        body_volume=float(hull.volume),
        lies_flat=lies_flat,
    )


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


@bodies.register("ellipsoid", "an ellipsoid with axis ratios up to 1.86")
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
    """Make a truncated octahedron whose {100} faces are 0.91 times as far from the centre as its {111} faces.

    It is near a cuboctahedron. The equilibrium (Wulff) shape of a clean fcc metal, about 1.15 times, has smaller {100}
    faces.
    """
    return _fixed_polyhedron("truncated-octahedron")


@bodies.register("decahedron", "a pentagonal bipyramid with a random axis")
def decahedron(rng: np.random.Generator) -> Body:
    """Make a decahedron, as multiply twinned metal particles show it."""
    return _fixed_polyhedron("decahedron")


@bodies.register("platelet", "a thin prism of 3 to 6 sides lying on the support")
def platelet(rng: np.random.Generator) -> Body:
    """Make a thin regular prism that lies flat."""
    return _platelet(int(rng.integers(3, 7)))


@bodies.register("core-shell", "a sphere with a core of the scene's material in a shell of another")
def core_shell(rng: np.random.Generator) -> Body:
    """Make a sphere whose core has half to 0.85 of its diameter."""
    return Body(inner=float(rng.uniform(0.5, 0.85)), inner_part="core")


@bodies.register("hollow", "a hollow shell: a sphere with a cavity")
def hollow(rng: np.random.Generator) -> Body:
    """Make a sphere whose cavity has 0.6 to 0.9 of its diameter."""
    return Body(inner=float(rng.uniform(0.6, 0.9)), inner_part="cavity")


@bodies.register("nanocage", "a hollow cube, any orientation")
def nanocage(rng: np.random.Generator) -> Body:
    """Make a cube whose cavity has 0.6 to 0.85 of its edge."""
    return replace(_fixed_polyhedron("cube"), inner=float(rng.uniform(0.6, 0.85)), inner_part="cavity")


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
