"""The command answers bad input by one line, and leaves nothing behind."""

import numpy as np
import pytest
from command_line import CLASSICAL, FRAME, altered, broken, photo, run_main, saved, shipped

BAD = {
    "missing file": (lambda t: [t / "gird.tif"], "grid.tif"),
    "empty file": (lambda t: [broken(t, "empty.tif")], "empty.tif"),
    "truncated file": (lambda t: [broken(t, "cut.tif", (t / "grid.tif").read_bytes()[:3000])], "cut.tif"),
    "unknown format": (lambda t: [broken(t, "notes.docx", b"hello")], "docx"),
    "colour photograph": (lambda t: [photo(t)], "--grey"),
    "infinity": (lambda t: [saved(t, "inf.npy", np.where(FRAME == 5, np.inf, FRAME))], "infinite"),
    "1 x N": (lambda t: [saved(t, "line.npy", FRAME[:1])], "1 x 40"),
    "constant": (lambda t: [saved(t, "flat.npy", np.ones((32, 32)))], "contrast"),
    "mask of another shape": (lambda t: [t / "grid.tif", "--mask", saved(t, "m.npy", FRAME > 9)], "shape"),
    "mask of nothing": (
        lambda t: [saved(t, "f.npy", FRAME), "--mask", saved(t, "m.npy", FRAME < 0)],
        "samples no pixel",
    ),
    "missing mask": (lambda t: [t / "grid.tif", "--mask", t / "nowhere.npy"], "nowhere.npy"),
    "ratio 0": (lambda t: [t / "grid.tif", "--ratio", "0"], "above 0"),
    "ratio 1.5": (lambda t: [t / "grid.tif", "--ratio", "1.5"], "at most 1"),
    "ratio ten": (lambda t: [t / "grid.tif", "--ratio", "ten"], "--ratio"),
    "ratio and mask": (lambda t: [t / "grid.tif", "--ratio", "0.1", "--mask", t / "grid.tif"], "give one"),
    "peak counts": (lambda t: [t / "grid.tif", "--ratio", "0.1", "--peak-counts", "-3"], "peak counts"),
    "counts per unit": (lambda t: [t / "grid.tif", "--counts-per-unit", "0"], "counts_per_unit is 0"),
    "read noise": (lambda t: [t / "grid.tif", "--read-noise", "-1"], "read_noise is -1"),
    "black level": (lambda t: [t / "grid.tif", "--black-level", "nan"], "black_level is nan"),
    "noise twice": (lambda t: [t / "grid.tif", "--counts-per-unit", "1", "--peak-counts", "9"], "give one"),
    "scheme": (lambda t: [t / "grid.tif", "--ratio", "0.1", "--scheme", "randon"], "did you mean 'random'"),
    "recon": (lambda t: [t / "grid.tif", "--recon", "fitsa"], "did you mean 'fista'"),
    "segment": (lambda t: [t / "grid.tif", "--segment", "mask-rcn"], "did you mean 'mask-rcnn'"),
    "pixel size": (lambda t: [t / "grid.tif", "--pixel-size-nm", "0"], "pixel size is 0"),
    "no cuda": (lambda t: [t / "grid.tif", "--device", "cuda"], "cuda"),
    "device": (lambda t: [t / "grid.tif", "--device", "gpu"], "auto, cpu or cuda"),
    "weights missing": (lambda t: [t / "grid.tif", "--recon-weights", t / "w.safetensors"], "no weights file"),
    "option of no value": (lambda t: [t / "grid.tif", "--recon-option", "preset"], "expected NAME=VALUE"),
    "option misspelt": (lambda t: [t / "grid.tif", "--recon-option", "prest=fast"], "did you mean 'preset'"),
    "option of no sense": (lambda t: [t / "grid.tif", "--recon-option", "within_noise=-1"], "within_noise is -1"),
    "weights altered": (lambda t: [t / "grid.tif", "--recon-weights", altered(t)], "hash"),
    "snr below 0": (lambda t: [t / "grid.tif", "--min-snr", "-1"], "min_snr is -1"),
    "snr that is none": (lambda t: [t / "grid.tif", "--min-snr", "nan"], "min_snr is nan"),
    "views": (lambda t: [t / "grid.tif", "--views", "9"], "views is 9"),
    "mapping without weights": (
        lambda t: [t / "grid.tif", "--recon", "linear", "--segment", "mask-rpn", "--mapping", "sparse"],
        "no weights 'mask-rpn-sparse' are shipped",
    ),
    "mapping misspelt": (lambda t: [t / "grid.tif", "--mapping", "feature"], "did you mean 'features'"),
    "mapping of no weights": (lambda t: [t / "grid.tif", "--segment", "mask-fpn", "--mapping", "sparse"], "shipped"),
    "weights of another": (lambda t: [t / "grid.tif", "--segment-weights", shipped()], "holds weights of"),
    "option": (lambda t: [t / "grid.tif", "--rato", "0.1"], "--rato"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(capsys, frame, tmp_path, case):
    arguments, message = BAD[case]
    if case == "no cuda":
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is a CUDA device here")
    out = tmp_path / "never"
    status, printed, error = run_main(capsys, "run", *arguments(tmp_path), "--out", out)
    assert status == 2
    lines = [line for line in error.replace("\r", "\n").splitlines() if line.startswith("cs-stem: error:")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in error
    assert printed == ""
    assert not out.exists()


def test_an_output_folder_that_cannot_be_made(capsys, frame, tmp_path):
    (tmp_path / "taken").write_text("a file")
    status, _, error = run_main(capsys, "run", frame, *CLASSICAL, "--out", tmp_path / "taken" / "out")
    assert status == 2
    assert "cannot make the output folder" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "x.tif", "--raito", "0.1"], "no option '--raito' (did you mean '--ratio'?); see 'cs-stem run --help'"),
        (["run", "x.tif", "--raito=0.1"], "no option '--raito' (did you mean '--ratio'?); see 'cs-stem run --help'"),
        (
            ["bench", "recon", "--framess", "3"],
            "'--framess' (did you mean '--frames'?); see 'cs-stem bench recon --help'",
        ),
        (["run", "a.tif", "b.tif"], "one argument too many: 'b.tif'; see 'cs-stem run --help'"),
    ],
)
def test_what_a_command_does_not_know_names_the_command(capsys, arguments, message):
    status, _, error = run_main(capsys, *arguments)
    assert status == 2
    assert message in error


def test_weights_that_are_not_shipped_are_refused_before_a_file_is_read(capsys, tmp_path):
    names = ["--segment", "u-net", "--mapping", "features"]
    status, _, error = run_main(capsys, "segment", tmp_path / "nowhere.tif", *names)
    assert status == 2
    assert "no weights 'u-net-features' are shipped" in error


def test_methods_tell_which_networks_have_weights_for_each_mapping(capsys):
    status, printed, _ = run_main(capsys, "methods")
    assert status == 0
    assert "\n  sparse            mask-rcnn\n" in printed
    assert "\n  reconstruct       mask-rcnn, mask-rpn, mask-fpn, u-net\n" in printed
