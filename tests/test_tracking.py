"""Tracking: particles of known motion keep their identity, with gaps, mergers and splits, and crossings of borders."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from segmentation.instances import Instances
from segmentation.tracking import linker, track
from segmentation.tracking.bench import LEVELS, bench_movie, scored, spoilt, true_tables
from segmentation.tracking.figures import growth_figure, kymograph, kymograph_figure, trajectories_figure
from segmentation.tracking.tracks import overlaps
from simulate.errors import InputError
from simulate.movie import TRACK_DTYPE

DIAMETER_NM = "equivalent_diameter_nm"


def table(*rows):
    return pd.DataFrame(rows, columns=["x", "y", "equivalent_diameter_px"], dtype=float)


def test_particles_keep_their_identity_whatever_the_order_of_rows():
    rng = np.random.default_rng(0)
    start = np.stack(np.meshgrid(np.arange(6) * 30.0, np.arange(5) * 30.0), axis=-1).reshape(-1, 2)
    tables, orders = [], []
    for _ in range(20):
        start = start + rng.normal(0, 1, start.shape)
        order = rng.permutation(len(start))
        tables.append(table(*np.column_stack([start, np.full(len(start), 10.0)])[order]))
        orders.append(order)
    tracks = track(tables)
    assert len(tracks) == 30
    assert not len(tracks.events)
    true = np.concatenate(orders)
    pairs = set(zip(true.tolist(), tracks.table["particle"].tolist(), strict=True))
    assert len(pairs) == 30


def test_sizes_decide_between_particles_that_cross():
    tables = [table((10, 10, 4), (14, 10, 12)), table((13, 10, 4), (11, 10, 12))]
    assert track(tables, max_step_px=8).table["particle"].tolist() == [0, 1, 0, 1]
    assert track(tables, max_step_px=8, size_weight=0).table["particle"].tolist() == [0, 1, 1, 0]


def test_overlap_decides_where_position_and_size_do_not():
    first = np.zeros((16, 16), int)
    first[4:8, 2:6], first[4:8, 8:12] = 1, 2
    second = np.where(first > 0, 3 - first, 0)
    tables = [table((6, 6, 4), (7, 6, 4)).assign(label=[1, 2]) for _ in range(2)]
    assert track(tables, max_step_px=8, labels=[first, second]).table["particle"].tolist() == [0, 1, 1, 0]


def test_labels_may_be_of_any_type_and_size_and_rows_in_any_order():
    first = np.zeros((16, 16), np.uint64)
    first[4:8, 2:6], first[4:8, 8:12] = 2**31 - 1, 7
    second = np.where(first == 7, 2.0**31 - 1, np.where(first > 0, 7.0, 0.0))
    tables = [table((6, 6, 4), (7, 6, 4)).assign(label=[2**31 - 1, 7]) for _ in range(2)]
    assert track(tables, max_step_px=8, labels=[first, second]).table["particle"].tolist() == [0, 1, 1, 0]
    shared = overlaps(first, second, np.array([9, 2**31 - 1, 7]), np.array([7])).toarray()
    np.testing.assert_array_equal(shared, [[0], [1], [0]])


def test_frames_numbered_by_text_come_in_the_order_of_their_numbers():
    whole = pd.concat([table((9 + number, 9, 8)).assign(frame=str(number)) for number in range(15)], ignore_index=True)
    tracks = track(whole)
    assert len(tracks) == 1
    assert tracks.table["frame"].tolist() == list(range(15))
    assert not len(track(whole[:0]))


@pytest.mark.parametrize(("gap", "particles"), [(2, 1), (3, 2)])
def test_gaps_are_closed_up_to_their_limit_and_missing_frames_do_not_count(gap, particles):
    seen, empty = table((9, 9, 8)), table()
    assert len(track([seen, *[empty] * gap, seen], max_step_px=8)) == particles
    assert len(track([seen, *[None] * gap, seen], max_step_px=8)) == 1


def test_coalescence_is_a_merger_and_backwards_in_time_a_split():
    whole = 10 * 2 ** (1 / 3)
    tables = [table((15 + t, 20, 10), (32 - t, 20, 10)) for t in range(4)] + [table((23.5, 20, whole))] * 3
    event = track(tables).events.iloc[0]
    assert (event["kind"], event["frame"], event["parents"][0]) == ("merge", 4, event["children"][0])
    assert set(event["parents"]) == {0, 1}
    split = track(tables[::-1]).events
    assert split[["kind", "frame"]].to_numpy().tolist() == [["split", 3]]
    for size in (10, 6):
        lone = track([table((20, 20, 10), (30, 20, size))] * 4 + [table((20, 20, 10))] * 4, max_gap=0).events
        assert lone["kind"].tolist() == ["disappear"]  # the neighbour did not grow


def test_few_particles_and_frames():
    assert len(track([])) == len(track([table(), None])) == 0
    assert len(track([table((1, 1, 3))])) == 1
    both = track(pd.DataFrame({"frame": [3, 7], "x": 1.0, "y": 2.0, "equivalent_diameter_px": 5.0}))
    assert both.table["frame"].tolist() == [3, 7]
    assert len(both) == 1


def test_bad_input_is_named():
    nm = pd.DataFrame({"x": [1.0], "y": [1.0], "equivalent_diameter_nm": [2.0]})
    with pytest.raises(InputError, match="pixel size"):
        track([table((1, 1, 3)), nm])
    with pytest.raises(InputError, match="pixel_size_nm"):
        track([nm])
    with pytest.raises(InputError, match="frame"):
        track(nm)
    sizes = [table((1, 1, 3)), table((1, 1, 3))]
    for one, size in zip(sizes, (0.5, 0.6), strict=True):
        one.attrs["pixel_size_nm"] = size
    with pytest.raises(InputError, match=r"pixel sizes differ: frame 0 has 0\.5 nm but frame 1 has 0\.6 nm"):
        track(sizes)
    assert track(sizes[:1]).pixel_size_nm == 0.5
    labels = [Instances(np.eye(9, dtype=int), pixel_size_nm=size) for size in (0.5, 0.6)]
    with pytest.raises(InputError, match="pixel sizes differ: label map 0"):
        track([table((1, 1, 3)).assign(label=1)] * 2, labels=labels)
    with pytest.raises(InputError, match="not finite"):
        track([table((np.nan, 1, 3))])
    with pytest.raises(InputError, match="above 0"):
        track([table((1, 1, 0))])
    with pytest.raises(InputError, match="not finite"):
        track([table((1, 1, 3)).assign(x="left")])
    with pytest.raises(InputError, match="table 1 says that it is of frame 2"):
        track([table((1, 1, 3)).assign(frame=number) for number in (0, 2)])
    together = pd.concat([table((1, 1, 3))] * 2, ignore_index=True)
    for numbers in ([0, np.nan], [0, 0.5], [0, np.inf], ["first", "second"]):
        with pytest.raises(InputError, match="expected whole numbers"):
            track(together.assign(frame=numbers))
    for flags in ("False", np.nan):
        with pytest.raises(InputError, match="expected true or false"):
            track([table((1, 1, 3)).assign(touches_border=flags)] * 2)
    maps = [np.zeros((9, 9), int), np.zeros((9, 8), int)]
    with pytest.raises(InputError, match="no column 'label'"):
        track([table((1, 1, 3))] * 2, labels=maps)
    with pytest.raises(InputError, match="label map holds -1"):
        track([table((1, 1, 3)).assign(label=1)] * 2, labels=[maps[0] - 1] * 2)
    for label in (np.nan, 0.5):
        with pytest.raises(InputError, match="column 'label' holds"):
            track([table((1, 1, 3)).assign(label=label)] * 2, labels=maps[:1] * 2)
    with pytest.raises(InputError, match="shape"):
        track([table((1, 1, 3)).assign(label=1)] * 2, labels=maps)


def test_the_assignment_is_the_cheapest_of_all():
    rng = np.random.default_rng(5)
    for _ in range(100):
        n, m = rng.integers(1, 5, 2)
        costs = rng.uniform(-1, 2.5, (n, m))
        rows, cols = np.divmod(np.arange(n * m), m)
        left, right = linker._assign(rows, cols, costs.ravel(), n, m)
        assert len(set(left)) == len(left)
        assert len(set(right)) == len(right)
        gains = np.minimum(costs - linker.NO_LINK, 0)
        padded = np.pad(gains, ((0, max(m - n, 0)), (0, max(n - m, 0))))
        best = min(sum(padded[i, p] for i, p in enumerate(order)) for order in permutations(range(len(padded))))
        assert gains[left, right].sum() == pytest.approx(best)


def test_what_crosses_the_border_enters_or_leaves():
    rows = [table((4 + 4 * t, 20, 10), (60, 60, 10)).assign(touches_border=[t == 0, False]) for t in range(5)]
    rows = [table((60, 60, 10)).assign(touches_border=False)] * 3 + rows
    assert track(rows, max_step_px=8).events[["kind", "frame"]].to_numpy().tolist() == [["enter", 3]]
    assert track(rows[::-1], max_step_px=8).events[["kind", "frame"]].to_numpy().tolist() == [["leave", 4]]
    unknown = [one.drop(columns="touches_border") for one in rows]
    assert track(unknown, max_step_px=8).events["kind"].tolist() == ["appear"]


def test_pixels_may_be_rectangular():
    """The same motion on pixels twice as high as wide gives the same trajectories and the events' places in pixels."""
    whole = 10 * 2 ** (1 / 3)
    square = [table((15 + t, 20, 10), (32 - t, 20, 10)) for t in range(4)] + [table((23.5, 20, whole))] * 3
    tall = [one.assign(y=one["y"] / 2).rename(columns={"equivalent_diameter_px": DIAMETER_NM}) for one in square]
    expected, got = track(square), track(tall, pixel_size_nm=(2.0, 1.0))
    assert got.table["particle"].tolist() == expected.table["particle"].tolist()
    assert got.events[["kind", "frame", "x"]].equals(expected.events[["kind", "frame", "x"]])
    assert got.events["y"].tolist() == pytest.approx([10.0])


@pytest.mark.parametrize("seed", [21, 22])
def test_simulated_movies_are_tracked(seed):
    movie = bench_movie(n_frames=40, side=256, particles=25, seed=seed)
    truth, _ = true_tables(movie)
    result = scored(track(spoilt(truth, (256, 256), LEVELS["perfect"])), movie)
    assert result["hota"] > 0.95
    assert min(result["enter_f1"], result["leave_f1"]) >= 0.9
    assert min(result["enter_n_true"], result["leave_n_true"]) >= 2
    result = scored(track(spoilt(truth, (256, 256), LEVELS["spoilt"], seed=1)), movie)
    assert result["idf1"] > 0.85


@pytest.mark.parametrize(
    ("visible", "in_frame", "kept"), [(1.0, 0.3, False), (1.0, 0.6, True), (0.3, 1.0, False), (0.7, 0.7, False)]
)
def test_the_truth_holds_what_is_seen_at_least_by_half(visible, in_frame, kept):
    """Others may cover a particle and the frame may cut it: what is left of both counts."""
    movie = bench_movie(n_frames=1, side=64, particles=1)
    rows = np.zeros(2, dtype=TRACK_DTYPE)
    rows["particle"], rows["x"], rows["y"], rows["area_nm2"] = [1, 2], 32, 32, 50
    rows["visible"], rows["in_frame"] = [1, visible], [1, in_frame]
    movie.tracks = rows
    assert true_tables(movie)[0]["particle"].tolist() == [1, 2][: 1 + kept]


def test_figures_are_drawn(tmp_path):
    tables = [table((15 + t, 20, 10), (32 - t, 20, 10)) for t in range(4)] + [table((23.5, 20, 12.6))] * 3
    frames = [np.random.default_rng(t).random((40, 48)) for t in range(7)]
    for tracks in (track(tables, frame_interval_s=0.5), track([])):
        trajectories_figure(tracks, tmp_path / "trajectories.png", frames[0])
        trajectories_figure(tracks, tmp_path / "trajectories.svg")
        kymograph_figure(frames, tmp_path / "kymograph.png", line=20, width=3, tracks=tracks)
        growth_figure(tracks, tmp_path / "growth.png")
    assert {file.name for file in tmp_path.iterdir()} == {
        "trajectories.png", "trajectories.svg", "kymograph.png", "growth.png",
    }  # fmt: skip
    np.testing.assert_allclose(kymograph(frames, 20, width=3)[2], frames[2][19:22].mean(axis=0))
    np.testing.assert_allclose(kymograph(frames, 47, axis="y")[3], frames[3][:, 47])
    np.testing.assert_allclose(kymograph(frames, 0, width=5)[2], frames[2][:3].mean(axis=0))
    with pytest.raises(InputError, match="image has 3 dimensions"):
        trajectories_figure(track(tables), tmp_path / "stack.png", np.stack(frames))
    for wrong in ([], [frames[0], frames[0][:, 1:]]):
        with pytest.raises(InputError, match="shape"):
            kymograph(wrong, 3)
    with pytest.raises(InputError, match="line is 40"):
        kymograph(frames, 40)
