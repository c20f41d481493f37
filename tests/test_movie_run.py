"""Movies through the whole chain: in bounded memory, resumed after a kill, and kept when they break off."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cs_recon.checkpoint import load_any_weights, save_weights
from segmentation.movie import MovieOptions, process_movie
from segmentation.pipeline import find_in_each
from segmentation.shipped import shipped_file
from segmentation.video import CAPTION_PX
from simulate import InputError, Measurement, Movie, MovieConfig, SceneConfig, measure_movie, movie_paths

CLASSICAL = MovieOptions(recon="linear", segment="threshold")


@pytest.fixture(scope="module")
def film():
    scene = SceneConfig(shape=(96, 96), n_particles=5, diameter_nm=9, arrangement="hard-core")
    movie = Movie(MovieConfig(scene=scene, n_frames=6, diffusion_nm2_per_s=0.02), rng=2)
    paths = movie_paths("random", (96, 96), 0.5, 6, rng=0)
    return list(measure_movie(movie, paths, peak_counts=200, rng=1))


def test_a_movie_becomes_tracks_and_a_video(film, tmp_path):
    seen = []
    result = process_movie(iter(film), tmp_path, name="film", options=CLASSICAL, progress=seen.append)
    assert seen == list(range(6))
    assert (result.frames, result.ended) == (6, "")
    table = pd.read_csv(result.paths["particles"])
    assert list(table.columns[:2]) == ["frame", "particle"]
    assert {"x", "y", "equivalent_diameter_nm", "sampling_ratio"} <= set(table.columns)
    lengths = table.groupby("particle").size()
    assert (lengths == 6).sum() >= 4, "particles that hardly move keep their number"
    with Image.open(result.paths["video"]) as video:
        assert video.n_frames == 6
        assert video.size == (288, 288 + CAPTION_PX), "small frames are enlarged, and have a strip with a scale bar"
        strip = np.asarray(video.convert("L"))[288:]
    assert strip[:, :60].max() > 200, "the frame's number"
    white = "".join("#" if level > 128 else " " for level in strip[CAPTION_PX // 2, 60:])
    assert len(white.split()[-1]) == 61, "10 nm at a sixth of a nanometre a pixel, both ends drawn"


def test_a_killed_run_goes_on_and_gives_the_same(film, tmp_path):
    whole = process_movie(iter(film), tmp_path / "whole", options=CLASSICAL)

    class KilledError(Exception):
        pass

    def killed(number):
        if number == 2:
            raise KilledError

    with pytest.raises(KilledError):
        process_movie(iter(film), tmp_path / "killed", options=CLASSICAL, progress=killed)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "killed" / "movie_parts").glob("*.parquet")}
    assert len(before) == 3
    resumed = process_movie(iter(film), tmp_path / "killed", options=CLASSICAL)
    assert all(file.stat().st_mtime_ns == time for file, time in before.items()), "not computed twice"
    pd.testing.assert_frame_equal(whole.tracks.table, resumed.tracks.table)


@pytest.mark.parametrize("recon", ["unrolled-ista", "inpainting"])
def test_neighbours_are_used_after_a_kill_as_before_it(film, tmp_path, recon):
    options = MovieOptions(recon=recon, segment="threshold", temporal=True)
    whole = process_movie(iter(film), tmp_path / "whole", options=options)
    with pytest.raises(ZeroDivisionError):
        process_movie(iter(film), tmp_path / "killed", options=options, progress=lambda number: 1 // (3 - number))
    resumed = process_movie(iter(film), tmp_path / "killed", options=options)
    pd.testing.assert_frame_equal(whole.tracks.table, resumed.tracks.table, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("foreign", "reason"),
    [
        (Measurement(np.add.outer(np.arange(32.0), np.arange(40.0)), np.ones((32, 40), bool)), "shape"),
        (
            Measurement(np.add.outer(np.arange(96.0), np.arange(96.0)), np.ones((96, 96), bool), pixel_size_nm=9.0),
            "9.0",
        ),
    ],
)
def test_what_was_read_before_a_movie_breaks_off_is_kept(film, tmp_path, foreign, reason):
    result = process_movie([*film[:3], foreign, *film[3:]], tmp_path, options=CLASSICAL)
    assert result.frames == 3
    assert result.ended.startswith("frame 3: it has shape")
    assert reason in result.ended
    assert result.tracks.table["frame"].max() == 2


def test_a_frame_that_was_finished_and_cannot_be_read_again_is_named(film, tmp_path):
    process_movie(film, tmp_path, options=CLASSICAL)

    def again():
        yield from film[:2]
        raise InputError("the file is gone")

    result = process_movie(again(), tmp_path, options=CLASSICAL)
    assert result.ended == "frame 2: the file is gone"


def test_frames_are_taken_as_there_is_room_for_them(film, tmp_path):
    """Two are under way, one waits its turn and one is being written."""
    taken = []

    def frames():
        for index, scan in enumerate(film):
            taken.append(index)
            yield scan

    process_movie(frames(), tmp_path, options=CLASSICAL, progress=lambda number: taken.append(f"done {number}"))
    for number in range(len(film)):
        before = taken[: taken.index(f"done {number}")]
        assert max(index for index in before if isinstance(index, int)) <= number + 3


@pytest.fixture
def done_elsewhere(film, tmp_path):
    """Three frames that were finished where there was a GPU, as there is none here; and the options they had."""
    process_movie(iter(film[:3]), tmp_path, options=CLASSICAL)
    options = replace(CLASSICAL, device="cuda")
    file = tmp_path / "movie_parts" / "options.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps({**told, "device": "cuda"}, sort_keys=True))
    return options


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_what_was_finished_elsewhere_needs_no_device(film, tmp_path, done_elsewhere):
    again = process_movie(iter(film[:3]), tmp_path, options=done_elsewhere)
    assert (again.frames, again.ended) == (3, "")
    shorter = process_movie(iter(film[:2]), tmp_path, options=done_elsewhere)
    assert (shorter.frames, shorter.ended) == (2, "")
    with pytest.raises(InputError, match="of another movie"):
        process_movie(iter(film[1:]), tmp_path, options=done_elsewhere)
    more = process_movie(iter(film[:5]), tmp_path, options=done_elsewhere)
    assert more.frames == 3
    assert more.ended.startswith("frame 3: device is 'cuda' but torch finds no CUDA device")


def test_parts_of_other_options_are_not_mixed(film, tmp_path):
    process_movie(iter(film[:1]), tmp_path, options=CLASSICAL)
    with pytest.raises(InputError, match="other options"):
        process_movie(iter(film), tmp_path, options=MovieOptions(recon="nearest", segment="threshold"))


def test_scales_that_a_network_chose_are_told_after_a_kill_too(film, tmp_path, monkeypatch):
    def chosen(scans, images, segment, **options):
        found = find_in_each(scans, images, segment, **options)
        scales = [0.5 if scan.name == film[1].name else 1.0 for scan in scans]
        return [replace(one, info={"scale": scale}) for one, scale in zip(found, scales, strict=True)]

    monkeypatch.setattr("segmentation.streaming.find_in_each", chosen)
    process_movie(iter(film[:2]), tmp_path, options=CLASSICAL)
    result = process_movie(iter(film[:3]), tmp_path, options=CLASSICAL)
    assert result.scales == [1.0, 0.5, 1.0]


def test_parts_made_before_networks_chose_a_scale_are_not_mixed(film, tmp_path):
    options = MovieOptions(recon="linear")
    process_movie(iter(film[:1]), tmp_path, options=options)
    file = tmp_path / "movie_parts" / "options.json"
    told = json.loads(file.read_text())
    del told["scale"]
    file.write_text(json.dumps(told, sort_keys=True))
    with pytest.raises(InputError, match="other options, weights or program"):
        process_movie(iter(film[:1]), tmp_path, options=options)


def test_parts_of_another_movie_are_not_mixed(film, tmp_path):
    process_movie(iter(film[:2]), tmp_path, options=CLASSICAL)
    with pytest.raises(InputError, match="of another movie"):
        process_movie(iter(film[1:]), tmp_path, options=CLASSICAL)


def test_parts_of_a_frame_that_changed_since_are_not_used(film, tmp_path):
    process_movie(iter(film[:3]), tmp_path, options=CLASSICAL)
    with pytest.raises(InputError, match="of another movie"):
        process_movie([film[0], film[2], *film[2:]], tmp_path, options=CLASSICAL)


def test_a_movie_that_is_shorter_now_ends_where_it_ends(film, tmp_path):
    process_movie(iter(film), tmp_path, options=CLASSICAL)
    shorter = process_movie(iter(film[:2]), tmp_path, options=CLASSICAL)
    assert shorter.frames == 2
    assert shorter.tracks.table["frame"].max() == 1


def test_parts_of_other_weights_under_the_same_name_are_not_mixed(film, tmp_path):
    mine = tmp_path / "mine.safetensors"
    with shipped_file("mask-rcnn") as shipped:
        mine.write_bytes(shipped.read_bytes())
    options = MovieOptions(recon="linear", segment_options={"weights": str(mine)})
    process_movie(iter(film[:1]), tmp_path / "out", options=options)
    stored = load_any_weights(mine, ("mask-rcnn",))
    tensors = {name: value * 1.001 if value.is_floating_point() else value for name, value in stored.tensors.items()}
    save_weights(mine, tensors, "mask-rcnn", stored.config)
    with pytest.raises(InputError, match="other options, weights"):
        process_movie(iter(film[:2]), tmp_path / "out", options=options)


@pytest.mark.parametrize("options", [{"mapping": "sparse"}, {"mapping": "features"}])
def test_every_mapping_works_on_movies(film, tmp_path, options):
    chosen = MovieOptions(recon_options={"preset": "fast"}, segment_options=options)
    assert len(process_movie(iter(film[:2]), tmp_path, options=chosen).tracks.table) >= 6


def test_tracking_may_change_when_a_run_goes_on(film, tmp_path):
    process_movie(iter(film[:2]), tmp_path, options=CLASSICAL)
    options = MovieOptions(recon="linear", segment="threshold", frame_interval_s=0.5, max_step_px=9)
    assert process_movie(iter(film), tmp_path, options=options).frames == 6


def test_a_run_that_failed_at_once_claims_nothing(film, tmp_path):
    wrong = MovieOptions(recon="unrolled-ista", recon_options={"weights": str(tmp_path / "none")}, segment="threshold")
    with pytest.raises(InputError, match="no weights file"):
        process_movie(iter(film), tmp_path, options=wrong)
    assert process_movie(iter(film), tmp_path, options=CLASSICAL).frames == 6


def test_a_damaged_part_is_named(film, tmp_path):
    process_movie(iter(film), tmp_path, options=CLASSICAL)
    (tmp_path / "movie_parts" / "000002.parquet").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"000002\.parquet is damaged"):
        process_movie(iter(film), tmp_path, options=CLASSICAL)


def test_the_last_frame_of_a_broken_movie_gets_its_neighbour_later(film, tmp_path):
    options = MovieOptions(segment="threshold", temporal=True, recon_options={"preset": "fast"})
    other = Measurement(np.add.outer(np.arange(32.0), np.arange(40.0)), np.ones((32, 40), bool))
    whole = process_movie(iter(film[:4]), tmp_path / "whole", options=options)
    assert process_movie([*film[:2], other], tmp_path / "broken", options=options).frames == 2
    mended = process_movie(iter(film[:4]), tmp_path / "broken", options=options)
    pd.testing.assert_frame_equal(whole.tracks.table, mended.tracks.table, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"frame_interval_s": -1},
        {"max_step_px": float("nan")},
        {"recon": "linear", "recon_options": {"scans": 3}},
        {"recon_options": {"presett": "fast"}, "temporal": True},
    ],
)
def test_bad_options_are_refused_before_any_frame(options):
    with pytest.raises(InputError):
        MovieOptions(**options)


def test_a_movie_without_particles(tmp_path):
    rng = np.random.default_rng(0)
    empty = [Measurement(rng.normal(5, 0.1, (48, 48)), np.ones((48, 48), bool)) for _ in range(3)]
    options = MovieOptions(recon="linear", segment="threshold", segment_options={"min_area_px": 500})
    result = process_movie(empty, tmp_path, options=options)
    assert (result.frames, len(result.tracks.table)) == (3, 0)
    assert result.paths["video"].exists()


def test_no_movie(tmp_path):
    with pytest.raises(InputError, match="no frames"):
        process_movie([], tmp_path)
    with pytest.raises(InputError, match="not by 'linear'"):
        MovieOptions(recon="linear", temporal=True)


@pytest.mark.parametrize("change", [{"pixel_size_nm": 2.0}, {"counts_per_unit": 3.0}, {"black_level": 0.01}])
def test_parts_of_frames_with_another_calibration_are_not_mixed(film, tmp_path, change):
    process_movie(iter(film[:2]), tmp_path, options=CLASSICAL, video="none")
    parts = sorted(file.name for file in (tmp_path / "movie_parts").iterdir())
    others = [replace(scan, **change) for scan in film]
    with pytest.raises(InputError, match="another movie or pixel size; delete it or choose another"):
        process_movie(iter(others), tmp_path, options=CLASSICAL, video="none")
    assert sorted(file.name for file in (tmp_path / "movie_parts").iterdir()) == parts


def test_a_movie_of_neighbours_that_grows_or_shrinks_is_as_one_computed_anew(film, tmp_path):
    options = MovieOptions(recon="unrolled-ista", segment="threshold", temporal=True, recon_options={"preset": "fast"})
    film = list(film)[:5]

    def table(frames, name):
        return process_movie(frames, tmp_path / name, options=options).tracks.table

    three, five = table(film[:3], "three"), table(film, "five")
    close = {"atol": 1e-3, "rtol": 1e-3}
    pd.testing.assert_frame_equal(table(film, "three"), five, **close)
    pd.testing.assert_frame_equal(table(film[:3], "five"), three, **close)
    pd.testing.assert_frame_equal(table(film, "five"), five, **close)
