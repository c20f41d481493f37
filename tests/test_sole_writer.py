"""The same long work started twice into one folder: the second is told so and touches nothing."""

import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from cs_recon.train_recon import UnrolledTraining, train_recon
from cs_recon.training import LoopConfig
from cs_recon.training_data import PairConfig
from cs_recon.unrolled import UnrolledConfig
from segmentation.movie import MovieOptions, process_movie
from segmentation.study import FrameChoice, StudyConfig, sweep
from simulate import InputError, Measurement
from simulate.atomic import sole_writer

HOLD = """
import sys
from simulate.atomic import sole_writer
with sole_writer(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""
BUSY = "another run is writing into"


@pytest.fixture
def other(tmp_path):
    """Start another process that holds a folder."""
    started = []

    def hold(name):
        folder = tmp_path / name
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return folder, process

    yield hold
    for process in started:
        process.communicate()


def test_a_folder_is_free_again_when_a_run_ends_however_it_does(other):
    folder, process = other("killed")
    with pytest.raises(InputError, match=BUSY), sole_writer(folder):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    with sole_writer(folder) as held:
        assert held == folder
    assert list(folder.iterdir()) == [], "what held it is gone too"
    with pytest.raises(ZeroDivisionError), sole_writer(folder):
        raise ZeroDivisionError
    with sole_writer(folder):
        pass


def test_a_study_that_runs_already_is_not_run_beside_itself(other):
    folder, _ = other("study")
    (folder / "parts").mkdir()
    half_written = folder / "parts" / ".part-of-the-other-run"
    half_written.touch()
    config = StudyConfig(reconstructors=("linear",), segmenters=("threshold",), frames=FrameChoice(n=1, size=64))
    with pytest.raises(InputError, match=BUSY):
        sweep(config, folder)
    assert half_written.exists()


def test_a_movie_that_is_processed_already_is_left_alone(other):
    parts, _ = other("film_parts")
    scan = Measurement(np.eye(32), np.ones((32, 32), bool))
    with pytest.raises(InputError, match=BUSY):
        process_movie([scan], parts.parent, name="film", options=MovieOptions(recon="linear", segment="threshold"))
    assert [file.name for file in parts.iterdir()] == [".in-use"]


def test_a_training_that_runs_already_keeps_its_checkpoint(other):
    folder, _ = other("training")
    config = UnrolledTraining(
        network=UnrolledConfig(steps=1, widths=(4, 4), levels=1, fast_steps=1),
        data=PairConfig(size=32, real_share=0.0),
        loop=LoopConfig(steps=1, batch_size=1),
    )
    with pytest.raises(InputError, match=BUSY):
        train_recon(config, folder, device=torch.device("cpu"), workers=0)
    assert not (folder / "checkpoint.pt").exists()
