"""Frames of different places of a sample: each on its own, and all together."""

import json

import numpy as np
import pandas as pd
import pytest
from command_line import CLASSICAL, run_main

import segmentation
from segmentation import Instances
from segmentation.fields import FieldOfView, fields_table, join_fields, pool_fields, save_fields
from segmentation.figures import particles_figure
from simulate.errors import InputError

THRESHOLD = ["--segment", "threshold"]


def field(name, labels, pixel_size_nm=None):
    labels = np.asarray(labels)
    return FieldOfView(
        name, labels.shape, pixel_size_nm, segmentation.measure(Instances(labels, pixel_size_nm=pixel_size_nm))
    )


def squares(*sides):
    """Squares of these sides in a row, none of which touches the border."""
    labels = np.zeros((40, 40 * len(sides)), int)
    for number, side in enumerate(sides):
        labels[8 : 8 + side, 40 * number + 8 : 40 * number + 8 + side] = number + 1
    return labels


def folder_of(tmp_path, frames):
    folder = tmp_path / "places"
    folder.mkdir()
    for name, frame in frames.items():
        np.save(folder / f"{name}.npy", frame)
    return folder


def test_tables_of_frames_are_joined_under_their_names():
    fields = [
        field("none", np.zeros((30, 30), int), 0.5),
        field("two", squares(6, 9), 0.5),
        field("one", squares(12), 0.5),
    ]
    joined = join_fields(fields)
    assert joined["frame"].tolist() == ["two", "two", "one"]
    assert joined.columns[0] == "frame"
    assert joined["equivalent_diameter_nm"].tolist() == pytest.approx(
        [*fields[1].table["equivalent_diameter_nm"], *fields[2].table["equivalent_diameter_nm"]]
    )
    assert joined["touches_border"].dtype == bool
    empty = join_fields(fields[:1])
    assert len(empty) == 0
    assert "equivalent_diameter_nm" in empty


def test_each_frame_has_a_row_of_its_own_numbers():
    rows = fields_table([field("two", squares(6, 9), 0.5), field("none", np.zeros((30, 20), int), 0.5)]).set_index(
        "frame"
    )
    assert rows.loc["two", ["rows", "columns", "count"]].tolist() == [40, 80, 2]
    sizes = segmentation.measure(Instances(squares(6, 9), pixel_size_nm=0.5))["equivalent_diameter_nm"]
    assert rows.loc["two", "d50_nm"] == pytest.approx(sizes.median())
    area = segmentation.measure(squares(6, 9))["area_px2"].sum()
    assert rows.loc["two", "coverage"] == pytest.approx(area / (40 * 80))
    assert rows.loc["none", "count"] == rows.loc["none", "number_density_per_nm2"] == 0
    assert np.isnan(rows.loc["none", "d50_nm"])


def test_a_frame_without_particles_counts_for_the_density():
    fields = [field("two", squares(6, 9), 0.5), field("none", np.zeros((40, 80), int), 0.5)]
    one, both = pool_fields(fields[:1]), pool_fields(fields)
    assert both.number_density == pytest.approx(one.number_density / 2)
    assert both.n_frames == 2


@pytest.mark.parametrize(
    "other", [field("other", squares(6), 0.5), field("other", squares(6, 9), 0.6), field("other", squares(6, 9))]
)
def test_frames_of_another_shape_or_scale_are_no_one_population(other, tmp_path):
    fields = [field("two", squares(6, 9), 0.5), other]
    assert pool_fields(fields) is None
    together, paths = save_fields(fields, tmp_path, "places", analysis=True)
    assert together is None
    assert set(paths) == {"particles", "frames"}


def test_rounded_pixel_sizes_are_one_scale():
    assert pool_fields([field("a", squares(6, 9), 0.5), field("b", squares(6, 9), 0.500001)]) is not None


def test_what_an_earlier_run_said_of_all_frames_goes(tmp_path):
    fields = [field(name, squares(6, 9), 0.5) for name in "ab"]
    _, paths = save_fields(fields, tmp_path, "places", analysis=True)
    assert all(path.is_file() for path in paths.values())
    save_fields(fields, tmp_path, "places")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "places_all_particles.csv", "places_all_particles.parquet", "places_frames.csv",
    ]  # fmt: skip


@pytest.mark.parametrize(("names", "told"), [("", "no frame"), ("aa", "2 frames are named 'a'")])
def test_no_frames_and_frames_of_one_name_are_refused(names, told):
    with pytest.raises(InputError, match=told):
        join_fields([field(name, squares(6)) for name in names])


def test_segment_takes_a_folder(capsys, tmp_path, scene):
    tilt = np.add.outer(*map(np.arange, map(float, scene.frame.shape)))
    folder = folder_of(tmp_path, {"a": scene.frame, "b": scene.frame[::-1], "flat": tilt})
    out = tmp_path / "out"
    arguments = ("segment", folder, *THRESHOLD, "--pixel-size-nm", 0.5, "--analysis", "--out", out)
    status, printed, error = run_main(capsys, *arguments)
    assert status == 0, error
    rows = pd.read_csv(out / "places_frames.csv").set_index("frame")
    each = {name: pd.read_csv(out / f"{name}_particles.csv") for name in ("a", "b", "flat")}
    assert rows["count"].to_dict() == {name: len(table) for name, table in each.items()}
    assert len(each["a"]) > 0 == len(each["flat"])
    together = pd.read_csv(out / "places_all_particles.csv", dtype={"frame": str})
    assert together.groupby("frame").size().to_dict() == {"a": len(each["a"]), "b": len(each["b"])}
    assert f"a: {len(each['a'])} particles" in printed
    assert f"All 3 frames together: {len(together)} particles" in printed
    assert "freed of the border's bias: median" in printed
    for name in ("a_figure.png", "flat_figure.png", "a_population.csv", "places_all_population.png"):
        assert (out / name).is_file(), name


def test_one_frame_is_segmented_alone_with_a_picture(capsys, tmp_path, scene):
    folder = folder_of(tmp_path, {"a": scene.frame})
    status, printed, error = run_main(capsys, "segment", folder / "a.npy", *THRESHOLD, "--out", tmp_path / "out")
    assert status == 0, error
    assert f"Figure: {tmp_path / 'out' / 'a_figure.png'}" in printed
    assert (tmp_path / "out" / "a_figure.png").is_file()
    assert not list((tmp_path / "out").glob("*_frames.csv"))


def test_frames_of_different_places_are_run_without_tracks(capsys, tmp_path, scene):
    folder = folder_of(tmp_path, {"a": scene.frame, "small": scene.frame[:64, :64]})
    out = tmp_path / "out"
    status, _, error = run_main(capsys, "run", folder, *CLASSICAL, "--ratio", 0.5, "--separate", "--out", out)
    assert status == 0, error
    table = pd.read_csv(out / "places_all_particles.csv")
    assert set(table["frame"]) <= {"a", "small"}
    assert "particle" not in table
    assert (out / "small_reconstruction.tif").is_file()
    assert json.loads((out / "a_provenance.json").read_text())["scan"]["sampling_ratio"] == pytest.approx(0.5, abs=0.01)
    status, _, error = run_main(capsys, "run", folder, *CLASSICAL, "--separate", "--temporal", "--out", out)
    assert status == 2
    assert "--temporal is for movies and the frames are of different places" in error


def test_broken_frames_are_left_out_and_told(capsys, tmp_path, scene):
    folder = folder_of(tmp_path, {"a": scene.frame, "c": scene.frame.T, "tiny": np.zeros((3, 3))})
    (folder / "b.npy").write_bytes(b"no array")
    status, printed, error = run_main(capsys, "segment", folder, *THRESHOLD, "--out", tmp_path / "out")
    assert status == 2
    assert "2 frames of 4 left out, the first b.npy" in error
    assert "tiny.npy: left out" in printed
    assert error.count("\n") <= 1 or "left out" in error.splitlines()[-1]
    assert pd.read_csv(tmp_path / "out" / "places_frames.csv")["frame"].tolist() == ["a", "c"]


def test_nothing_but_broken_frames_is_an_error_that_writes_nothing(capsys, tmp_path):
    (tmp_path / "places").mkdir()
    (tmp_path / "places" / "b.npy").write_bytes(b"no array")
    status, _, error = run_main(capsys, "segment", tmp_path / "places", *THRESHOLD, "--out", tmp_path / "out")
    assert status == 2
    assert "b.npy: " in error
    assert not (tmp_path / "out").exists()


def test_frames_that_are_done_are_not_done_again(capsys, tmp_path, scene, monkeypatch):
    folder = folder_of(tmp_path, {"a": scene.frame, "b": scene.frame.T})
    out = tmp_path / "out"
    arguments = ("segment", folder, *THRESHOLD, "--out", out)
    assert run_main(capsys, *arguments)[0] == 0
    first = (out / "places_all_particles.csv").read_text()

    from segmentation.cli import chain

    seen = []
    kept = chain.segment
    monkeypatch.setattr(
        chain, "segment", lambda frame, *rest, **options: seen.append(frame.name) or kept(frame, *rest, **options)
    )
    assert run_main(capsys, *arguments)[0] == 0
    assert seen == []
    assert (out / "places_all_particles.csv").read_text() == first
    np.save(folder / "b.npy", np.roll(scene.frame.T, 5, axis=0))
    assert run_main(capsys, *arguments)[0] == 0
    assert seen == ["b"]
    (out / "a_particles.parquet").write_bytes(b"damaged")
    assert run_main(capsys, *arguments)[0] == 0
    assert seen == ["b", "a"]
    (out / "b_labels.tif").unlink()
    assert run_main(capsys, *arguments)[0] == 0
    assert seen == ["b", "a", "b"]
    seen.clear()
    assert run_main(capsys, *arguments, "--pixel-size-nm", 0.5, "--analysis")[0] == 0
    assert seen == ["a", "b"]
    (out / "b_neighbours.csv").unlink()  # as of a run that was killed before
    assert run_main(capsys, *arguments, "--pixel-size-nm", 0.5, "--analysis")[0] == 0
    assert seen == ["a", "b", "b"]
    assert (out / "b_neighbours.csv").is_file()


def test_a_stack_with_a_name_of_another_files_results_loses_neither(capsys, tmp_path, scene):
    folder = folder_of(tmp_path, {"a_0001": scene.frame, "a": np.stack([scene.frame, scene.frame[::-1]])})
    status, _, error = run_main(capsys, "segment", folder, *THRESHOLD, "--out", tmp_path / "out")
    assert status == 2
    assert "another frame's results have its name" in error
    assert "1 frame of 3 left out" in error


def test_the_particles_of_a_figure_need_their_frame(tmp_path):
    labels = squares(6, 9)
    with pytest.raises(InputError, match="without the frame"):
        particles_figure(Instances(labels), segmentation.measure(labels), tmp_path / "a.png")


def test_hidden_files_are_no_frames(capsys, tmp_path, scene):
    folder = folder_of(tmp_path, {"a": scene.frame, ".z": scene.frame.T})
    (folder / "._a.npy").write_bytes(b"\0\5\x16\7")  # what macOS leaves beside a file
    status, _, error = run_main(capsys, "segment", folder, *THRESHOLD, "--out", tmp_path / "out")
    assert status == 0, error
    assert pd.read_csv(tmp_path / "out" / "places_frames.csv")["frame"].tolist() == ["a"]


def test_a_frame_named_as_the_results_of_all_is_not_counted_twice(capsys, tmp_path, scene):
    folder = folder_of(tmp_path, {"a": scene.frame, "places_all": scene.frame.T})
    for _ in range(2):
        status, printed, _ = run_main(capsys, "segment", folder, *THRESHOLD, "--out", tmp_path / "out")
        assert status == 2
        assert "places_all: left out, its results would have the names of those of all frames" in printed
        assert set(pd.read_csv(tmp_path / "out" / "places_all_particles.csv")["frame"]) == {"a"}


@pytest.mark.parametrize(
    ("inside", "given", "stem"),
    [(".", "ratio_0.1", "ratio_0.1"), ("ratio_0.1", ".", "ratio_0.1"), ("sub", "..", "top")],
)
def test_results_of_a_folder_have_its_whole_name(capsys, tmp_path, scene, monkeypatch, inside, given, stem):
    home = tmp_path / "top"
    for folder in (home, home / "ratio_0.1", home / "sub"):
        folder.mkdir()
    np.save((home if stem == "top" else home / stem) / "a.npy", scene.frame)
    monkeypatch.chdir(home / inside)
    status, _, error = run_main(capsys, "segment", given, *THRESHOLD, "--out", tmp_path / "out")
    assert status == 0, error
    assert (tmp_path / "out" / f"{stem}_frames.csv").is_file()


def test_a_mended_frame_leaves_the_scans_of_the_others_as_they_were(capsys, tmp_path, scene):
    folder = folder_of(tmp_path, {"a": scene.frame, "c": scene.frame.T})
    (folder / "b.npy").write_bytes(b"no array")
    out = tmp_path / "out"
    arguments = ("run", folder, *CLASSICAL, "--ratio", 0.5, "--peak-counts", 50, "--separate", "--out", out)
    prints = []
    for _ in range(2):
        run_main(capsys, *arguments)
        prints.append([json.loads((out / f"{name}_provenance.json").read_text())["fingerprint"] for name in "ac"])
        np.save(folder / "b.npy", scene.frame[::-1])
    assert prints[0] == prints[1]
    assert (out / "b_labels.tif").is_file()


def test_an_option_that_is_wrong_for_every_frame_is_one_line(capsys, tmp_path, scene):
    folder = folder_of(tmp_path, {"a": scene.frame, "b": scene.frame.T})
    status, printed, error = run_main(capsys, "segment", folder, *THRESHOLD, "--scale", 0.5, "--out", tmp_path / "out")
    assert status == 2
    assert printed == ""
    assert "error: segmentation method 'threshold' has no option 'scale'" in error


def test_scales_that_networks_chose_are_told(capsys, tmp_path, scene, monkeypatch):
    from dataclasses import replace

    from segmentation.cli import chain

    folder = folder_of(tmp_path, {name: np.roll(scene.frame, k, axis=1) for k, name in enumerate("abc")})
    scales, kept = {"a": 0.25, "b": 1.0, "c": 0.5}, chain.segment

    def chosen(frame, *rest, **options):
        options.pop("scale", None)
        found = kept(frame, *rest, **options)
        return replace(found, info={"scale": scales[frame.name]})

    monkeypatch.setattr(chain, "segment", chosen)
    arguments = ("segment", folder, *THRESHOLD, "--out", tmp_path / "out")
    for _ in range(2):  # those that are done already too
        _, printed, _ = run_main(capsys, *arguments)
        assert "threshold saw 2 of 3 frames at 0.25 to 0.5 of full size" in printed
    assert "of full size, as --scale says" in run_main(capsys, *arguments, "--scale", 0.5)[1]
