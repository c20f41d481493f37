"""Scores of trajectories: agreement with TrackEval, and cases that can be worked out by hand."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from segmentation.tracking.scores import disk_overlaps, event_score, score_tracks, scores_of
from simulate.errors import InputError

# Written by the script of the same name beside it.
GOLDEN = json.loads((Path(__file__).parent / "data" / "track_scores_trackeval.json").read_text(encoding="utf-8"))


def one_particle(particle: object = 0) -> pd.DataFrame:
    return pd.DataFrame({"frame": range(10), "particle": particle, "x": 5.0, "y": 5.0, "diameter_px": 4.0})


def test_scores_agree_with_trackeval():
    frames = GOLDEN["frames"]
    assert hashlib.sha256(json.dumps(frames).encode()).hexdigest() == GOLDEN["sha256"]
    columns = [[np.array(frame[name]) for frame in frames] for name in ("truth", "found", "overlaps")]
    assert scores_of(*columns) == pytest.approx(GOLDEN["scores"], abs=1e-9)


def test_the_truth_scores_one_and_a_broken_track_half_an_association():
    truth = one_particle()
    assert score_tracks(truth, truth)["hota"] == pytest.approx(1)
    result = score_tracks(one_particle([0] * 5 + [1] * 5), truth)
    assert (result["det_a"], result["ass_a"]) == pytest.approx((1, 0.5))
    assert (result["mota"], result["idf1"]) == pytest.approx((0.9, 0.5))


def test_a_match_is_kept_while_it_overlaps_enough():
    overlaps = [np.array([[0.9, 0.0]]), np.array([[0.6, 0.8]])]
    result = scores_of([np.array([0])] * 2, [np.array([0, 1])] * 2, overlaps)
    assert result["switches"] == 0


def test_what_goes_together_in_the_whole_movie_decides_between_equal_overlaps():
    """One particle, all overlaps 1. Trajectory 0 is alone with it in a frame, 1 is in two beside 2; both in the last.

    Over the movie, overlaps of 1 and 1/2 count 1.5 for 0 and for 1: alignments of 1.5 / (4 + 2 - 1.5) = 1/3 and
    1.5 / (4 + 3 - 1.5) = 3/11. The particle is 0 in two frames and 1 in the two others, by TrackEval too.
    """
    founds = [np.array(one) for one in ([0], [1, 2], [1, 2], [0, 1])]
    result = scores_of([np.array([0])] * 4, founds, [np.ones((1, len(one))) for one in founds])
    det, ass = 4 / (4 + 7 - 4), (2 * 2 / (4 + 2 - 2) + 2 * 2 / (4 + 3 - 2)) / 4
    assert (result["det_a"], result["ass_a"]) == pytest.approx((det, ass))
    assert result["hota"] == pytest.approx(np.sqrt(det * ass))


def test_nothing_found_scores_zero_and_nothing_to_find_one():
    truth = one_particle()
    none = truth.iloc[:0]
    assert score_tracks(none, truth)["hota"] == 0
    assert score_tracks(truth, none)["idf1"] == 0
    assert score_tracks(none, none)["mota"] == 1


def test_overlaps_of_disks():
    disks = np.array([[0, 0, 2.0], [1, 0, 2.0], [9, 0, 2.0], [0, 0, 1.0]])
    lens = 2 * np.pi / 3 - np.sqrt(3) / 2
    np.testing.assert_allclose(disk_overlaps(disks[:1], disks)[0], [1, lens / (2 * np.pi - lens), 0, 0.25], atol=1e-9)


def test_masks_count_instead_of_disks_where_label_maps_are_given():
    true, found = np.zeros((2, 9, 9), dtype=np.int32)
    true[2:6, 2:4], found[2:6, 2:3] = 3, 8  # half of it: found at the thresholds 0.05 ... 0.5
    truth = pd.DataFrame({"frame": [0], "particle": [3], "x": [2.5], "y": [3.5]})
    guess = pd.DataFrame({"frame": [0], "particle": [0], "label": [8], "x": [2.0], "y": [3.5]})
    result = score_tracks(guess, truth, labels={0: (found, true)})
    assert result["hota"] == pytest.approx(10 / 19)
    assert result["mota"] == pytest.approx(1)
    with pytest.raises(InputError, match="frame 0"):
        score_tracks(guess, truth, labels={1: (found, true)})
    with pytest.raises(InputError, match="diameter_px"):
        score_tracks(guess, truth)


def test_each_event_counts_once_and_only_near_in_time_and_space():
    truth = pd.DataFrame({"frame": [5, 50], "kind": "merge", "x": [5.0, 5.0], "y": 5.0})
    found = pd.DataFrame({"frame": [5, 6, 56], "kind": "merge", "x": [5.0, 5.0, 5.0], "y": 5.0})
    assert event_score(found, truth)["f1"] == pytest.approx(2 / 5)
    assert event_score(found, truth, frames=6)["f1"] == pytest.approx(4 / 5)
    far = found.assign(x=30.0)
    assert event_score(far, truth)["f1"] == 0
    assert event_score(far, truth, distance=25)["f1"] == pytest.approx(2 / 5)
    assert event_score(truth, truth.assign(kind="split"))["n_true"] == 0


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (one_particle().assign(x=np.nan), "found trajectories hold positions or labels that are no finite numbers"),
        (one_particle().assign(y="here"), "no finite numbers"),
        (one_particle().assign(diameter_px=0.0), "diameters that are not above 0"),
        (pd.concat([one_particle(), one_particle().iloc[:1]]), "hold a particle twice in one frame"),
    ],
)
def test_tables_that_are_no_trajectories_are_refused(table, message):
    with pytest.raises(InputError, match=message):
        score_tracks(table, one_particle())


def test_a_frame_without_detections_ends_no_match():
    """One particle: matched, overlooked, then seen by its track and, better, by another; as TrackEval has it."""
    overlaps = [np.array([[0.9]]), np.zeros((1, 0)), np.array([[0.6, 0.8]])]
    founds = [np.array([0]), np.array([], int), np.array([0, 1])]
    result = scores_of([np.array([0])] * 3, founds, overlaps)
    assert result["switches"] == 0
    assert result["mota"] == pytest.approx(1 - (1 + 1) / 3)  # one missed, one too many
