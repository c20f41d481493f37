"""Aggregated Jaccard and boundary F against brute force, and COCO's AP against pycocotools."""

import numpy as np
import pytest

from segmentation import Instances, score
from segmentation.pixel_scores import aggregated_jaccard, boundary, boundary_f
from segmentation.scores import coco_ap
from simulate import InputError


def random_labels(rng, n, shape=(60, 70)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int32)
    for label in range(1, n + 1):
        row, col = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        labels[np.hypot(y - row, x - col) < rng.uniform(3, 9)] = label
    return labels


def jaccard_by_loops(true, pred):
    shared, union, used = 0, 0, set()
    for i in np.unique(true[true > 0]):
        own, best = true == i, None
        for j in np.unique(pred[pred > 0]):
            other = pred == j
            iou = (own & other).sum() / (own | other).sum()
            if iou > 0 and (best is None or iou > best[0]):
                best = iou, j, (own & other).sum(), (own | other).sum()
        if best is None:
            union += own.sum()
        else:
            shared, union = shared + best[2], union + best[3]
            used.add(best[1])
    return shared / (union + sum((pred == j).sum() for j in np.unique(pred[pred > 0]) if j not in used))


@pytest.mark.parametrize("seed", range(8))
def test_aggregated_jaccard_is_the_sum_by_loops(seed):
    rng = np.random.default_rng(seed)
    true, pred = random_labels(rng, 8), random_labels(rng, 9)
    assert aggregated_jaccard(true, pred) == pytest.approx(jaccard_by_loops(true, pred))
    assert aggregated_jaccard(true, true) == 1


def test_frames_without_particles():
    nothing, one = np.zeros((20, 20), int), np.pad(np.ones((5, 5), int), 5)
    assert aggregated_jaccard(nothing, nothing) == boundary_f(nothing, nothing) == 1
    assert aggregated_jaccard(one, np.zeros((15, 15), int)) == boundary_f(one, np.zeros((15, 15), int)) == 0
    assert aggregated_jaccard(np.zeros((15, 15), int), one) == boundary_f(np.zeros((15, 15), int), one) == 0


@pytest.mark.parametrize("moved", [0, 1, 2, 3, 6])
def test_outlines_agree_within_the_tolerance(moved):
    square = np.pad(np.ones((20, 20), int), 12)
    found = boundary_f(square, np.roll(square, moved, axis=0), 2.0)
    if moved <= 2:
        assert found == 1
    else:
        # The two sides along the shift still lie on each other, but for their ends.
        assert 0.4 < found < 0.65


def test_the_outline_is_the_inner_one_and_parts_touching_particles():
    labels = np.zeros((10, 12), int)
    labels[2:8, 2:6], labels[2:8, 6:10] = 1, 2
    edge = boundary(labels)
    assert edge[2:8, 5:7].all()
    assert not edge[3:7, 3:5].any()
    assert not edge[labels == 0].any()


def test_boundary_f_refuses_other_shapes_and_tolerances():
    with pytest.raises(InputError, match="expected equal shapes"):
        boundary_f(np.ones((4, 4), int), np.ones((5, 4), int))
    with pytest.raises(InputError, match="tolerance_px"):
        boundary_f(np.ones((4, 4), int), np.ones((4, 4), int), 0)


def test_score_tells_both():
    rng = np.random.default_rng(1)
    true, pred = random_labels(rng, 6), random_labels(rng, 6)
    found = score(true, pred)
    assert found["aggregated_jaccard"] == aggregated_jaccard(true, pred)
    assert found["boundary_f"] == boundary_f(true, pred)


def test_coco_ap_is_that_of_pycocotools():
    coco = pytest.importorskip("pycocotools.coco", reason="needs pycocotools")
    from pycocotools import mask as rle
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(4)
    images, truths, results, frames = [], [], [], []
    for image in range(1, 7):
        true = random_labels(rng, 9)
        pred = np.roll(true, (int(rng.integers(0, 3)), int(rng.integers(0, 3))), (0, 1))
        pred = np.where(rng.random(60)[:, None] < 0.03, 0, pred)
        pred[pred == rng.integers(1, 9)] = 0
        extra = random_labels(rng, 2)
        pred = np.where((pred == 0) & (extra > 0), extra + 20, pred).astype(np.int32)
        ids = np.unique(pred[pred > 0])
        scores = rng.permutation(np.linspace(0.2, 0.9, 60))[: ids.size]
        frames.append((Instances(true), Instances(pred, scores=scores)))
        images.append({"id": image, "height": 60, "width": 70})
        for i in np.unique(true[true > 0]):
            code = rle.encode(np.asfortranarray((true == i).astype(np.uint8)))
            told = {"segmentation": code, "area": int((true == i).sum()), "bbox": rle.toBbox(code).tolist()}
            truths.append({"id": len(truths) + 1, "image_id": image, "category_id": 1, "iscrowd": 0, **told})
        for i, value in zip(ids, scores, strict=True):
            code = rle.encode(np.asfortranarray((pred == i).astype(np.uint8)))
            results.append({"image_id": image, "category_id": 1, "segmentation": code, "score": float(value)})
    reference = coco.COCO()
    reference.dataset = {"info": {}, "images": images, "annotations": truths, "categories": [{"id": 1, "name": "p"}]}
    reference.createIndex()
    judge = COCOeval(reference, reference.loadRes(results), "segm")
    judge.params.maxDets = [1, 10, 1000]
    judge.evaluate()
    judge.accumulate()
    precision = judge.eval["precision"][:, :, 0, 0, -1]
    assert coco_ap(frames) == pytest.approx(precision.mean(), abs=1e-6)
    assert 0.05 < coco_ap(frames) < 0.9


def test_a_particle_that_fills_the_frame_can_be_missed():
    full, nothing = np.ones((8, 8), int), np.zeros((8, 8), int)
    assert boundary_f(full, nothing) == boundary_f(nothing, full) == 0
    assert boundary_f(full, full) == boundary_f(nothing, nothing) == 1
