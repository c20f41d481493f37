"""The report of a study: curves with bands, equal cost, the smallest particle, and a page that a browser can show."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from cs_recon.config import from_table
from cs_recon.io import write_provenance
from segmentation.cli.main import main
from segmentation.study import (
    FrameChoice,
    ScanChoice,
    StudyConfig,
    bands,
    equal_cost,
    falls,
    smallest_found,
    sweep,
    write_report,
)  # fmt: skip
from segmentation.study.config import study_record
from segmentation.study.curves import findings
from segmentation.study.report_figures import COLOURS, SCORE_LIMITS, draw_curves, draw_smallest, panel_schemes
from segmentation.study.store import RowStore
from simulate import InputError, SceneConfig

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
CONFIG = StudyConfig(
    ratios=(0.1, 0.4, 1.0),
    doses=(30.0,),
    reconstructors=("linear",),
    segmenters=("threshold",),
    equal_cost=("dose", "time"),
    frames=FrameChoice(n=3, size=64),
    scan=ScanChoice(beam_current_pA=20.0, read_noise_counts=1.0),
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return folder, sweep(CONFIG, folder)


def curve(values, ratios=(0.1, 0.2, 0.4), frames=8, noise=0.01, **fields):
    rng = np.random.default_rng(1)
    return pd.DataFrame([
        {"frame": frame, "ratio": ratio, "y": value + noise * rng.normal(), "error": "", **fields}
        for ratio, value in zip(ratios, values, strict=True)
        for frame in range(frames)
    ])  # fmt: skip


@pytest.mark.parametrize("frames", [3, 8, 25])
def test_bands_hold_the_true_mean_as_often_as_they_say(frames):
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(200):
        rows = pd.DataFrame({"y": rng.normal(5.0, 1.0, frames), "error": "", "g": 1})
        one = bands(rows, "y", ["g"], level=0.9, n_boots=400, rng=trial).iloc[0]
        held += one["low"] <= 5.0 <= one["high"]
        assert one["low"] < one["mean"] < one["high"]
    assert 0.85 < held / 200 < 0.95


def test_bands_leave_out_failed_cases_and_what_is_not_finite():
    rows = pd.DataFrame({"y": [1.0, 3.0, np.nan, np.inf, 99.0], "error": ["", "", "", "", "InputError: x"], "g": 1})
    one = bands(rows, "y", ["g"]).iloc[0]
    assert (one["mean"], one["frames"]) == (2.0, 2)
    assert np.isnan(bands(rows[:1], "y", ["g"])["low"]).all()


def test_only_falls_beyond_the_bands_are_told():
    steady = bands(curve([0.5, 0.6, 0.7], way="a"), "y", ["way", "ratio"])
    assert falls(steady, "ratio", ["way"]) == []
    assert len(falls(steady, "ratio", ["way"], more_is_better=False)) == 2
    dip = bands(curve([0.5, 0.7, 0.6], way="a"), "y", ["way", "ratio"])
    (told,) = falls(dip, "ratio", ["way"])
    assert re.match(r"a: worse at 0.4 \(0\.6.*\) than at 0.2 \(0\.7", told)
    within = bands(curve([0.5, 0.61, 0.6], way="a", noise=0.1), "y", ["way", "ratio"])
    assert falls(within, "ratio", ["way"]) == []


def paired(gain, frames=10):
    rng = np.random.default_rng(2)
    base = {"paired_scheme": "random", "paired_ratio": 0.1, "peak_counts": 20.0, "segmenter": "s", "error": ""}
    rows = []
    for frame in range(frames):
        level = rng.uniform(0.2, 0.8)  # frames differ far more than scans of one
        rows.append({**base, "frame": frame, "pairing": "", "ratio": 0.1, "mapping": "reconstruct", "recon": "r",
                     "y": level + gain + 0.01 * rng.normal()})  # fmt: skip
        rows.append({**base, "frame": frame, "pairing": "dose", "ratio": 1.0, "mapping": "reconstruct",
                     "recon": "full-scan", "y": level})  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("gain", "verdict"), [(0.1, "sparse scan wins"), (-0.1, "full scan wins"), (0, "no difference")]
)
def test_scans_of_equal_cost_are_compared_frame_by_frame(gain, verdict):
    (one,) = equal_cost(paired(gain), "y").to_dict("records")
    assert one["verdict"] == verdict
    assert one["difference"] == pytest.approx(gain, abs=0.01)
    assert one["low"] <= one["difference"] <= one["high"]
    assert verdict in findings(pd.DataFrame([one]))[0]


def test_the_better_denoised_full_scan_is_the_rival():
    rows = paired(0.1)
    rival = rows[rows["pairing"] == "dose"]
    better = rival.assign(recon="r", y=rival["y"] + 0.2)
    others = rival.assign(recon="another network", y=1.0)
    one = equal_cost(pd.concat([rows, better, others]), "y").iloc[0]
    assert (one["full_recon"], one["verdict"], one["frames"]) == ("r", "full scan wins", 10)
    worse = equal_cost(pd.concat([rows, better.assign(y=0.0)]), "y").iloc[0]
    assert (worse["full_recon"], worse["verdict"]) == ("full-scan", "sparse scan wins")


def test_a_failed_scan_of_a_pair_counts_as_nothing():
    rows = paired(0.0)
    rows.loc[rows["pairing"] == "dose", "error"] = "InputError: all values are equal"
    one = equal_cost(rows, "y").iloc[0]
    assert one["full"] == 0
    assert one["verdict"] == "sparse scan wins"


def sizes(middle, slope=6.0, frames=12, particles=60, seed=3):
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(frames):
        diameters = np.exp(rng.uniform(np.log(3), np.log(40), particles))
        chance = 1 / (1 + np.exp(-slope * (np.log(diameters) - np.log(middle))))
        rows.append({"true_diameters_px": diameters, "true_found": (rng.random(particles) < chance).astype(float),
                     "n_true": particles, "error": "", "g": middle})  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize("middle", [6.0, 12.0, 20.0])
def test_the_smallest_particle_is_where_the_law_has_it(middle):
    half = smallest_found(sizes(middle), ["g"]).iloc[0]
    assert half["diameter_px"] == pytest.approx(middle, rel=0.1)
    assert half["low"] < middle < half["high"]
    most = smallest_found(sizes(middle), ["g"], share=0.9).iloc[0]
    assert most["diameter_px"] == pytest.approx(middle * 9 ** (1 / 6), rel=0.15)


@pytest.mark.parametrize(("middle", "limit", "diameter"), [(0.1, "all are found", 3.0), (900, "none is found", 40.0)])
def test_where_all_or_none_are_found_the_limits_are_told(middle, limit, diameter):
    one = smallest_found(sizes(middle), ["g"]).iloc[0]
    assert one["limit"] == limit
    assert one["diameter_px"] == pytest.approx(diameter, rel=0.1)


def test_the_band_of_the_smallest_holds_it_also_of_few_frames():
    """95 % asked for; a bare bootstrap of two frames holds half."""
    bands = [smallest_found(sizes(8.0, frames=2, seed=seed), ["g"], rng=seed).iloc[0] for seed in range(100)]
    assert 0.85 < np.mean([one["low"] < 8.0 < one["high"] for one in bands]) < 0.99
    alone = smallest_found(sizes(8.0, frames=1), ["g"]).iloc[0]
    assert alone[["low", "high"]].isna().all()
    assert alone["diameter_px"] == pytest.approx(8.0, rel=0.2)


def test_a_share_that_is_none():
    with pytest.raises(InputError, match="expected a share"):
        smallest_found(sizes(6.0), ["g"], share=1.0)


def test_the_report_holds_its_figures_and_needs_nothing_else(study):
    folder, _ = study
    page = write_report(folder).read_text(encoding="utf-8")
    assert len(re.findall(r'<img src="data:image/png;base64,', page)) == 5
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert "<script" not in page
    for title in ("Accuracy against sampling ratio", "Equal cost", "Smallest particle", "Examples", "Provenance"):
        assert f">{title}</h2>" in page
    figures = {path.name for path in (folder / "figures").iterdir()}
    names = ("accuracy", "psnr", "equal-cost", "smallest", "examples")
    assert figures == {f"{name}.{kind}" for name in names for kind in ("png", "svg")}


def test_tables_are_written_with_all_digits(study):
    folder, rows = study
    write_report(folder, examples=False)
    tables = {path.stem: pd.read_csv(path) for path in (folder / "tables").glob("*.csv")}
    assert tables.keys() == {"accuracy", "equal-cost", "smallest", "means"}
    one = tables["accuracy"].iloc[-1]
    cell = rows[
        (rows["pairing"] == "") & (rows["scheme"] == one["scheme"]) & (rows["ratio"] == one["ratio"])
        & (rows["peak_counts"] == one["peak_counts"]) & (rows["model"] == one["model"])
    ]  # fmt: skip
    assert one["mean"] == pytest.approx(cell["average_precision@0.5"].mean(), rel=1e-12)
    assert one["frames"] == len(cell)


def test_of_a_study_run_again_with_other_weights_the_last_rows_count(study, tmp_path):
    _, rows = study
    RowStore(tmp_path).add(rows.assign(key="old-" + rows["key"], error="RuntimeError: of before").to_dict("records"))
    RowStore(tmp_path).merge()
    RowStore(tmp_path).add(rows.to_dict("records"))
    write_provenance(tmp_path / "study.json", {"keys": rows["key"].to_list()})
    page = write_report(tmp_path, examples=False).read_text(encoding="utf-8")
    assert f"{len(rows)} cases on" in page
    assert f"{len(rows)} rows in the folder are of other studies or other weights" in page
    assert "of before" not in page
    write_provenance(tmp_path / "study.json", {"keys": ["another"]})
    with pytest.raises(InputError, match="is of the study of its study"):
        write_report(tmp_path, examples=False)


def test_studies_that_share_a_folder_are_reported_apart(tmp_path):
    config = StudyConfig(
        ratios=(0.1, 0.3), doses=(50,), reconstructors=("linear",), segmenters=("threshold",),
        frames=FrameChoice(n=2, size=64),
    )  # fmt: skip
    noisy = replace(config, scan=replace(config.scan, read_noise_counts=30.0))
    alone = sweep(config, tmp_path)["psnr_db"].mean()
    sweep(noisy, tmp_path)
    sweep(config, tmp_path)
    write_report(tmp_path, examples=False)
    assert pd.read_csv(tmp_path / "tables" / "means.csv")["psnr_db"].mean() == pytest.approx(alone)


@pytest.mark.parametrize("text", ["[1]", "null", "5", '{"study": []}', '{"study": null, "keys": 3}', "no JSON"])
def test_a_damaged_provenance_costs_no_report(study, tmp_path, text):
    RowStore(tmp_path).add(study[1].to_dict("records"))
    (tmp_path / "study.json").write_text(text)
    assert "No case of this study is at hand" in write_report(tmp_path).read_text(encoding="utf-8")


def test_curves_that_fall_at_the_full_scan_or_of_sparse_rasters_are_told(study, tmp_path):
    rows = pd.concat([
        study[1].iloc[:1].assign(
            key=f"{scheme}-{ratio}-{frame}", frame=f"f{frame}", scheme=scheme, ratio=ratio, pairing="", error="",
            **{"average_precision@0.5": value + 0.001 * frame},
        )
        for scheme, ratio, value in [("random", 0.25, 0.5), ("random", 0.5, 0.9), ("raster", 0.25, 0.9),
                                     ("raster", 0.5, 0.3), ("raster", 1.0, 0.2)]
        for frame in range(8)
    ])  # fmt: skip
    RowStore(tmp_path).add(rows.to_dict("records"))
    page = write_report(tmp_path, examples=False).read_text(encoding="utf-8")
    assert "random" in page.split("worse at 1 (")[0].rsplit("<li>", 1)[1]
    assert "worse at 0.5 (0.3" in page


def test_a_scene_is_told_of_only_where_it_is_drawn(study):
    page = write_report(study[0], examples=False).read_text(encoding="utf-8")
    record = json.loads(unescape(re.findall("<pre>(.*?)</pre>", page, re.S)[-1]))
    assert record["study"]["frames"]["generator"] == "ordinary"
    assert "scene" not in record["study"]["frames"]
    drawn = replace(CONFIG, frames=replace(CONFIG.frames, generator="scene", scene=SceneConfig(n_particles=3)))
    for config, told in ((CONFIG, False), (drawn, True)):
        table = json.loads(json.dumps(study_record(config)))
        assert ("scene" in table["frames"]) == told
        assert from_table(table, StudyConfig, "here") == config


def test_text_from_outside_is_escaped(study, tmp_path):
    _, rows = study
    evil = rows.copy()
    evil["frame"], evil["scheme"] = "<script>alert(1)</script>", "<b>random</b>"
    evil.loc[0, "error"] = "<img src=x onerror=alert(1)>"
    RowStore(tmp_path).add(evil.to_dict("records"))
    (tmp_path / "study.json").write_text('{"command": "<script>alert(2)</script>"}')
    page = write_report(tmp_path, examples=False).read_text(encoding="utf-8")
    assert not re.search("<script|<b>|<img src=x", page)


def test_reports_of_unfinished_studies(study, tmp_path):
    _, rows = study
    failed = rows.assign(error="InputError: nothing there")
    RowStore(tmp_path).add(failed.to_dict("records"))
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "No case has succeeded yet" in page
    assert "InputError: nothing there" in page
    one = tmp_path / "one"
    one.mkdir()
    RowStore(one).add(rows[(rows["pairing"] == "") & (rows["ratio"] == 0.1)][:1].to_dict("records"))
    page = write_report(one).read_text(encoding="utf-8")
    assert "no fast full scans beside" in page
    with pytest.raises(InputError, match="no rows of a study"):
        write_report(tmp_path / "figures")


def test_the_command(study, tmp_path, capsys):
    folder, _ = study
    assert main(["report", str(folder), "--out", str(tmp_path / "there"), "--no-examples"]) == 0
    assert (tmp_path / "there" / "report.html").exists()
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert "no rows of a study" in capsys.readouterr().err


@pytest.mark.skipif(not CHROMIUM, reason="needs the browser chromium")
def test_a_browser_shows_every_figure_and_has_nothing_to_complain_of(study, tmp_path):
    report = write_report(study[0])
    page = report.read_text(encoding="utf-8")
    # Counts the pictures that were decoded, in the page's own title.
    count = "[...document.images].filter(one => one.complete && one.naturalWidth > 0).length"
    probe = f"<script>onload = () => {{ document.title = {count} }}</script>"
    (tmp_path / "probed.html").write_text(page.replace("</body>", f"{probe}</body>"), encoding="utf-8")
    options = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", "--virtual-time-budget=5000",
        f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--dump-dom",
    ]  # fmt: skip
    run = subprocess.run(
        [CHROMIUM, *options, (tmp_path / "probed.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert re.search(r"<title>5</title>", run.stdout)
    assert not [line for line in run.stderr.splitlines() if "CONSOLE" in line]


def test_curves_that_coincide_are_all_seen():
    ways = [("linear", f"model {index}") for index in range(len(COLOURS))]
    for first, second in pairwise(range(len(ways))):
        rows = pd.concat([
            curve((0.5, 0.6, 0.7) if index in (first, second) else (0.1, 0.1, 0.1), pairing="", scheme="random",
                  peak_counts=50.0, recon=recon, model=model)
            for index, (recon, model) in enumerate(ways)
        ])  # fmt: skip
        figure = Figure(figsize=(6, 4), layout="constrained", dpi=130)
        canvas = FigureCanvasAgg(figure)
        draw_curves(figure, rows, "y", "score")
        canvas.draw()
        height = figure.bbox.height
        # Where the two run, above the others and the legend.
        (left, low), (right, high) = figure.axes[0].transData.transform([(12, 0.4), (38, 0.8)]).astype(int)
        seen = np.asarray(canvas.buffer_rgba())[int(height) - high : int(height) - low, left:right, :3].astype(int)
        for index in (first, second):
            colour = np.rint(255 * np.array(to_rgb(COLOURS[index])))
            assert (np.abs(seen - colour).max(axis=-1) < 24).sum() > 30, f"{index} of {first} and {second}"


@pytest.mark.parametrize("width", [4.0, 5.0, 12.0])
def test_legends_of_long_names_stay_within_the_figure(width):
    rows = pd.concat([
        curve((0.3, 0.5, 0.7), pairing="", scheme="random", peak_counts=50.0, recon=recon, model=model)
        for recon in ("linear", "unrolled-ista:preset=fast")
        for model in ("threshold", "mask-rcnn-features")
    ])  # fmt: skip
    figure = Figure(figsize=(width, 4), layout="constrained")
    FigureCanvasAgg(figure)
    draw_curves(figure, rows, "y", "score")
    figure.canvas.draw()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width


def test_sparse_rasters_have_a_panel_of_their_own_and_full_scans_are_in_all():
    common = {"pairing": "", "peak_counts": 50.0, "recon": "linear", "model": "threshold"}
    rows = pd.concat([
        curve((0.2, 0.4), (0.1, 0.3), scheme="raster", **common),
        curve((0.5, 0.7), (0.1, 0.3), scheme="random", **common),
        curve((0.9,), (1.0,), scheme="raster", **common),
    ])  # fmt: skip
    small = rows.drop_duplicates(["scheme", "ratio"]).assign(low=2.0, high=4.0, diameter_px=3.0, limit="")
    for draw in (lambda figure: draw_curves(figure, rows, "y", "score"), lambda figure: draw_smallest(figure, small)):
        figure = Figure(figsize=(6, 4), layout="constrained")
        draw(figure)
        assert [axes.get_title().split(",")[0] for axes in figure.axes] == ["raster", "random"]
        for axes in figure.axes:
            np.testing.assert_allclose(axes.lines[0].get_xdata(), [10, 30, 100])
    assert panel_schemes(rows[rows["ratio"] == 1]) == ["raster"]


def test_bands_of_few_frames_do_not_stretch_the_axis_of_a_score():
    which = {"pairing": "", "scheme": "random", "peak_counts": 50.0, "recon": "a", "model": "b"}
    rows = curve((0.1, 0.5, 0.9), frames=2, noise=0.3, **which)
    figure = Figure(layout="constrained")
    table = draw_curves(figure, rows.assign(y=rows["y"].clip(0, 1)), "y", "score")
    assert table["high"].max() > 1.5
    assert figure.axes[0].get_ylim() == SCORE_LIMITS
    drawn = figure.axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert (drawn.min(), drawn.max()) == (0, 1)
