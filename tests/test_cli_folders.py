"""Folders as input and output of the commands: frames in order, results that do not get in their way."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import CLASSICAL, run_main

import cs_recon
import simulate
from segmentation.cli.inputs import frame_files, missing_frame


def test_a_folder_of_frames_is_a_movie_too(capsys, tmp_path, scene):
    (tmp_path / "film").mkdir()
    for number in range(3):
        np.save(tmp_path / "film" / f"{number}.npy", np.roll(scene.frame, number, axis=1))
    arguments = ("run", tmp_path / "film", "--ratio", 0.5, *CLASSICAL, "--out", tmp_path / "out")
    status, printed, error = run_main(capsys, *arguments)
    assert status == 0, error
    assert "3 frames" in printed
    np.save(tmp_path / "film" / "3.npy", np.zeros((20, 20)) + np.arange(20))
    status, printed, error = run_main(capsys, *arguments)
    assert status == 2
    assert "the movie ended early at frame 3" in error
    assert "3 frames" in printed
    assert pd.read_csv(tmp_path / "out" / "film_all_particles.csv").frame.max() == 2
    (tmp_path / "broken").mkdir()
    np.save(tmp_path / "broken" / "0.npy", scene.frame)
    (tmp_path / "broken" / "1.npy").write_bytes(b"no array")
    arguments = ("run", tmp_path / "broken", "--ratio", 0.5, *CLASSICAL, "--out", tmp_path / "out")
    status, printed, error = run_main(capsys, *arguments)
    assert status == 2
    assert "the movie ended early at frame 1" in error
    assert "1 frame," in printed
    assert pd.read_csv(tmp_path / "out" / "broken_all_particles.csv").frame.max() == 0
    (tmp_path / "empty").mkdir()
    status, _, error = run_main(capsys, "run", tmp_path / "empty", "--out", tmp_path / "out2")
    assert status == 2
    assert "holds no frames" in error


def test_a_folders_frames_are_in_the_order_of_their_numbers(capsys, tmp_path, scene):
    folder = tmp_path / "film"
    folder.mkdir()
    for number in (8, 9, 10, 12):
        np.save(folder / f"image{number}.npy", np.roll(scene.frame, number, axis=1))
    (folder / "notes.txt").write_text("1,2,3\n")
    assert [file.name for file in frame_files(folder)] == [f"image{n}.npy" for n in (8, 9, 10, 12)]
    status, printed, error = run_main(
        capsys, "run", folder, "--ratio", 0.5, *CLASSICAL, "--out", tmp_path / "out", "--video", "none"
    )
    assert status == 0, error
    assert "Between image10.npy and image12.npy a frame is missing" in printed
    assert "4 frames" in printed


def test_a_folder_whose_results_would_overwrite_each_other_is_refused(capsys, tmp_path, scene):
    folder = tmp_path / "film"
    folder.mkdir()
    for name in ("a.npy", "b c.npy", "b_c.npy"):
        np.save(folder / name, scene.frame)
    status, _, error = run_main(capsys, "reconstruct", folder, "--recon", "nearest", "--out", tmp_path / "out")
    assert status == 2
    assert "b c.npy and b_c.npy, whose results would have one name" in error
    assert not (tmp_path / "out").exists()


def test_adapting_takes_folders_as_reconstruct_does(capsys, tmp_path, scene):
    (tmp_path / "scans").mkdir()
    for index in range(2):
        path = simulate.scan_path("random", scene.frame.shape, 0.3, rng=index)
        scan = simulate.measure(scene.frame, path, peak_counts=50, rng=index)
        cs_recon.io.write_sparse(tmp_path / "scans" / f"scan{index}.npz", scan)
    arguments = ("adapt", tmp_path / "scans", "--steps", 1, "--out", tmp_path / "out", "--device", "cpu")
    status, printed, error = run_main(capsys, *arguments)
    assert status == 0, error
    assert "no surely better weights were found" in printed
    assert (tmp_path / "out" / "unrolled-ista.safetensors").exists()


def test_a_folder_does_not_get_its_own_results(capsys, tmp_path, scene):
    np.save(tmp_path / "a.npy", scene.frame)
    for command in ("run", "reconstruct"):
        status, _, error = run_main(capsys, command, tmp_path, "--recon", "nearest", "--out", tmp_path / "." / "")
        assert status == 2
        assert "the folder the frames are read from" in error
    assert [file.name for file in tmp_path.iterdir()] == ["a.npy"]


@pytest.mark.parametrize("command", [["train", "recon"], ["train", "segment"], ["adapt"]])
def test_training_that_cannot_begin_leaves_no_folder(capsys, tmp_path, command):
    status, _, error = run_main(capsys, *command, tmp_path / "nowhere.npy", "--out", tmp_path / "out")
    assert status == 2
    assert "nowhere.npy" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("names", "gap"),
    [
        (["a1.tif", "a2.tif", "a3.tif"], None),
        (["a010.tif", "a020.tif", "a030.tif"], None),
        (["a010.tif", "a020.tif", "a040.tif", "a050.tif"], ("a020.tif", "a040.tif")),
        (["a.tif", "b.tif"], None),
        (["a1.tif"], None),
    ],
)
def test_a_missing_frame_is_noticed(names, gap):
    assert missing_frame([Path(name) for name in names]) == gap
