"""The commands scan and simulate, as a user types them."""

import json

import numpy as np
import pandas as pd
import pytest
import tifffile
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import cs_recon
import simulate
from segmentation.cli import main
from segmentation.cli.main import _parser as command_line_parser
from simulate.figures import UNSCANNED, draw_path, mask_spectrum, schemes_figure
from simulate.scan_text import read_info

SMALL = ["--n-particles", "4", "--diameter-nm", "8"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command):
    return main(command.split())


def error_of(capsys, command):
    assert run(command) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert message.startswith("cs-stem: error: ")
    return message


def test_the_list_names_every_scheme_and_hardware(capsys):
    assert main(["scan", "--list"]) == 0
    out = capsys.readouterr().out
    for name in (*simulate.schemes.names, *simulate.HARDWARE):
        assert f"  {name} " in out


def test_a_planned_scan_is_exported_and_read_back(here, capsys):
    command = "scan random --shape 64 80 --ratio 0.1 --seed 3 --dwell-us 4 --reorder nearest --out plan/scan.csv"
    assert main([*command.split(), "--picture", "scan.png", "--beam-current-pA", "20", "--pixel-size-nm", "0.5"]) == 0
    path = simulate.read_scan(here / "plan" / "scan.csv")
    expected = simulate.reorder(simulate.scan_path("random", (64, 80), 0.1, rng=3, dwell_us=4), "nearest")
    np.testing.assert_array_equal(path.flat, expected.flat)
    out = capsys.readouterr().out
    assert f"{expected.frame_time_ms:.4g} ms" in out
    assert f"Dose {expected.dose_e_per_A2(20, 0.5):.4g} e-/Å²" in out
    assert (here / "scan.png").stat().st_size > 10_000


def test_a_prior_sets_the_frame_and_the_density(here):
    prior = np.tile(np.where(np.arange(60) < 20, 1.0, 0.0), (40, 1))
    tifffile.imwrite(here / "prior.tif", prior.astype(np.float32))
    assert run("scan variable-density --prior prior.tif --ratio 0.2 --out scan.npz") == 0
    path = simulate.read_scan(here / "scan.npz")
    assert path.shape == (40, 60)
    assert path.cols.max() < 20


def test_the_comparison_has_a_row_for_every_scheme(capsys):
    assert run("scan --compare --shape 32 32 --ratio 0.01 --beam-current-pA 1 --pixel-size-nm 1") == 0
    out = capsys.readouterr().out
    assert all(name in out for name in simulate.schemes.names)
    assert "cannot reach" in out  # one line of 32 is 3 %


def test_a_simulated_frame_has_its_truth_beside_it(here):
    command = ["simulate", "frame", *SMALL, "--shape", "64", "72", "--shapes", "sphere", "cube", "--seed", "5"]
    assert main([*command, "--beam-current-pA", "50", "--name", "a"]) == 0
    config = simulate.SceneConfig(shape=(64, 72), n_particles=4, diameter_nm=8, shapes=("sphere", "cube"))
    record = json.loads((here / "simulated" / "a_provenance.json").read_text())
    assert record["configuration"]["diameter_nm"] == config.diameter_nm
    labels = tifffile.imread(here / "simulated" / "a_labels.tif")
    truth = pd.read_csv(here / "simulated" / "a_truth.csv")
    assert set(truth.label) == set(np.unique(labels)) - {0}
    frame = cs_recon.read(here / "simulated" / "a_frame.tif")
    assert frame.pixel_size_nm == pytest.approx(0.5)
    noisy = cs_recon.read(here / "simulated" / "a_noisy.tif")
    assert np.corrcoef(noisy.values.ravel(), frame.values.ravel())[0, 1] > 0.9
    first = (here / "simulated" / "a_frame.tif").read_bytes()
    assert main([*command, "--name", "a"]) == 0
    assert (here / "simulated" / "a_frame.tif").read_bytes() == first


def test_a_simulated_scan_carries_counts_and_path(here, capsys):
    config = "shape = [64, 64]\nn_particles = 5\ndiameter_nm = 7\n[support]\nhole_share = 0.2\nhole_nm = 10\n"
    (here / "scene.toml").write_text(config)
    for scheme in ("poisson-disc", "adaptive"):
        assert (
            main(f"simulate scan scene.toml --scheme {scheme} --ratio 0.1 --peak-counts 30 --name {scheme}".split())
            == 0
        )
        scan = cs_recon.read(here / "simulated" / f"{scheme}_scan.npz")
        path = simulate.read_scan(here / "simulated" / f"{scheme}_path.csv")
        np.testing.assert_array_equal(scan.mask, path.mask)
        assert scan.ratio == pytest.approx(0.1, abs=1 / 4096)
        assert path.scheme == scheme
        counts = scan.samples * scan.counts_per_unit
        np.testing.assert_allclose(counts, np.round(counts), atol=1e-6)
    assert "Frame time" in capsys.readouterr().out


def test_a_simulated_movie_has_its_tracks(here):
    (here / "movie.toml").write_text("n_frames = 4\ndiffusion_nm2_per_s = 0.2\n[scene]\nshape = [48, 48]\n")
    command = ["simulate", "movie", "movie.toml", *SMALL, "--scheme", "random", "--ratio", "0.25"]
    assert main([*command, "--masks", "interleaved", "--peak-counts", "50"]) == 0
    scans = tifffile.imread(here / "simulated" / "scene_scan.tif")
    assert scans.shape == (4, 48, 48)
    assert (np.isfinite(scans).sum(axis=0) == 1).all()
    tracks = pd.read_csv(here / "simulated" / "scene_tracks.csv")
    assert list(tracks.columns[:6]) == ["frame", "particle", "x", "y", "area_nm2", "event"]
    labels = tifffile.imread(here / "simulated" / "scene_labels.tif")
    for index, frame in tracks.groupby("frame"):
        assert set(np.unique(labels[index])) - {0} <= set(frame.particle)


def test_the_options_of_a_movie_move_its_particles(here, capsys):
    command = ["simulate", "movie", *SMALL, "--frames", "4", "--ratio", "0.25", "--shapes", "sphere"]
    assert main(command) == 0
    assert "which do not move" in capsys.readouterr().out
    still = pd.read_csv(here / "simulated" / "scene_tracks.csv").groupby("particle")[["x", "y"]]
    assert (still.max() - still.min()).to_numpy().max() == 0
    options = ["--drift-nm-per-s", "0", "1", "--frame-interval-s", "0.5", "--diffusion-nm2-per-s", "0"]
    assert main([*command, *options]) == 0
    assert "do not move" not in capsys.readouterr().out
    moved = pd.read_csv(here / "simulated" / "scene_tracks.csv").groupby("particle")["x"]
    pixel = simulate.SceneConfig().pixel_size_nm
    longest = (moved.max() - moved.min()).max()
    assert longest == pytest.approx(3 * 0.5 / pixel, rel=0.01)
    assert main([*command, "--coalescence", "--diffusion-nm2-per-s", "-1"]) == 2


@pytest.mark.parametrize(
    ("command", "unnamed"),
    [
        ("simulate frame --peak-counts 50", set()),
        ("simulate frame", set()),
        ("simulate scan --ratio 0.2", set()),
        ("simulate movie --frames 3 --ratio 0.2", {"scene_paths/frame_0001.csv"}),
        ("simulate movie --frames 1 --ratio 0.2", set()),
    ],
)
def test_every_file_that_is_written_is_named(here, capsys, command, unnamed):
    assert main([*command.split(), *SMALL, "--shape", "64", "64", "--out", "out"]) == 0
    told = capsys.readouterr().out.replace(" to frame_0002.csv", ", out/scene_paths/frame_0002.csv").split()
    named = {word.rstrip(",") for word in told if word.startswith("out/")}
    written = {file.relative_to(here).as_posix() for file in (here / "out").rglob("*") if file.is_file()}
    assert named == written - {f"out/{name}" for name in unnamed}


@pytest.mark.parametrize("scheme", ["random", "poisson-disc"])
def test_a_simulated_scan_can_be_drawn_again_from_its_file(here, scheme):
    assert main(["simulate", "scan", "--scheme", scheme, *SMALL, "--shape", "64", "64", "--seed", "5"]) == 0
    path = simulate.read_scan(here / "simulated" / "scene_path.csv")
    assert path.seed == 5
    again = simulate.scan_path(path.scheme, path.shape, 0.1, rng=path.seed)
    np.testing.assert_array_equal(path.flat, again.flat)
    assert run(f"scan {scheme} --shape 64 64 --seed 5 --out scan.csv") == 0
    assert (here / "scan.csv").read_bytes() == (here / "simulated" / "scene_path.csv").read_bytes()


@pytest.mark.parametrize("masks", ["fixed", "changing", "interleaved"])
def test_a_simulated_movie_has_a_path_for_each_frame(here, masks):
    command = ["simulate", "movie", *SMALL, "--shape", "64", "64", "--masks", masks, "--ratio", "0.25"]
    assert main([*command, "--frames", "4"]) == 0
    assert main([*command, "--frames", "3"]) == 0
    files = sorted((here / "simulated" / "scene_paths").iterdir())
    assert [file.name for file in files] == ["frame_0000.csv", "frame_0001.csv", "frame_0002.csv"]
    scans = np.isfinite(tifffile.imread(here / "simulated" / "scene_scan.tif"))
    for file, mask in zip(files, scans, strict=True):
        path = simulate.read_scan(file)
        np.testing.assert_array_equal(path.mask, mask)
        if masks == "fixed":
            np.testing.assert_array_equal(path.flat, simulate.scan_path("random", (64, 64), 0.25, rng=path.seed).flat)


def test_a_file_type_that_is_none_is_refused_before_anything_is_said(here, capsys):
    assert run("scan random --compare --shape 32 32 --out path.txt") == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "path.txt: unknown file type '.txt'; expected a name that ends in .csv" in told.err
    assert "format=" not in told.err


def test_scan_coordinates_come_with_an_info_file_that_is_named_and_knows_the_pixel_size(here, capsys):
    assert run("scan random --shape 32 32 --pixel-size-nm 0.4 --out lot/X_scan_coordinates.csv") == 0
    told = capsys.readouterr().out
    assert "Coordinates: lot/X_scan_coordinates.csv\nInfo: lot/X_info.txt\n" in told
    assert read_info(here / "lot" / "X_info.txt") == ((32, 32), (0.4, 0.4))


@pytest.mark.parametrize(
    ("command", "words"),
    [("scan", "(default 512 512; of --gallery 96 96)"), ("simulate scan", "(default 256 256)")],
)
def test_the_help_tells_the_shape_that_is_meant(capsys, command, words):
    with pytest.raises(SystemExit):
        command_line_parser().parse_args([*command.split(), "--help"])
    assert f"frame shape in pixels {words}" in " ".join(capsys.readouterr().out.split())


def test_run_sub_samples_adaptively(here):
    scene = simulate.make_scene(simulate.SceneConfig(shape=(64, 64), n_particles=4), rng=0)
    cs_recon.write_image(here / "frame.tif", scene.frame, pixel_size_nm=0.5)
    assert run("reconstruct frame.tif --ratio 0.1 --scheme adaptive --peak-counts 50 --out out") == 0
    assert cs_recon.read(here / "out" / "frame_reconstruction.tif").shape == (64, 64)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("scan", "no scheme was named"),
        ("scan spirall", "did you mean 'spiral'"),
        ("scan random --ratio 0", "sampling ratio is 0"),
        ("scan random --dwell-us 0", "dwell time is 0"),
        ("scan random --dwell-us 1e308", "dwell time is 1e+308"),
        ("scan random --dwell-us 1e-320", "expected a finite number from 1e-06"),
        ("scan --compare --beam-current-pA 0", "beam current is 0"),
        (f"scan random --shape {'9' * 400} 64", "expected two whole numbers"),
        (f"simulate frame --n-particles {'9' * 400}", "expected a whole number"),
        ("simulate frame --n-particles 100000000000 --arrangement random", "expected at most 1e+06"),
        ("simulate frame --pixel-size-nm 1e12 --diameter-nm 1e13", "is it in another unit?"),
        ("scan random --hardware slw", "did you mean 'slow'"),
        ("scan random --reorder hilbrt", "did you mean 'hilbert'"),
        ("scan lines --shape 32 32 --ratio 0.001", "at least"),
        ("scan adaptive", "needs weights"),
        ("scan random --shape 4 4", "at least 8 x 8"),
        ("scan random --out scan.xyz", "xyz"),
        ("scan random --beam-current-pA -1", "beam current"),
        ("scan random --picture scan.xyz", "expected a file name that ends in"),
        ("scan --gallery .", "expected a file name that ends in"),
        ("simulate scan --scheme adaptive --reorder hilbert", "leave it out"),
        ("simulate movie --frames 2 --reorder nonsense", "unknown order"),
        ("scan --compare --out scan.csv", "of one scheme and none was named"),
        ("simulate frame --pixel-size-nm 50", "smaller than 2 pixels"),
        ("simulate frame --n-particles 99999", "expected at most"),
        ("simulate frame --n-particles -1", "n_particles is -1"),
        ("simulate frame --diameter-nm -3", "diameter_nm is -3"),
        ("simulate frame --materials Gold", "known: C"),
        ("simulate frame --mode haadff", "did you mean 'haadf'"),
        ("simulate frame nothing.toml", "nothing.toml"),
        ("simulate frame --seed -1", "seed is -1"),
        ("simulate frame --peak-counts 5 --beam-current-pA 5", "give one of them"),
        ("simulate scan --scheme variable-density", "needs weights"),
        ("simulate movie --frames 0", "n_frames is 0"),
        ("simulate movie --scheme spiral --masks interleaved", "spiral"),
        ("run x.tif --scheme variable-density --ratio 0.1", "needs weights"),
    ],
)
def test_bad_input_is_one_line(here, capsys, command, words):
    assert words in error_of(capsys, command)
    assert not list(here.rglob("*.part*"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("n_particle = 3\n", "did you mean 'n_particles'"),
        ("[support]\nholes = 1\n", "unknown key 'holes'"),
        (f"pixel_size_nm = {'9' * 400}\n", "too large"),
        (f"pixel_size_nm = {'9' * 5000}\n", "not valid TOML"),
        (f"shape = {'[' * 3000}{']' * 3000}\n", "nested too deeply"),
        ("[support]\nramp = 1e300\n", "support: ramp is 1e+300"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(here, capsys, text, words):
    (here / "scene.toml").write_text(text)
    assert words in error_of(capsys, "simulate frame scene.toml")


def test_the_gallery_draws_every_scheme(here):
    picture = schemes_figure(here / "all.png", shape=(32, 32), ratio=0.2)
    assert picture.stat().st_size > 30_000


def test_the_order_of_a_scan_is_seen_from_its_first_pixel_on():
    axes = Figure().subplots()
    draw_path(axes, simulate.scan_path("raster", (8, 8), 0.5))
    first, *_, last = (_luminance(colour) for colour in axes.images[0].get_cmap()(np.linspace(0, 1, 256)))
    assert (first + 0.05) / (_luminance(to_rgb(UNSCANNED)) + 0.05) > 2
    assert (last + 0.05) / (first + 0.05) > 4


def _luminance(colour):
    """WCAG's relative luminance."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    return np.dot(linear, (0.2126, 0.7152, 0.0722))


def test_a_masks_spectrum_is_one_for_independent_pixels_and_peaks_for_a_grid():
    rng = np.random.default_rng(0)
    power = np.mean([mask_spectrum(rng.random((64, 64)) < 0.2) for _ in range(50)], axis=0)
    assert np.delete(power.ravel(), 32 * 64 + 32).mean() == pytest.approx(1, abs=0.02)
    assert power[32, 32] == 0
    grid = np.zeros((64, 64), dtype=bool)
    grid[::4, ::4] = True
    peaks = np.argwhere(mask_spectrum(grid) > 1)
    assert len(peaks) == 15
    assert (peaks % 16 == 0).all()


def test_the_benchmark_prints_a_row_for_every_scheme(here, capsys):
    assert run("bench simulate --side 64 --out bench") == 0
    out = capsys.readouterr().out
    assert "a second in two processes" in out
    rows = pd.read_csv(here / "bench" / "schemes.csv")
    assert set(rows.scheme) == set(simulate.schemes.names)
    assert (rows.seconds > 0).all()


@pytest.mark.parametrize("options", ["--peak-counts 0", "--peak-counts 5 --dwell-us -1", "--beam-current-pA 1e30"])
def test_a_bad_dose_leaves_nothing_behind(here, capsys, options):
    error_of(capsys, f"simulate frame --n-particles 3 --shape 64 64 {options} --out out")
    assert not (here / "out").exists()


def test_an_unblanked_beam_doses_adaptive_scans_too(here, capsys):
    command = "simulate scan --scheme adaptive --n-particles 3 --shape 64 64 --beam-current-pA 50"
    assert run(command) == 0
    blanked = capsys.readouterr().out
    assert run(f"{command} --unblanked") == 0
    electrons = [float(text.split(" electrons a frame")[0].split()[-1]) for text in (blanked, capsys.readouterr().out)]
    assert electrons[1] > 1.1 * electrons[0]


def test_odd_names_give_one_stem(here, capsys):
    assert run("simulate scan --n-particles 3 --shape 64 64 --peak-counts 10 --name x/y --out out") == 0
    stems = {file.name.rsplit("_", 1)[0] for file in (here / "out").rglob("*") if file.is_file()}
    assert stems == {"x_y"}
    assert "x_y_scan.npz" in capsys.readouterr().out


@pytest.mark.parametrize(
    "make",
    [
        lambda: simulate.CrystalConfig(thickness_nm=2e9),
        lambda: simulate.CrystalConfig(pixel_size_nm=1e-7),
        lambda: simulate.CrystalConfig(n_grains=True),
        lambda: simulate.CrystalConfig(z_exponent=1e300),
        lambda: simulate.Distortion(line_flicker=1e200),
        lambda: simulate.MovieConfig(n_frames=10**30),
        lambda: list(simulate.movie_paths("random", (32, 32), 0.2, float("nan"))),
        lambda: list(simulate.movie_paths("random", (32, 32), 0.2, None)),
        lambda: simulate.ScanPath([1, 2], [1, 2], (8, 8), dwell_us=[1.0, 1e300]),
        lambda: simulate.measure(
            np.eye(8), simulate.ScanPath([1] * 10_000, [1] * 10_000, (8, 8)), peak_counts=1e15, rng=0
        ),
    ],
)
def test_absurd_numbers_are_refused_at_once(make):
    with pytest.raises(simulate.InputError, match="expected"):
        make()


def test_whole_numbers_of_any_type_count():
    assert simulate.CrystalConfig(n_grains=np.int64(2)).n_grains == 2
    assert len(simulate.Movie(simulate.MovieConfig(n_frames=3.0), 0)) == 3
    assert simulate.SceneConfig(shapes=["sphere"]) == simulate.SceneConfig(shapes=("sphere",))


def test_what_an_earlier_scene_left_does_not_pass_for_this_ones(here):
    scene = "--n-particles 3 --shape 64 64 --name a --out out"
    assert run(f"simulate frame --peak-counts 5 --seed 1 {scene}") == 0
    assert (here / "out" / "a_noisy.tif").exists()
    assert run("simulate scan --scheme random --ratio 0.2 --n-particles 3 --name a --out out") == 0
    assert not (here / "out" / "a_noisy.tif").exists()
    assert run(f"simulate frame --seed 2 {scene}") == 0
    assert {file.name for file in (here / "out").iterdir()}.isdisjoint({"a_noisy.tif", "a_scan.npz", "a_path.csv"})
