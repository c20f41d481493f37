"""Our RoIAlign for CPUs is torchvision's but for rounding, on every level and at every edge."""

import numpy as np
import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign

from segmentation.models.roi_align import PyramidRoIAlign

NAMES = ["p2", "p3", "p4", "p5"]
SIZE = (96, 160)


def pyramid(n_frames, channels=5):
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn((n_frames, channels, SIZE[0] >> 2 + k, SIZE[1] >> 2 + k), generator=generator)
        for k, name in enumerate(NAMES)
    }


def boxes_of(n, seed=0):
    """Boxes of all sizes: inside, across every edge, and wholly outside."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-40, 170, (n, 2))
    sides = np.exp(rng.uniform(np.log(0.3), np.log(300), (n, 2)))
    return torch.tensor(np.hstack([corner, corner + sides]), dtype=torch.float32)


def both(features, boxes, sizes, cells):
    ours = PyramidRoIAlign(NAMES, cells)
    theirs = MultiScaleRoIAlign(NAMES, cells, 2, canonical_scale=112, canonical_level=4)
    with torch.no_grad():
        return ours(features, boxes, sizes), theirs(features, boxes, sizes)


@pytest.mark.parametrize("cells", [7, 14])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_is_torchvisions(cells, layout):
    features = {name: maps.to(memory_format=layout) for name, maps in pyramid(2).items()}
    found, expected = both(features, [boxes_of(200), boxes_of(150, seed=1)], [SIZE, SIZE], cells)
    assert found.shape == (350, 5, cells, cells)
    # A point that rounding moves across a pixel's edge moves along a slope of some units.
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert expected.abs().max() > 1
    assert (expected.flatten(1).abs().amax(1) == 0).any()


def test_boxes_between_levels_go_where_torchvisions_go():
    sides = np.array([28.0, 56.0, 112.0, 224.0, 27.999, 55.999, 111.999, 223.99, 1.0, 1000.0], dtype=np.float32)
    boxes = torch.tensor(np.stack([0 * sides, 0 * sides, sides, sides], axis=1))
    features = {name: torch.full((1, 1, 8 << 3 - k, 8 << 3 - k), float(k)) for k, name in enumerate(NAMES)}
    found, expected = both(features, [boxes], [(256, 256)], 7)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert len(set(expected.amax((1, 2, 3)).tolist())) == len(NAMES)


def test_levels_have_strides_of_powers_of_two():
    """Sides that no stride divides leave a level a little larger than its share."""
    features = {name: torch.randn((1, 3, -(-100 >> 2 + k), -(-100 >> 2 + k))) for k, name in enumerate(NAMES)}
    found, expected = both(features, [boxes_of(50)], [(100, 100)], 7)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_impossible_boxes_are_zero_and_read_nothing_else():
    nan, inf = float("nan"), float("inf")
    boxes = torch.tensor([[nan] * 4, [10, nan, 30, 40], [-inf, -inf, inf, inf], [5e30, 0, 6e30, 9], [1e-30] * 4])
    features = {name: maps + 100 for name, maps in pyramid(1).items()}
    with torch.no_grad():
        found = PyramidRoIAlign(NAMES, 7)(features, [boxes], [SIZE])
    assert (found[:4] == 0).all()
    assert (found[4] > 90).all()


def test_no_boxes_give_nothing():
    found, expected = both(pyramid(1), [torch.zeros((0, 4))], [SIZE], 7)
    assert found.shape == expected.shape == (0, 5, 7, 7)


def test_gradients_flow_where_they_are_wanted():
    features = {name: maps.requires_grad_() for name, maps in pyramid(1).items()}
    PyramidRoIAlign(NAMES, 7)(features, [boxes_of(20)], [SIZE]).sum().backward()
    assert features["p2"].grad.abs().sum() > 0
