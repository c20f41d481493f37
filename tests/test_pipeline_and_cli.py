"""The whole chain from Python and from the command line, and its files."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from command_line import CLASSICAL, photo, run_main
from PIL import Image

import cs_recon
import segmentation
import simulate
from segmentation.pipeline import file_stem
from segmentation.shipped import shipped_file

DATA = Path(__file__).parents[2] / "shared" / "data"


def test_the_chain_finds_and_measures_the_particles(scene):
    path = simulate.scan_path("random", scene.frame.shape, 0.3, rng=0)
    scan = simulate.measure(scene.frame, path, peak_counts=200, rng=0, pixel_size_nm=0.5)
    result = segmentation.run(scan)
    truth = segmentation.measure(segmentation.Instances(scene.labels, pixel_size_nm=0.5))
    assert len(result.table) == pytest.approx(len(truth), abs=1)
    assert result.table.equivalent_diameter_nm.median() == pytest.approx(
        truth.equivalent_diameter_nm.median(), rel=0.08
    )
    assert result.reconstruction.sigma is not None
    assert set(result.seconds) == {"reconstruct", "segment", "measure"}


def test_run_writes_everything_and_says_so(capsys, frame, tmp_path):
    out = tmp_path / "out"
    status, printed, _ = run_main(
        capsys, "run", frame, "--ratio", 0.3, "--peak-counts", 100, *CLASSICAL, "--out", out, "--seed", 4
    )
    assert status == 0
    assert "nm" in printed
    assert "grid_figure.png" in printed
    names = {file.name for file in out.iterdir()}
    expected = {"reconstruction.tif", "labels.tif", "particles.csv", "particles.parquet", "coco.json", "figure.png"}
    assert {f"grid_{name}" for name in expected} | {"grid_provenance.json"} == names
    image = cs_recon.read(out / "grid_reconstruction.tif")
    assert image.pixel_size_nm == pytest.approx(0.5)
    table, labels = pd.read_csv(out / "grid_particles.csv"), tifffile.imread(out / "grid_labels.tif")
    pd.testing.assert_frame_equal(table, pd.read_parquet(out / "grid_particles.parquet"), check_dtype=False)
    assert sorted(table.label) == sorted(set(np.unique(labels)) - {0})
    record = json.loads((out / "grid_provenance.json").read_text())
    assert record["seed"] == 4
    assert record["scan"]["sampling_ratio"] == pytest.approx(0.3, abs=1e-4)
    assert record["reconstruction"]["method"] == "linear"
    assert len(json.loads((out / "grid_coco.json").read_text())["annotations"]) == len(table)


def test_the_default_methods_record_their_weights(capsys, frame, tmp_path):
    out = tmp_path / "out"
    status, _, _ = run_main(capsys, "run", frame, "--ratio", 0.2, "--out", out)
    assert status == 0
    record = json.loads((out / "grid_provenance.json").read_text())
    assert len(record["reconstruction"]["weights_sha256"]) == 64
    assert (out / "grid_sigma.tif").exists()


def test_the_same_seed_gives_the_same_table(capsys, frame, tmp_path):
    for name in ("a", "b"):
        run_main(capsys, "run", frame, "--ratio", 0.2, "--peak-counts", 20, *CLASSICAL, "--out", tmp_path / name)
    assert (tmp_path / "a" / "grid_particles.csv").read_bytes() == (tmp_path / "b" / "grid_particles.csv").read_bytes()


def test_every_form_of_a_sparse_scan_gives_the_same_image(capsys, tmp_path, scene):
    mask = simulate.scan_path("random", scene.frame.shape, 0.3, rng=0).mask
    values = scene.frame.astype(np.float64)
    np.save(tmp_path / "full.npy", values)
    Image.fromarray((mask * 255).astype(np.uint8)).save(tmp_path / "mask.png")
    np.save(tmp_path / "nan.npy", np.where(mask, values, np.nan))
    rows, cols = np.nonzero(mask)
    pd.DataFrame({"row": rows, "col": cols, "value": values[mask]}).to_csv(tmp_path / "list.csv", index=False)
    images = []
    for name, extra in (("full.npy", ["--mask", tmp_path / "mask.png"]), ("nan.npy", []), ("list.csv", [])):
        out = tmp_path / "out" / name
        status, _, error = run_main(capsys, "reconstruct", tmp_path / name, *extra, "--recon", "linear", "--out", out)
        assert status == 0, error
        images.append(tifffile.imread(next(out.glob("*_reconstruction.tif"))))
    for image in images[1:]:
        np.testing.assert_allclose(image, images[0][: image.shape[0], : image.shape[1]], rtol=1e-5)


def test_the_noise_of_a_file_may_be_told(capsys, tmp_path):
    """Particles of 20 electrons on nothing: by itself the estimate of the noise is that of the background."""
    rows, cols = np.indices((96, 96)) % 40 - 20
    counts = np.random.default_rng(0).poisson(np.where(rows**2 + cols**2 < 81, 20.0, 0.0)).astype(np.float32)
    np.save(tmp_path / "counts.npy", 3 * counts + 7)
    told = ("--counts-per-unit", 1 / 3, "--black-level", 7, "--read-noise", 0.1)
    images = {}
    for name, noise in (("none", ()), ("told", told)):
        arguments = ("reconstruct", tmp_path / "counts.npy", "--recon", "cls", *noise, "--out", tmp_path / name)
        assert run_main(capsys, *arguments)[0] == 0
        images[name] = cs_recon.read(tmp_path / name / "counts_reconstruction.tif").values
    scan = cs_recon.Measurement(3 * counts + 7, counts >= 0, counts_per_unit=1 / 3, black_level=7, read_noise=0.1)
    np.testing.assert_allclose(images["told"], cs_recon.reconstruct(scan, "cls").image, rtol=1e-5)
    assert np.abs(images["told"] - images["none"]).max() > 3


def test_a_stack_gives_a_table_of_all_frames(capsys, tmp_path, scene):
    stack = np.stack([scene.frame, scene.frame[::-1], scene.frame[:, ::-1]])
    np.save(tmp_path / "movie.npy", stack)
    status, printed, _ = run_main(
        capsys, "run", tmp_path / "movie.npy", "--ratio", 0.5, *CLASSICAL, "--out", tmp_path / "out"
    )
    assert status == 0
    table = pd.read_csv(tmp_path / "out" / "movie_all_particles.csv")
    assert sorted(table.frame.unique()) == [0, 1, 2]
    assert "3 frames" in printed
    assert {"particle", "equivalent_diameter_px"} <= set(table.columns)
    labels = tifffile.imread(tmp_path / "out" / "movie_parts" / "000002_labels.tif")
    assert labels.shape == scene.frame.shape
    assert (tmp_path / "out" / "movie_movie.gif").exists()


@pytest.mark.parametrize(
    "option", [["--temporal"], ["--video", "gif"], ["--max-step-px", 3], ["--frame-interval-s", 1]]
)
def test_options_of_movies_are_refused_for_one_frame(capsys, tmp_path, scene, option):
    np.save(tmp_path / "frame.npy", scene.frame)
    arguments = ("run", tmp_path / "frame.npy", "--ratio", 0.5, *CLASSICAL, *option, "--out", tmp_path / "out")
    status, _, error = run_main(capsys, *arguments)
    assert status == 2
    assert f"{option[0]} is for movies and the file holds one frame" in error
    assert not (tmp_path / "out").exists()


def test_zeros_without_a_mask_are_remarked_on(capsys, tmp_path, scene):
    mask = np.random.default_rng(0).random(scene.frame.shape) < 0.2
    np.save(tmp_path / "zeros.npy", np.where(mask, scene.frame, 0))
    np.save(tmp_path / "mask.npy", mask)
    arguments = ("reconstruct", tmp_path / "zeros.npy", "--recon", "linear", "--out", tmp_path / "out")
    assert "0 and count as scanned: if they were not, give the --mask" in run_main(capsys, *arguments)[1]
    assert "give the --mask" not in run_main(capsys, *arguments, "--mask", tmp_path / "mask.npy")[1]


def test_weights_of_another_mapping_get_what_they_take(scene):
    path = simulate.scan_path("random", scene.frame.shape, 0.5, rng=0)
    scan = simulate.measure(scene.frame, path, peak_counts=200, rng=0, pixel_size_nm=0.5)
    with shipped_file("mask-rcnn-sparse") as weights:
        own = segmentation.run(scan, recon="nearest", segment_options={"weights": str(weights)})
    named = segmentation.run(scan, recon="nearest", segment_options={"mapping": "sparse"})
    assert own.instances.info["mapping"] == "sparse"
    np.testing.assert_array_equal(own.instances.labels, named.instances.labels)


def test_segment_measures_a_full_image(capsys, frame, tmp_path):
    status, printed, _ = run_main(capsys, "segment", frame, "--segment", "threshold", "--out", tmp_path / "out")
    assert status == 0
    assert "9 particles" in printed
    assert "equivalent_diameter_nm" in pd.read_csv(tmp_path / "out" / "grid_particles.csv")


def test_reconstruct_writes_hyperspy_files(capsys, frame, tmp_path):
    pytest.importorskip("rsciio")
    out = tmp_path / "out"
    arguments = ("reconstruct", frame, "--ratio", 0.4, "--recon", "nearest", "--hspy", "--out", out)
    assert run_main(capsys, *arguments)[0] == 0
    back, tiff = cs_recon.read(out / "grid_reconstruction.hspy"), cs_recon.read(out / "grid_reconstruction.tif")
    np.testing.assert_allclose(back.values, tiff.values)
    assert back.pixel_size_nm == pytest.approx(0.5)


def test_the_demo_comes_near_its_truth(capsys, tmp_path):
    status, printed, _ = run_main(capsys, "demo", "--out", tmp_path)
    assert status == 0
    assert "median diameter" in printed
    table = pd.read_csv(tmp_path / "demo_particles.csv")
    truth = pd.read_csv(Path(segmentation.__file__).parent / "data" / "demo_truth.csv")
    assert len(table) == pytest.approx(len(truth), rel=0.2)
    assert table.equivalent_diameter_nm.median() == pytest.approx(truth.equivalent_diameter_nm.median(), rel=0.1)


def test_the_packaged_frame_is_what_its_generator_draws(tmp_path):
    from segmentation.data import make_demo

    make_demo.main(tmp_path)
    packaged = Path(make_demo.__file__).parent
    drawn, shipped = (cs_recon.read(folder / "demo_frame.tif") for folder in (tmp_path, packaged))
    np.testing.assert_allclose(drawn.values, shipped.values, atol=1)
    assert shipped.pixel_size_nm == pytest.approx(0.3)
    assert (tmp_path / "demo_truth.csv").read_text() == (packaged / "demo_truth.csv").read_text()


def test_methods_lists_every_name(capsys):
    status, printed, _ = run_main(capsys, "methods")
    assert status == 0
    names = (*simulate.schemes.names, *cs_recon.reconstructors.names, *segmentation.segmenters.names)
    assert all(name in printed for name in names)


@pytest.mark.skipif(not DATA.exists(), reason="needs the real frames of ../shared/data")
def test_end_to_end_on_a_real_haadf_frame(capsys, tmp_path):
    pytest.importorskip("rsciio")
    status, printed, error = run_main(
        capsys, "run", DATA / "stem" / "jeol_haadf.dm4", "--ratio", 0.5, "--out", tmp_path
    )
    assert status == 0, error
    table = pd.read_csv(tmp_path / "jeol_haadf_particles.csv")
    assert "nm" in printed
    assert (table.equivalent_diameter_nm < 112 * 1.249).all()
    assert len(table) > 0


def test_a_colour_image_is_converted_when_asked(capsys, tmp_path):
    status, _, error = run_main(capsys, "run", photo(tmp_path), "--grey", *CLASSICAL, "--out", tmp_path / "out")
    assert status == 0, error


def test_an_unknown_command_gets_the_nearest_name(capsys):
    status, _, error = run_main(capsys, "reconstrct", "x")
    assert status == 2
    assert "did you mean 'reconstruct'" in error


TINY_RECON = """
[network]
steps = 1
widths = [4, 4]
levels = 1
[data]
size = 32
[loop]
steps = 2
batch_size = 2
"""
TINY_SEGMENT = """
[network]
widths = [8, 8, 8, 8]
pyramid = 8
[data]
size = 64
[loop]
steps = 2
batch_size = 2
"""


@pytest.mark.parametrize(
    ("kind", "text", "option"),
    [("recon", TINY_RECON, "--recon-weights"), ("segment", TINY_SEGMENT, "--segment-weights")],
)
def test_trained_weights_work_in_the_chain(capsys, frame, tmp_path, kind, text, option):
    (tmp_path / "tiny.toml").write_text(text)
    runs = tmp_path / "runs"
    status, printed, error = run_main(capsys, "train", kind, tmp_path / "tiny.toml", "--out", runs, "--device", "cpu")
    assert status == 0, error
    (weights,) = runs.glob("*.safetensors")
    assert str(weights) in printed
    status, _, error = run_main(capsys, "run", frame, "--ratio", 0.3, option, weights, "--out", tmp_path / "out")
    assert status == 0, error


@pytest.mark.parametrize("kind", ["recon", "segment"])
def test_a_misspelt_training_key_is_one_line(capsys, tmp_path, kind):
    (tmp_path / "bad.toml").write_text("[loop]\nbatchsize = 3")
    status, _, error = run_main(capsys, "train", kind, tmp_path / "bad.toml", "--out", tmp_path / "runs")
    assert status == 2
    assert "did you mean 'batch_size'" in error


def test_names_become_file_names():
    assert file_stem("movie[3]") == "movie_0003"
    assert file_stem("a b/c") == "a_b_c"
    assert file_stem("") == "scan"


def test_a_seed_gives_every_frame_positions_and_noise_of_its_own(scene):
    from itertools import islice

    from segmentation.cli.inputs import _generators

    draws = [rng.random() for seed in (0, 1) for pair in islice(_generators(seed), 2) for rng in pair]
    assert len(set(draws)) == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ratio", "0.3", "--seed", "-1"], "seed is -1"),
        (["--ratio", "0.3", "--peak-counts", "1e20"], "at most 1e\\+15"),
        (["--pixel-size-nm", "1e-9"], "another unit"),
        (["--scheme", "spiral"], "--scheme says how --ratio"),
        (["--mapping", "feature"], "did you mean 'features'"),
        (["--recon", "fista", "--recon-option", "threshold=1e40"], "from 1e-30 to 1e\\+30"),
        (["--pixel-size-nm", "1e20"], "another unit"),
    ],
)
def test_extremes_are_one_line(capsys, frame, tmp_path, arguments, message):
    import re

    status, _, error = run_main(capsys, "run", frame, *CLASSICAL, *arguments, "--out", tmp_path / "out")
    assert status == 2
    assert re.search(message, error)


def test_picometre_pixels_and_dollars_in_names(capsys, tmp_path, scene):
    file = tmp_path / "cost$1^$2.npy"
    np.save(file, scene.frame)
    out = tmp_path / "out"
    status, _, error = run_main(capsys, "run", file, *CLASSICAL, "--pixel-size-nm", 0.002, "--out", out)
    assert status == 0, error
    assert cs_recon.read(next(out.glob("*_labels.tif"))).pixel_size_nm == pytest.approx(0.002)


def test_an_earlier_runs_sigma_does_not_stay(capsys, frame, tmp_path):
    out = tmp_path / "out"
    for recon, expected in (("unrolled-ista", True), ("linear", False)):
        run_main(capsys, "reconstruct", frame, "--ratio", 0.5, "--recon", recon, "--out", out)
        assert (out / "grid_sigma.tif").exists() == expected


def test_provenance_names_both_networks(capsys, frame, tmp_path):
    run_main(capsys, "run", frame, "--out", tmp_path / "out")
    record = json.loads((tmp_path / "out" / "grid_provenance.json").read_text())
    for part, name in (("reconstruction", "unrolled-ista"), ("segmentation", "mask-rcnn")):
        assert record[part]["weights"] == f"{name}.safetensors"
        assert len(record[part]["weights_sha256"]) == 64


@pytest.mark.parametrize(("architecture", "option"), [("unrolled-ista", "recon"), ("mask-rcnn", "segment")])
def test_weights_that_do_not_fit_their_network(capsys, frame, tmp_path, architecture, option):
    import torch

    from cs_recon.checkpoint import save_weights

    for config in ({"bogus": 1}, {}):
        save_weights(tmp_path / "w.safetensors", {"a": torch.zeros(1)}, architecture, config)
        arguments = ("run", frame, f"--{option}-weights", tmp_path / "w.safetensors", "--out", tmp_path / "out")
        status, _, error = run_main(capsys, *arguments)
        assert status == 2
        assert "do not fit" in error


def test_a_tiff_without_part_of_its_pixels_is_refused(capsys, tmp_path):
    file = tmp_path / "hole.tif"
    tifffile.imwrite(file, np.arange(64 * 64, dtype=np.uint16).reshape(64, 64), rowsperstrip=8)
    with tifffile.TiffFile(file, mode="r+") as opened:
        tag = opened.pages[0].tags["StripByteCounts"]
        tag.overwrite([0, *tag.value[1:]])
    status, _, error = run_main(capsys, "run", file, *CLASSICAL, "--out", tmp_path / "out")
    assert status == 2
    assert "lacks part of its pixels" in error


def test_results_tell_of_themselves_in_a_line():
    scan = simulate.Measurement(np.arange(256.0).reshape(16, 16), np.eye(16, dtype=bool), name="grid")
    result = segmentation.run(scan, recon="nearest", segment="threshold")
    assert repr(result.reconstruction) == "Reconstruction('grid': 16 x 16 by nearest, 0.0625 of the pixels scanned)"
    assert repr(result.instances).startswith("Instances('grid': ")
    assert repr(result) == f"Result({result.reconstruction!r}, {result.instances!r})"
