"""The command called from tests, and files that it should not take."""

from pathlib import Path

import numpy as np
from PIL import Image

import cs_recon
from segmentation.cli import main

CLASSICAL = ["--recon", "linear", "--segment", "threshold"]
FRAME = np.add.outer(np.arange(32.0), np.arange(40.0))


def run_main(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def broken(tmp_path, name, content=b""):
    file = tmp_path / name
    file.write_bytes(content)
    return file


def saved(tmp_path, name, array):
    np.save(tmp_path / name, array)
    return tmp_path / name


def photo(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(tmp_path / "cat.png")
    return tmp_path / "cat.png"


def shipped():
    return Path(cs_recon.__file__).parent / "weights" / "unrolled-ista.safetensors"


def altered(tmp_path):
    content = bytearray(shipped().read_bytes())
    content[-100] ^= 1
    return broken(tmp_path, "altered.safetensors", bytes(content))
