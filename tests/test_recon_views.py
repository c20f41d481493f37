"""A network's mean over mirrored and turned views: every map moves along, comes back, and the mean is better."""

import numpy as np
import pytest
import torch

from cs_recon import InputError, psnr, reconstruct
from cs_recon.batch import make_batch
from cs_recon.networks import NetworkOutput
from cs_recon.views import mean_of_views
from simulate import Measurement, make_scene, measure, random_config, scan_path


@pytest.fixture
def batch():
    """Two scans with dwell maps, not square."""
    rng = np.random.default_rng(0)
    scans = []
    for _ in range(2):
        mask = rng.random((17, 33)) < 0.5
        exposure = np.where(mask, rng.uniform(0.5, 2, mask.shape), 0)
        scans.append(Measurement(rng.random(mask.shape), mask, exposure=exposure, counts_per_unit=50))
    return make_batch(scans).with_smooth()


def pointwise(batch):
    """Everything a network sees, pixel by pixel: no view of it is special."""
    seen = batch.y + 2 * batch.scan.mask * batch.scan.weights + 3 * batch.sigma + 5 * batch.x0 + 7 * batch.smooth
    return NetworkOutput(seen, seen / 2, {"last": (seen[..., ::2, ::2], 2)})


@pytest.mark.parametrize("views", range(1, 9))
def test_what_sees_no_position_sees_the_same_in_every_view(batch, views):
    once, mean = pointwise(batch), mean_of_views(pointwise, views)(batch)
    torch.testing.assert_close(mean.image, once.image)
    torch.testing.assert_close(mean.log_sigma, once.log_sigma)
    assert torch.equal(mean.features["last"][0], once.features["last"][0])


def test_every_view_is_another_and_comes_back_to_its_place():
    """A mark in the corner that the network sees last, or first, lies in each of the frame's corners in turn."""
    scan = Measurement(np.random.default_rng(1).random((16, 16)), np.ones((16, 16), bool))
    batch = make_batch([scan])

    def mark(batch):
        image = torch.zeros_like(batch.y)
        image[..., 0, 1] = 1
        return NetworkOutput(image, image, {})

    corners = [(0, 1), (15, 14), (0, 14), (15, 1), (1, 0), (14, 15), (14, 0), (1, 15)]
    for views in range(1, 9):
        marked = mean_of_views(mark, views)(batch).image[0, 0] * views
        assert {tuple(place) for place in torch.nonzero(marked > 0.5).tolist()} == set(corners[:views])


def test_the_frame_s_own_shape_turns_with_it(batch):
    shapes = []

    def look(batch):
        shapes.append((batch.shape, tuple(batch.y.shape[-2:])))
        return NetworkOutput(batch.y, batch.y, {})

    mean_of_views(look, 8)(batch)
    assert shapes == [((17, 33), (32, 48))] * 4 + [((33, 17), (48, 32))] * 4


@pytest.mark.parametrize("method", ["unrolled-ista", "inpainting"])
def test_more_views_are_better(method):
    gains = []
    for seed in range(6):
        rng = np.random.default_rng(88_000 + seed)
        frame = make_scene(random_config(rng, (64, 80)), rng=rng).frame
        scan = measure(frame, scan_path("random", frame.shape, 0.2, rng=rng), peak_counts=50, rng=rng)
        one, four = (reconstruct(scan, method, views=views) for views in (1, 4))
        gains.append(psnr(frame, four.image) - psnr(frame, one.image))
        assert four.features.keys() == one.features.keys()
    assert np.mean(gains) > 0.02


@pytest.mark.parametrize("views", [0, 9, 2.0, "4", True])
def test_bad_views(views):
    scan = Measurement(np.arange(64.0).reshape(8, 8), np.ones((8, 8), bool))
    with pytest.raises(InputError, match=r"views is .*expected a whole number from 1 to 8"):
        reconstruct(scan, "unrolled-ista", views=views)
