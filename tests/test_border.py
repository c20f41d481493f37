"""The truth at the border: what share of a shadow lies in the frame, against closed forms and a fine grid."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from simulate import bodies
from simulate.kernels.border import share_within
from simulate.scenes import observe
from simulate.shapes import Body
from simulate.solids import Solids

SHAPE = (40, 60)


def seen(body, turn, radius, centre):
    ones = np.ones(1)
    solids = Solids((body,), turn[None], np.array([centre]), radius * ones, ones, 0 * ones)
    return observe(solids, [("body", "Au")], SHAPE, 1.0)[2]


@pytest.mark.parametrize("radius", [1.0, 2.0, 8.0])
@pytest.mark.parametrize("depth", [-0.6, -0.2, 0.1, 0.45, 0.9])
@pytest.mark.parametrize("side", ["top", "bottom", "left", "right"])
def test_a_cut_spheres_share_is_the_circles_segment(radius, depth, side):
    at = depth * radius  # of the centre, behind the frame's side
    centre = {
        "top": (-0.5 + at, 30.2), "bottom": (39.5 - at, 30.2), "left": (20.3, -0.5 + at), "right": (20.3, 59.5 - at),
    }[side]  # fmt: skip
    particles = seen(Body(), np.eye(3), radius, centre)
    if len(particles):  # a small one may lie between the pixels' centres
        segment = (np.pi - np.arccos(depth) + depth * np.sqrt(1 - depth**2)) / np.pi
        assert particles["in_frame"][0] == pytest.approx(segment, abs=1e-3)


@pytest.mark.parametrize("name", bodies.names)
@pytest.mark.parametrize("centre", [(1.3, 2.1), (38.0, 57.5), (20.0, 60.5)])
def test_a_cut_bodys_share_is_that_of_its_finely_drawn_shadow(name, centre):
    body = bodies[name](np.random.default_rng(5))
    turn = Rotation.from_euler("z", 0.4).as_matrix() if body.lies_flat else Rotation.random(rng=3).as_matrix()
    ones, fine = np.ones(1), 12
    # The same shadow in pixels a twelfth as wide, on a frame around it with the real one's border drawn into it.
    corner = np.array([30.0, 30.0])
    large = Solids((body,), turn[None], (np.array([centre]) + corner + 0.5) * fine - 0.5, 8 * fine * ones, ones, ones)
    drawn = large.mask(0, (100 * fine, 120 * fine))
    inside = drawn[30 * fine : 70 * fine, 30 * fine : 90 * fine].sum() / drawn.sum()
    assert 0.1 < inside < 0.95
    assert seen(body, turn, 8.0, centre)["in_frame"][0] == pytest.approx(inside, abs=5e-3)


def test_a_rod_along_the_border_is_not_cut():
    rod = Body(semi_axes=(2.0, 0.5, 0.5), lies_flat=True)
    assert seen(rod, np.eye(3), 6.0, (3.3, 30.0))["in_frame"][0] == 1
    assert seen(rod, np.eye(3), 6.0, (20.0, 9.0))["in_frame"][0] < 1


def test_a_face_on_cube_with_corners_that_coincide_has_its_share():
    half = bodies["cube"](np.random.default_rng(0)).offsets[0] * 10
    share = seen(bodies["cube"](np.random.default_rng(0)), np.eye(3), 10.0, (2.0, 30.0))["in_frame"][0]
    assert share == pytest.approx((half + 2.5) / (2 * half))
    outside = np.array([[-9.0, 3.0], [-3.0, 3.0], [-3.0, 9.0]])
    assert share_within(outside, 40, 60) == 0
    assert share_within(outside + 12.0, 40, 60) == 1
