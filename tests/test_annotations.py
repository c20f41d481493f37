"""Letters, scale bars and strips over training images: what they change, and which particles they hide."""

import numpy as np
import pytest

from segmentation.annotations import annotate
from segmentation.training_data import LabelledScenes, SceneData

GREY = np.full((96, 128), 0.5, dtype=np.float32)
GREY[0, 0], GREY[0, 1] = 0.0, 1.0
GRID = np.kron(np.arange(1, 193, dtype=np.int32).reshape(12, 16), np.pad(np.ones((4, 4), np.int32), 2))
"""192 particles of 4 x 4 pixels, one every 8."""


@pytest.fixture(scope="module", params=range(40))
def drawn(request):
    return annotate(GREY, GRID, np.random.default_rng(request.param))


def test_something_is_drawn_in_the_intensities_of_the_frame(drawn):
    frame, _ = drawn
    changed = np.abs(frame - GREY) > 0.3
    assert 3 < np.count_nonzero(changed) < 0.6 * GREY.size
    assert frame.min() >= 0
    assert frame.max() <= 1


def test_only_hidden_particles_go(drawn):
    frame, labels = drawn
    assert np.array_equal(labels, np.where(labels > 0, GRID, 0)), "none moves, none is new"
    changed = frame != GREY
    for number in range(1, 193):
        inside = number == GRID
        if not changed[inside].any():
            assert (labels[inside] == number).all()
        elif (np.abs(frame[inside] - 0.5) > 0.45).mean() > 0.7:
            assert not labels[inside].any(), "nothing of it is to be seen"


def test_letters_leave_a_large_particle_whole_and_boxes_cut_it():
    whole = np.ones_like(GRID)
    left = [np.count_nonzero(annotate(GREY, whole, np.random.default_rng(seed))[1]) for seed in range(40)]
    assert {n == whole.size for n in left} == {True, False}
    assert min(left) > 0.4 * whole.size


def test_the_same_seed_draws_the_same():
    for first, second in zip(*(annotate(GREY, GRID, np.random.default_rng(5)) for _ in range(2)), strict=True):
        np.testing.assert_array_equal(first, second)


def test_training_images_have_them_in_their_share():
    plain = SceneData(size=64, real_share=0, noisy_share=0, sparse_share=0, blur_share=0, inverted_share=0)
    seen = []
    for share in (0.0, 1.0):
        config = SceneData(**{**vars(plain), "annotated_share": share})
        seen.append([LabelledScenes(config, 4, 6)[index].seen.numpy()[0] for index in range(6)])
    assert all(not np.array_equal(without, with_it) for without, with_it in zip(*seen, strict=True))
