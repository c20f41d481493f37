"""Depth maps, and particles parted by them."""

import numpy as np
import pytest

from segmentation import average_precision
from segmentation.split import depth_map, split
from simulate import SceneConfig, make_scene


def disks(*circles, shape=(96, 120)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int32)
    for label, (row, col, radius) in enumerate(circles, start=1):
        labels[np.hypot(y - row, x - col) <= radius] = label
    return labels


def test_the_depth_of_a_disk_falls_from_its_centre_to_its_outline():
    labels = disks((48, 60, 20))
    depth = depth_map(labels)
    y, x = np.nonzero(labels)
    radius = np.hypot(y - 48, x - 60)
    np.testing.assert_allclose(depth[y, x], 1 - radius / 20.5, atol=0.05)
    assert depth[labels == 0].max() == 0
    assert depth.max() == 1


def test_depth_is_relative_to_each_particle_and_counts_the_line_between_touching_ones():
    labels = disks((48, 30, 20), (48, 66, 16))
    depth = depth_map(labels)
    assert depth[labels == 1].max() == depth[labels == 2].max() == 1
    line = (labels[:, :-1] == 1) & (labels[:, 1:] == 2)
    assert line.any()
    assert depth[:, :-1][line].max() < 0.15


def test_the_edge_of_the_frame_is_no_outline():
    labels = disks((0, 60, 30))
    assert depth_map(labels)[0, 60] == 1


@pytest.mark.parametrize("labels", [np.zeros((9, 9), np.int32), np.full((9, 9), 4, np.int32)])
def test_frames_of_nothing_or_of_one_particle(labels):
    depth = depth_map(labels)
    np.testing.assert_array_equal(depth, labels > 0)
    assert len(split((labels > 0).astype(np.float32), depth)) == (1 if labels.any() else 0)


@pytest.mark.parametrize("seed", range(3))
def test_true_maps_give_the_particles_back(seed):
    config = SceneConfig(shape=(192, 192), n_particles=30, diameter_nm=9, arrangement="random")
    labels = make_scene(config, rng=seed).labels
    seen = np.bincount(labels.ravel()) >= 30
    labels = np.where(seen[labels], labels, 0).astype(np.int32)
    found = split((labels > 0).astype(np.float32), depth_map(labels))
    assert average_precision(labels, found.labels, 0.5) > 0.9


def test_touching_disks_are_parted_and_small_ones_kept():
    labels = disks((40, 30, 16), (40, 58, 14), (80, 100, 2.5))
    particle = np.where(labels > 0, 0.9, 0.05).astype(np.float32)
    depth = depth_map(labels)
    depth[labels == 3] = 0.3  # a network is not sure of the depth of small particles: no core
    found = split(particle, depth)
    assert average_precision(labels, found.labels, 0.8) == 1
    np.testing.assert_allclose(found.scores, 0.9, atol=1e-6)
    assert len(split(particle, depth, min_area_px=40)) == 2
    assert len(split(particle, depth, threshold=0.95)) == 0
