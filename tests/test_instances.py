import tracemalloc

import numpy as np
import pytest

from segmentation.instances import Instances, compact_labels
from simulate import InputError

LABELS = np.array([[0, 7, 7, 0], [0, 7, 0, 3], [0, 0, 0, 3]])


def test_ids_and_boxes_follow_from_labels_that_are_not_consecutive():
    particles = Instances(LABELS)
    assert particles.ids.tolist() == [3, 7]
    assert particles.boxes.tolist() == [[3, 1, 4, 3], [1, 0, 3, 2]]
    assert particles.scores.tolist() == [1, 1]
    assert particles.labels.dtype == np.int32
    assert particles.boxes.dtype == particles.scores.dtype == np.float32
    assert compact_labels(particles.labels, particles.ids).tolist() == [[0, 2, 2, 0], [0, 2, 0, 1], [0, 0, 0, 1]]


def test_crop_gives_one_particle_back():
    rows, cols, mask = Instances(LABELS).crop(7)
    assert (LABELS[rows, cols][mask] == 7).all()
    assert mask.sum() == 3
    nested = np.pad([[5]], 2, constant_values=8)
    assert Instances(nested).crop(8)[2].sum() == 24
    with pytest.raises(InputError, match="no particle 4"):
        Instances(LABELS).crop(4)


def test_huge_ids_need_no_huge_tables():
    tracemalloc.start()
    particles = Instances(LABELS.astype(np.int64) * 200_000_000)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()
    assert particles.ids.tolist() == [600_000_000, 1_400_000_000]
    assert particles.crop(600_000_000)[2].all()


def test_a_frame_without_particles_is_normal():
    empty = Instances(np.zeros((5, 6), int), boxes=[], scores=[], masks=np.zeros((0, 28, 28)))
    assert len(empty) == 0
    assert empty.boxes.shape == (0, 4)
    assert empty.masks is not None
    assert empty.masks.shape == (0, 28, 28)


def test_given_rows_are_kept():
    masks = np.full((2, 28, 28), 0.25)
    given = Instances(LABELS, boxes=[[2, 1, 4, 3], [1, 0, 3.5, 2]], scores=[0.5, 0.75], masks=masks)
    assert given.boxes[1].tolist() == [1, 0, 3.5, 2]
    assert given.scores.tolist() == [0.5, 0.75]
    assert given.masks is not None
    assert given.masks.dtype == np.float16


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS > 0, "boolean"),
        (LABELS + 0.5, "fractions"),
        (LABELS - 1, "-1"),
        (LABELS * np.nan, "NaN"),
        (np.zeros((2, 3, 4), int), "dimensions"),
        (np.zeros(5, int), "dimensions"),
        (np.zeros((0, 5), int), "pixels"),
        (LABELS.astype(complex), "complex"),
        (LABELS.astype(np.int64) << 30, "below 2\\^31"),
    ],
)
def test_what_is_no_label_map_is_refused(labels, message):
    with pytest.raises(InputError, match=message):
        Instances(labels)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"boxes": np.zeros((3, 4))}, "boxes have shape"),
        ({"boxes": np.zeros((2, 4))}, "no extent"),
        ({"scores": [0.5]}, "scores have shape"),
        ({"scores": [0.5, 1.5]}, "scores reach"),
        ({"scores": [0.5, np.nan]}, "NaN"),
        ({"masks": np.zeros((2, 14, 14))}, "masks have shape"),
        ({"intensity": np.zeros((2, 2))}, "intensity image has shape"),
        ({"pixel_size_nm": -1}, "pixel size"),
    ],
)
def test_rows_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        Instances(LABELS, **fields)


def test_whole_floats_and_unsigned_labels_are_taken():
    assert Instances(LABELS.astype(float)).ids.tolist() == [3, 7]
    assert Instances(LABELS.astype(np.uint16)).ids.tolist() == [3, 7]
