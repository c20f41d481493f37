"""What the commands' help tells, and what the commands say of the next step."""

import argparse
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import CLASSICAL, FRAME, run_main, saved

import cs_recon.adapt
from segmentation.cli import main
from segmentation.cli.main import _parser as command_line_parser

SMALL = ["--shape", "64", "64", "--n-particles", "3", "--diameter-nm", "6"]


def commands(parser):
    """Yield each command's parser with the line on it in the list of commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for entry in action._choices_actions:
                yield action.choices[entry.dest], entry.help
                yield from commands(action.choices[entry.dest])


def test_the_help_of_a_command_says_what_it_does():
    found = list(commands(command_line_parser()))
    assert len(found) > 25
    for parser, told in found:
        text = " ".join(parser.format_help().split())
        assert f" {told[0].upper()}{told[1:]}. ".replace("%%", "%") in text, parser.prog


def test_the_help_of_an_option_tells_its_default():
    for parser, _ in commands(command_line_parser()):
        for action in parser._actions:
            if action.option_strings and action.default not in (None, False, "", (), [], argparse.SUPPRESS):
                assert "default" in (action.help or ""), f"{parser.prog} {action.option_strings[0]}"
                if isinstance(action.default, (int, float, str, Path)):
                    shown = re.search(r"default ([^;:)]+)|([\w-]+) \(default\)", action.help or "")
                    assert shown, f"{parser.prog} {action.option_strings[0]}"
                    value = shown[1] or shown[2]
                    assert value == str(action.default) or float(value) == action.default, parser.prog


def test_sizes_in_pixels_say_how_they_come_in_nanometres(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", "frame", *SMALL, "--out", "."]) == 0
    frame = cs_recon.read("scene_frame.tif").values
    plain, one = saved(tmp_path, "plain.npy", frame), saved(tmp_path, "one.npy", FRAME)
    for command in (["run", *CLASSICAL], ["segment", "--segment", "threshold"]):
        told = {
            "unknown": run_main(capsys, *command, plain)[1],
            "known": run_main(capsys, *command, plain, "--pixel-size-nm", "0.5")[1],
        }
        assert " nm (D10" in told["known"]
        assert "--pixel-size-nm" not in told["known"]
        assert " px (D10" in told["unknown"]
        assert "--pixel-size-nm" in told["unknown"]
    assert "--pixel-size-nm" not in run_main(capsys, "run", *CLASSICAL, one, "--min-snr", "1e6")[1]


def test_a_frame_that_is_noisier_than_told_is_remarked_on(tmp_path, capsys, monkeypatch):
    """By a method that tells sigma, where the noise is told at all."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    frame = saved(tmp_path, "frame.npy", rng.poisson(20 + 80 * (np.hypot(*np.mgrid[-32:32, -32:32]) < 12)))
    run, image = ["run", "--segment", "threshold"], ["reconstruct"]
    for command in (run, image):
        widened = [
            "times what the network expects" in run_main(capsys, *command, frame, *options)[1]
            for options in (["--counts-per-unit", "1"], ["--counts-per-unit", "100"], [], ["--recon", "linear"])
        ]
        assert widened == [False, True, False, False]


def test_particles_found_anew_have_a_figure_of_their_own(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = saved(tmp_path, "frame.npy", FRAME)
    assert run_main(capsys, "run", *CLASSICAL, frame)[0] == 0
    chain = Path("cs-stem-output/frame_figure.png").read_bytes()
    status, told, _ = run_main(capsys, "segment", "--segment", "threshold", frame)
    assert status == 0
    assert Path("cs-stem-output/frame_figure.png").read_bytes() != chain
    assert Path("cs-stem-output/frame_reconstruction.tif").exists()
    for name in re.findall(r"(?:Figure|Table|Labels): +(\S+)", told):
        assert Path(name).exists()
    assert told.count("cs-stem-output/frame_") == 3


@pytest.mark.parametrize(
    "kind",
    [
        ["frame", "--peak-counts", "50"],
        ["scan", "--ratio", "0.3"],
        ["movie", "--frames", "2"],
        ["movie", "--frames", "1"],
    ],
)
def test_a_simulation_leaves_nothing_of_another_kind_beside_it(kind, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("alone", "after others"):
        if folder != "alone":
            for other in (["movie", "--frames", "3"], ["scan"], ["frame", "--peak-counts", "9"]):
                assert main(["simulate", *other, *SMALL, "--out", folder]) == 0
        assert main(["simulate", *kind, *SMALL, "--out", folder]) == 0
    names = [{file.relative_to(top) for file in Path(top).rglob("*")} for top in ("alone", "after others")]
    assert names[0] == names[1]
    words = re.findall(r"Go on: cs-stem (.*)", capsys.readouterr().out)[-1:]
    if kind[0] != "frame":
        assert main([*shlex.split(words[0]), *CLASSICAL]) == 0


def test_a_clearing_keeps_what_a_user_put_beside_the_paths(tmp_path):
    movie = ["simulate", "movie", "--frames", "2", *SMALL, "--out", str(tmp_path)]
    assert main(movie) == 0
    (tmp_path / "scene_paths" / "notes.txt").write_text("mine")
    assert main(["simulate", "scan", *SMALL, "--out", str(tmp_path)]) == 0
    assert [file.name for file in (tmp_path / "scene_paths").iterdir()] == ["notes.txt"]


def test_one_scan_is_not_said_in_the_plural(tmp_path, capsys, monkeypatch):
    adapted = SimpleNamespace(
        best_step=1, steps=1, before=1.0, after=0.5, sigma_factor=1.0, sha256="0" * 64, weights=tmp_path / "w"
    )
    monkeypatch.setattr(cs_recon.adapt, "adapt", lambda *scans, **options: adapted)
    _, told, _ = run_main(capsys, "adapt", saved(tmp_path, "scan.npy", FRAME), "--out", tmp_path)
    assert "Held-out samples of 1 scan: " in told
    assert "after 1 step;" in told


@pytest.mark.parametrize(("dwell", "told"), [("0.01", True), ("0.1", False)])
def test_a_dwell_time_that_the_hardware_cannot_make_is_told(dwell, told, capsys):
    _, out, _ = run_main(capsys, "scan", "random", "--shape", "32", "32", "--dwell-us", dwell)
    assert ("cannot dwell so shortly: 0.1 µs is its shortest" in out) == told
    _, out, _ = run_main(capsys, "scan", "random", "--shape", "32", "32", "--dwell-us", dwell, "--hardware", "ideal")
    assert "cannot dwell" not in out


@pytest.mark.parametrize("size", [16, 64])
def test_a_gallery_of_small_frames_is_as_dense_as_of_large_ones(size, tmp_path, monkeypatch):
    reconstruct = cs_recon.reconstruct
    monkeypatch.setattr(cs_recon, "reconstruct", lambda scan, name: reconstruct(scan, "nearest"))
    assert main(["bench", "gallery", "--size", str(size), "--out", str(tmp_path / "methods.png")]) == 0
