"""Large frames window by window: no seam, nothing twice, nothing lost."""

import json

import numpy as np
import pytest
import torch

from segmentation import windows
from segmentation.mapping import Mapped
from segmentation.models.regions import MASK_SIZE
from segmentation.output import decode_rle, write_coco
from segmentation.paste import paste


@pytest.fixture
def small_windows(monkeypatch):
    monkeypatch.setattr(windows, "WHOLE_PIXELS", 128 * 128)
    monkeypatch.setattr(windows, "TILE", 128)
    monkeypatch.setattr(windows, "HALO", 32)


def frame_of(boxes, shape):
    """Map every particle into a channel of its own id, so that a pretended network can read what it sees of it."""
    labels = torch.zeros(1, 1, *shape)
    for index, (x0, y0, x1, y1) in enumerate(boxes, start=1):
        labels[..., int(y0) : int(y1), int(x0) : int(x1)] = index
    return Mapped(lambda rows, cols: labels[..., rows, cols], shape, np.zeros(shape))


def seen(maps):
    """Detect what is in the window of each frame."""
    return [seen_in(labels) for labels in maps[:, 0]]


def seen_in(labels):
    """Return the box of each particle's visible part, a larger part with a higher score."""
    boxes, scores = [], []
    for index in labels.unique():
        if index:
            rows, cols = torch.nonzero(labels == index, as_tuple=True)
            boxes.append([cols.min(), rows.min(), cols.max() + 1, rows.max() + 1])
            scores.append(0.5 + 0.4 * len(rows) / 4000)
    found = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {
        "boxes": found,
        "scores": torch.tensor(scores, dtype=torch.float32),
        "masks": torch.ones(len(boxes), MASK_SIZE, MASK_SIZE),
    }


@pytest.mark.usefixtures("small_windows")
def test_a_frame_full_of_particles_comes_out_whole_and_once():
    boxes = [(x, y, x + 12, y + 10) for y in range(2, 628, 16) for x in range(3, 628, 17)]
    assert len(boxes) > 1400
    (found,) = windows.detections(seen, [frame_of(boxes, (640, 640))], multiple=32, min_score=0.1)
    got = sorted(map(tuple, found["boxes"].int().tolist()))
    assert got == sorted(boxes)
    assert (found["scores"].diff() <= 0).all()


@pytest.mark.usefixtures("small_windows")
def test_frames_that_are_looked_at_together_keep_what_is_theirs():
    frames = [frame_of([(10, 10, 40, 40)], (256, 288)), frame_of([(200, 100, 230, 150), (2, 2, 30, 30)], (256, 288))]
    together = windows.detections(seen, frames, multiple=32, min_score=0.1)
    for frame, found in zip(frames, together, strict=True):
        (alone,) = windows.detections(seen, [frame], multiple=32, min_score=0.1)
        torch.testing.assert_close(found, alone)
    doubled = windows.dense_maps(lambda maps: [{"twice": 2 * one[0]} for one in maps], frames, multiple=32)
    for frame, found in zip(frames, doubled, strict=True):
        torch.testing.assert_close(found["twice"], 2 * frame.window(slice(0, 256), slice(0, 288))[0, 0])


@pytest.mark.usefixtures("small_windows")
def test_a_particle_on_every_seam_is_found_once_and_whole():
    boxes = [(x, 100, x + 50, 150) for x in range(10, 500, 60)]
    (found,) = windows.detections(seen, [frame_of(boxes, (256, 544))], multiple=32, min_score=0.1)
    assert sorted(map(tuple, found["boxes"].int().tolist())) == sorted(boxes)


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("box", [(90, 40, 230, 190), (20, 100, 520, 180), (60, 30, 300, 300)])
def test_a_particle_wider_than_the_overlap_is_put_together(box):
    beside = (2, 2, 14, 14)
    (found,) = windows.detections(seen, [frame_of([box, beside], (352, 544))], multiple=32, min_score=0.1)
    assert sorted(map(tuple, found["boxes"].int().tolist())) == sorted([box, beside])
    assert found["masks"].float().min() > 0.9, "every part of it was seen by some window"


def test_pieces_are_drawn_where_they_were_seen():
    """Two windows see the left and the right two thirds of a disk; the joint mask is that of the whole."""
    cells = (np.arange(28) + 0.5) / 28

    def seen_part(x0, x1):
        x, y = x0 + cells * (x1 - x0), cells * 90
        return torch.from_numpy(np.hypot(*np.meshgrid(x - 45, y - 45)) < 40).float()

    boxes = torch.tensor([[0.0, 0, 60, 90], [30, 0, 90, 90]])
    masks = torch.stack([seen_part(0, 60), seen_part(30, 90)])
    corners, score, mask = windows._joined(boxes, torch.tensor([0.7, 0.9]), masks)
    assert corners.tolist() == [0, 0, 90, 90]
    assert float(score) == pytest.approx(0.9)
    assert float(((mask > 0.5) == (seen_part(0, 90) > 0.5)).float().mean()) > 0.97


@pytest.mark.usefixtures("small_windows")
def test_a_particle_at_the_frames_edge_is_not_taken_for_a_cut_one():
    boxes = [(0, 0, 30, 30), (514, 300, 544, 352)]
    (found,) = windows.detections(seen, [frame_of(boxes, (352, 544))], multiple=32, min_score=0.1)
    assert sorted(map(tuple, found["boxes"].int().tolist())) == sorted(boxes)


@pytest.mark.usefixtures("small_windows")
def test_scores_below_the_threshold_are_left_out_and_nothing_found_is_fine():
    mapped = frame_of([(10, 10, 20, 20)], (256, 256))
    assert len(windows.detections(seen, [mapped], multiple=32, min_score=0.99)[0]["boxes"]) == 0
    (found,) = windows.detections(seen, [frame_of([], (256, 256))], multiple=32, min_score=0.1)
    assert found["masks"].shape == (0, 28, 28)


@pytest.mark.usefixtures("small_windows")
def test_blended_maps_of_a_pointwise_network_are_those_of_the_whole():
    image = torch.rand(1, 1, 320, 288)
    mapped = Mapped(lambda rows, cols: image[..., rows, cols], (320, 288), np.zeros((320, 288)))
    (found,) = windows.dense_maps(lambda maps: [{"particle": maps[0, 0] ** 2}], [mapped], multiple=32)
    torch.testing.assert_close(found["particle"], image[0, 0] ** 2)


@pytest.mark.usefixtures("small_windows")
def test_what_an_edge_disturbs_is_thrown_away():
    shape = (320, 288)

    def edges_spoilt(maps):
        part = torch.ones(maps.shape[-2:])
        part[:4] = part[-4:] = 9
        part[:, :4] = part[:, -4:] = 9
        return [{"particle": part}]

    mapped = Mapped(lambda rows, cols: torch.zeros(1, 1, rows.stop - rows.start, cols.stop - cols.start), shape, None)
    (found,) = windows.dense_maps(edges_spoilt, [mapped], multiple=32)
    torch.testing.assert_close(found["particle"][8:-8, 8:-8], torch.ones(shape)[8:-8, 8:-8])


def test_overlapping_particles_keep_a_mask_each_and_the_map_shows_the_top_one(tmp_path):
    y, x = np.mgrid[:MASK_SIZE, :MASK_SIZE] + 0.5
    disk = np.clip(14.5 - np.hypot(x - 14, y - 14), 0, 1).astype(np.float32)
    boxes = np.array([[10, 10, 50, 50], [38, 10, 78, 50]], np.float32)
    found = paste((64, 90), boxes, np.array([0.9, 0.8], np.float32), np.stack([disk, disk]))
    told = json.loads(write_coco(tmp_path / "a.json", found).read_text())["annotations"]
    rows, cols = np.mgrid[:64, :90] + 0.5
    for note, centre in zip(told, (30, 58), strict=True):
        whole = decode_rle(note["segmentation"])
        expected = np.hypot(rows - 30, cols - centre) < 20
        assert (whole != expected).sum() < 0.06 * expected.sum()
        assert note["area"] == whole.sum()
    first, second = told
    assert first["visible_area"] == first["area"]
    assert second["visible_area"] == (found.labels == 2).sum() < 0.9 * second["area"]


@pytest.mark.usefixtures("small_windows")
def test_a_whole_particle_wins_over_a_surer_piece_of_it():
    def surer_when_smaller(maps):
        return [{**found, "scores": 1.4 - found["scores"]} for found in seen(maps)]

    boxes = [(x, 100, x + 50, 150) for x in range(10, 500, 60)]
    (found,) = windows.detections(surer_when_smaller, [frame_of(boxes, (256, 544))], multiple=32, min_score=0.1)
    assert sorted(map(tuple, found["boxes"].int().tolist())) == sorted(boxes)


def test_only_the_edges_of_windows_within_the_frame_cut():
    boxes = torch.tensor([[0.0, 40, 20, 60], [100, 40, 128, 60], [40, 0, 60, 20], [40, 100, 60, 128], [40, 40, 60, 60]])
    first = windows._cut(boxes, slice(0, 128), slice(0, 128), (256, 256))
    assert first.tolist() == [False, True, False, True, False]
    alone = windows._cut(boxes, slice(0, 128), slice(0, 128), (128, 128))
    assert not alone.any()
    inner = windows._cut(boxes + 64, slice(64, 192), slice(64, 192), (256, 256))
    assert inner.tolist() == [True, True, True, True, False]
