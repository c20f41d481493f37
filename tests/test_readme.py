"""The README's example runs, and its commands are ones that exist."""

import argparse
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cs_recon
import simulate
from segmentation.cli import main
from segmentation.cli.main import _parser as command_line_parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def parsers(parser):
    """Yield a parser and all of its sub-commands'."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from parsers(one)


def test_every_command_has_its_help():
    told = [parser.format_help() for parser in parsers(command_line_parser())]
    assert len(told) > 25
    assert any("90 % intervals" in " ".join(text.split()) for text in told)


def test_the_python_example_runs_as_it_stands(tmp_path):
    """And what follows it goes on from there."""
    example, *more = blocks("python")
    assert len(example.strip().splitlines()) <= 24
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join([example, *more])],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "PSNR" in run.stdout
    assert (tmp_path / "my-results" / "scan_particles.csv").exists()


@pytest.fixture(scope="module")
def users_folder(tmp_path_factory):
    """A folder with a small file for each name that the commands use."""
    folder = tmp_path_factory.mktemp("user")
    scene = simulate.make_scene(simulate.SceneConfig(shape=(128, 128), n_particles=12, diameter_nm=7), rng=0)
    mask = simulate.scan_path("random", (128, 128), 0.3, rng=0).mask
    (folder / "scene.toml").write_text("shape = [96, 96]\nn_particles = 6\n")
    cs_recon.write_image(folder / "frame.tif", scene.frame, pixel_size_nm=0.5)
    cs_recon.write_image(folder / "scan.tif", scene.frame, pixel_size_nm=0.5)
    Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "mask.png")
    np.save(folder / "scan.npy", np.where(mask, scene.frame, np.nan))
    cs_recon.write_sparse(folder / "samples.csv", cs_recon.Measurement(scene.frame, mask))
    real = ROOT.parent / "shared" / "data" / "stem" / "jeol_haadf.dm4"
    if real.exists():
        shutil.copy(real, folder / "frame.dm4")
    return folder


SHORT = {
    "adapt": ["--steps", "2"],
    "plan": [
        "--frames", "4", "--schemes", "random", "--ratios", "0.1", "0.4", "--doses", "20", "200", "--rounds", "0",
        "--reconstructors", "linear", "--segmenters", "threshold",
    ],
}  # fmt: skip
"""Options by which commands that take minutes take seconds."""
COMMANDS = [line.split("#")[0].strip() for block in blocks("bash") for line in block.splitlines()]


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("cs-stem")])
def test_every_command_runs(command, users_folder, monkeypatch, capsys):
    if "bench" in command or command.startswith("cs-stem compare"):
        pytest.skip("takes minutes: it redraws a table")
    if "frame.dm4" in command and not (users_folder / "frame.dm4").exists():
        pytest.skip("needs the real frames of ../shared/data")
    monkeypatch.chdir(users_folder)
    words = shlex.split(command)[1:]
    assert main([*words, *SHORT.get(words[0], [])]) == 0, capsys.readouterr().err


def test_its_pictures_and_links_are_there():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    for link in links:
        if not link.startswith("http"):
            assert (ROOT / link).exists(), link
