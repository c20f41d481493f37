import itertools

import numpy as np
import pytest

from segmentation import scores
from segmentation.instances import Instances
from segmentation.matching import match, overlaps
from simulate import InputError

RATIOS = (scores.average_precision, scores.f1, scores.precision, scores.recall, scores.panoptic_quality)
EMPTY = np.zeros((4, 4), int)


def strip(*runs):
    """One row of labels from (label, length) pairs."""
    return np.concatenate([np.full(length, label) for label, length in runs])[None]


# True: 1 (10 px), 2 (10 px), 3 (4 px). Predicted: 11 has IoU 8/10 with 1, 12 has 10/15 with 2, 13 has none.
TRUE = strip((1, 10), (2, 10), (0, 5), (3, 4), (0, 6))
PRED = strip((11, 8), (0, 2), (12, 15), (0, 4), (13, 6))


def test_a_case_worked_by_hand():
    np.testing.assert_allclose(overlaps(TRUE, PRED).iou, [8 / 10, 10 / 15])
    pairs = match(TRUE, PRED)
    assert pairs.true_ids.tolist() == [1, 2]
    assert pairs.pred_ids.tolist() == [11, 12]
    assert (pairs.tp, pairs.fp, pairs.fn) == (2, 1, 1)
    assert scores.average_precision(TRUE, PRED) == pytest.approx(2 / 4)
    assert scores.f1(TRUE, PRED) == pytest.approx(4 / 6)
    assert scores.precision(TRUE, PRED) == pytest.approx(2 / 3)
    assert scores.recall(TRUE, PRED) == pytest.approx(2 / 3)
    assert scores.mean_matched_iou(TRUE, PRED) == pytest.approx((8 / 10 + 10 / 15) / 2)
    assert scores.panoptic_quality(TRUE, PRED) == pytest.approx((8 / 10 + 10 / 15) / 3)
    assert scores.size_bias(TRUE, PRED) == pytest.approx((np.sqrt(0.8) + np.sqrt(1.5)) / 2 - 1)
    assert scores.count_error(TRUE, PRED) == 0


def test_precision_and_recall_differ_where_they_should():
    one = strip((1, 10), (0, 25))
    assert scores.precision(TRUE, one) == 1
    assert scores.recall(TRUE, one) == pytest.approx(1 / 3)
    assert scores.precision(one, TRUE) == pytest.approx(1 / 3)
    assert scores.recall(one, TRUE) == 1
    assert scores.count_error(TRUE, one) == -2


def test_the_threshold_itself_counts():
    assert match(TRUE, PRED, 0.8).tp == 1
    assert match(TRUE, PRED, 0.81).tp == 0


def test_all_scores_at_once_agree_with_each():
    found = scores.score(TRUE, PRED, ious=(0.5, 0.75))
    assert (found["n_true"], found["n_pred"], found["count_error"]) == (3, 3, 0)
    for function in (*RATIOS, scores.mean_matched_iou, scores.size_bias):
        for iou in (0.5, 0.75):
            assert found[f"{function.__name__}@{iou:g}"] == function(TRUE, PRED, iou)
    assert found["mean_average_precision"] == pytest.approx((2 / 4 + 1 / 5) / 2)


def test_empty_frames():
    full = np.eye(4, dtype=int)
    for function in RATIOS:
        assert function(EMPTY, EMPTY) == 1
        assert function(EMPTY, full) == 0
        assert function(full, EMPTY) == 0
    assert scores.mean_matched_iou(EMPTY, EMPTY) == 1
    assert np.isnan(scores.mean_matched_iou(EMPTY, full))
    assert np.isnan(scores.size_bias(EMPTY, EMPTY))
    assert scores.count_error(EMPTY, full) == 1
    assert scores.score(EMPTY, EMPTY)["mean_average_precision"] == 1


@pytest.mark.parametrize("seed", range(30))
def test_low_thresholds_give_the_best_assignment_of_all(seed):
    rng = np.random.default_rng(seed)
    true, pred = rng.integers(0, 5, (1, 24)), rng.integers(0, 5, (1, 24))
    table = overlaps(true, pred)
    edges = [
        (i, j, value)
        for i, j, value in zip(table.true_index, table.pred_index, table.iou, strict=True)
        if value >= 0.15
    ]
    best = (0, 0.0)
    for size in range(5):
        for chosen in itertools.combinations(edges, size):
            if len({i for i, _, _ in chosen}) == len({j for _, j, _ in chosen}) == size:
                best = max(best, (size, sum(value for *_, value in chosen)))
    found = match(true, pred, 0.15)
    assert (found.tp, found.iou.sum()) == pytest.approx(best)


def test_two_poor_pairs_go_before_one_good_one():
    true, pred = strip((1, 10), (2, 4)), strip((6, 2), (5, 10), (0, 2))
    np.testing.assert_allclose(overlaps(true, pred).iou, [8 / 12, 2 / 10, 2 / 12])
    assert match(true, pred, 0.1).tp == 2
    assert match(true, pred, 0.5).true_ids.tolist() == [1]


def test_ids_order_and_renumbering_do_not_matter():
    rng = np.random.default_rng(0)
    true = np.kron(rng.permutation(np.arange(0, 25)).reshape(5, 5), np.ones((6, 6), int))
    pred = np.roll(true, 1, axis=0)
    renumbered = rng.permutation(np.arange(1000))[np.arange(25)] + 1
    renumbered[0] = 0
    assert scores.score(true, pred) == pytest.approx(scores.score(true, renumbered[pred]), nan_ok=True)
    assert scores.average_precision(true, true, 1.0) == 1


def test_many_particles_need_no_large_table():
    labels = np.arange(512 * 512).reshape(512, 512) // 4
    assert scores.average_precision(labels, labels) == 1


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="equal shapes"):
        match(EMPTY, EMPTY[:2])
    with pytest.raises(InputError, match="IoU threshold"):
        match(EMPTY, EMPTY, 0)
    with pytest.raises(InputError, match="no IoU"):
        scores.score(EMPTY, EMPTY, ious=())


def test_coco_ap_worked_by_hand():
    # Ranked by score: hit, miss, hit of three true ones: precision 1, 1/2, 2/3 at recall 1/3, 1/3, 2/3.
    pred = Instances(PRED, scores=[0.9, 0.3, 0.5])
    expected = (34 * 1 + 33 * (2 / 3)) / 101  # recall levels 0 ... 0.33, then 0.34 ... 0.66
    assert scores.coco_ap([(TRUE, pred)], ious=(0.5,)) == pytest.approx(expected)
    assert scores.coco_ap([(TRUE, pred)], ious=(0.9,)) == 0
    perfect = Instances(TRUE, scores=[0.1, 0.2, 0.3])
    assert scores.coco_ap([(TRUE, perfect), (EMPTY, Instances(EMPTY))]) == 1


def test_simple_mistakes_are_one_line():
    with pytest.raises(InputError, match="a prediction is a ndarray; expected a Instances"):
        scores.coco_ap([(TRUE, TRUE)])
    with pytest.raises(InputError, match="IoU threshold is '0"):
        scores.average_precision(TRUE, TRUE, "0.5")


def test_coco_ap_ranks_over_frames_and_knows_empty_ones():
    wrong = Instances(PRED * (PRED == 13), scores=[0.99])
    right = Instances(TRUE, scores=[0.5, 0.5, 0.5])
    expected = (34 * 0.75 + 67 * 0.75) / 101  # the wrong one comes first: precision at most 3/4
    assert scores.coco_ap([(TRUE * 0, wrong), (TRUE, right)]) == pytest.approx(expected)
    assert scores.coco_ap([(EMPTY, Instances(EMPTY))]) == 1
    assert scores.coco_ap([(EMPTY, Instances(np.eye(4, dtype=int)))]) == 0
    assert scores.coco_ap([(np.eye(4, dtype=int), Instances(EMPTY))]) == 0


def test_coco_ap_counts_a_second_detection_of_one_particle_as_wrong():
    true = strip((1, 10), (2, 10))
    pred = Instances(strip((11, 5), (12, 5), (13, 10)), scores=[0.9, 0.8, 0.7])
    expected = (51 * 1 + 50 * (2 / 3)) / 101
    assert scores.coco_ap([(true, pred)], ious=(0.5,)) == pytest.approx(expected)
