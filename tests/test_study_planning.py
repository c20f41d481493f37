"""Planning from end to end, with quick classical methods: the study, what it learns, and what the command writes."""

import json
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from segmentation.cli.main import _parser as command_line_parser
from segmentation.cli.main import main
from segmentation.cli.plan import _study
from segmentation.instances import Instances
from segmentation.study import (
    FrameChoice,
    ScanChoice,
    StudyConfig,
    Target,
    Wish,
    describe_plan,
    plan,
    plan_from_rows,
    preset,
    read_rows,
    scene_like,
    sweep,
)
from segmentation.study.frames import frame_specs, load_frame
from segmentation.study.planner import WAY
from segmentation.study.planning import full_scan_doses
from segmentation.study.promise import cheapest, keep_promises
from segmentation.study.response import LEAST_FRAMES
from simulate import InputError, SceneConfig, make_scene, measure, read_scan, scan_path
from simulate.support import Support

SCENE = SceneConfig(shape=(64, 64), pixel_size_nm=0.5, n_particles=6, diameter_nm=6.0, diameter_spread=0.1)
CONFIG = StudyConfig(
    ratios=(0.1, 0.4),
    doses=(20.0, 300.0),
    reconstructors=("linear",),
    segmenters=("threshold",),
    frames=FrameChoice(generator="scene", scene=SCENE, n=4),
    scan=ScanChoice(beam_current_pA=20.0),
)
WISH = Wish((Target("f1", 0.5),))
SCENE_TOML = "shape = [64, 64]\npixel_size_nm = 0.5\nn_particles = 6\ndiameter_nm = 6.0\n"
OPTIONS = [
    "--frames", "4", "--schemes", "random", "--ratios", "0.1", "0.4", "--doses", "20", "300",
    "--reconstructors", "linear", "--segmenters", "threshold", "--rounds", "0",
]  # fmt: skip


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    return folder, *plan(CONFIG, WISH, folder, rounds=1)


def test_scenes_of_a_study_are_of_its_configuration_and_all_different():
    frames = [load_frame(spec) for spec in frame_specs(CONFIG.frames)]
    assert {frame.image.shape for frame in frames} == {(64, 64)}
    assert {frame.pixel_size_nm for frame in frames} == {0.5}
    assert len({frame.image.tobytes() for frame in frames}) == 4


def test_a_plan_studies_full_scans_of_all_doses_beside_the_sparse_ones(planned):
    _, found, rows = planned
    assert set(rows.loc[rows["ratio"] == 1, "peak_counts"]) >= set(full_scan_doses(CONFIG))
    assert {way.way[:2] for way in found.ways} == {("random", "linear"), ("raster", "linear"), ("raster", "full-scan")}
    assert found.in_electrons
    assert rows["key"].is_unique


def test_cases_that_were_wanted_are_studied_and_the_same_answer_comes_from_the_rows(planned):
    _, found, rows = planned
    first = plan_from_rows(rows[rows["ratio"].isin([0.1, 0.4, 1.0])], WISH, CONFIG.scan, (64, 64), pixel_size_nm=0.5)
    for scheme, ratio, counts in first.wanted:
        there = (rows["scheme"] == scheme) & np.isclose(rows["ratio"], ratio) & np.isclose(rows["peak_counts"], counts)
        assert there.sum() >= 4
    again = plan_from_rows(rows, WISH, CONFIG.scan, (64, 64), pixel_size_nm=0.5)
    assert describe_plan(again) == describe_plan(found)


def test_an_adaptive_plan_says_that_its_positions_come_while_scanning(planned):
    found = planned[1]
    assert "adaptive_scan" not in describe_plan(found)
    guided = replace(found, choices=(replace(found.best, scheme="adaptive"), *found.choices[1:]))
    assert "scan by simulate.adaptive_scan" in describe_plan(guided)


def test_planning_again_runs_nothing_twice(planned, monkeypatch):
    folder, found, _ = planned
    monkeypatch.setattr(
        sys.modules["segmentation.study.sweep"], "run_job", lambda *_, **__: pytest.fail("ran a case again")
    )
    harder, _ = plan(CONFIG, replace(WISH, targets=(Target("ssim", 1.0),)), folder, rounds=0)
    assert not harder.reached
    assert "cannot be reached" in describe_plan(harder)
    same, _ = plan(CONFIG, WISH, folder, rounds=0)
    assert same.best.dose <= 1.5 * found.best.dose


def test_a_plan_needs_noise():
    with pytest.raises(InputError, match="a dose of the study is 0"):
        plan(replace(CONFIG, doses=(0.0, 20.0)), WISH, "unused")


def test_too_few_frames_are_refused_before_anything_is_studied(tmp_path, monkeypatch, capsys):
    images = tmp_path / "real" / "images"
    for folder in (images, images.parent / "labels"):
        folder.mkdir(parents=True)
        for index in range(LEAST_FRAMES - 1):
            Image.fromarray(np.eye(64, dtype=np.uint8) * (index + 1)).save(folder / f"{index}.png")
    few = FrameChoice(n=LEAST_FRAMES - 1)
    monkeypatch.setattr("segmentation.study.planning.sweep", lambda *_, **__: pytest.fail("the study has begun"))
    monkeypatch.setattr("segmentation.cli.plan._particles", lambda *_: pytest.fail("the frame is looked at"))
    for frames in (few, FrameChoice(n=0, folders=(str(images.parent),))):
        with pytest.raises(InputError, match="the study has 3 frames; expected 4 or more"):
            plan(replace(CONFIG, frames=frames), WISH, tmp_path / "out")
    options = ["plan", "--target", "f1>0.5", "--frames", "3", "--out", str(tmp_path / "out")]
    for more in ([], ["--like", "frame.tif"]):
        assert main([*options, *more]) == 2
        assert "the study has 3 frames; expected 4 or more" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_help_tells_how_few_frames_will_do(capsys):
    with pytest.raises(SystemExit):
        command_line_parser().parse_args(["plan", "--help"])
    assert f"frames are studied (at least {LEAST_FRAMES})" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("texture", [0.02, 0.1])
@pytest.mark.parametrize("counts", [None, 200.0])
@pytest.mark.parametrize(("material", "film_nm"), [("Au", 10.0), ("TiO2", 40.0)])
def test_scenes_have_the_grain_of_the_film_and_not_the_halo_of_particles(material, film_nm, counts, texture):
    support = Support(thickness_nm=film_nm, texture=texture, texture_nm=1.0, ramp=0.1)
    config = SceneConfig(shape=(192, 192), pixel_size_nm=0.5, n_particles=15, diameter_nm=8.0, materials=(material,),
                         support=support)  # fmt: skip
    found = []
    for seed in range(3):
        scene = make_scene(config, rng=seed)
        image = scene.frame
        if counts:
            image = measure(image, scan_path("raster", image.shape), peak_counts=counts, rng=seed).values
        found.append(scene_like(image, Instances(scene.labels, pixel_size_nm=0.5)).support.texture)
    assert np.mean(found) == pytest.approx(texture, rel=0.25)


def test_scenes_are_like_the_frame():
    config = SceneConfig(
        shape=(300, 400), pixel_size_nm=0.4, n_particles=90, diameter_nm=6.0, diameter_spread=0.2, shapes=("sphere",),
        support=Support(thickness_nm=40.0),
    )  # fmt: skip
    scene = make_scene(config, rng=4)
    like = scene_like(scene.frame, Instances(scene.labels, pixel_size_nm=0.4))
    assert like.shape == (256, 256)
    assert like.mode == "haadf"
    assert like.arrangement == "hard-core"
    assert like.n_particles == pytest.approx(90 * 256 * 256 / (300 * 400), rel=0.15)
    assert like.diameter_nm == pytest.approx(6.0, rel=0.1)
    assert like.diameter_spread == pytest.approx(0.2, abs=0.06)
    again = make_scene(like, rng=1)
    contrasts = [np.median(one.frame[one.labels > 0]) / np.median(one.frame[one.labels == 0]) for one in (scene, again)]
    assert contrasts[0] == pytest.approx(contrasts[1], rel=0.35)
    dark = scene_like(scene.frame.max() - scene.frame, Instances(scene.labels, pixel_size_nm=0.4))
    assert dark.mode == "bf"


@pytest.mark.parametrize("contrast", [-0.1, -0.3, -0.6, 0.1, 0.6, 3.0, 30.0])
def test_scenes_have_the_contrast_of_the_frame(contrast):
    config = SceneConfig(shape=(256, 256), pixel_size_nm=0.5, n_particles=30, diameter_nm=12, shapes=("sphere",))
    labels = make_scene(config, rng=2).labels
    frame = np.where(labels > 0, 1 + contrast, 1.0)
    like = scene_like(frame, Instances(labels, pixel_size_nm=0.5))
    again = make_scene(replace(like, shapes=("sphere",)), rng=3)
    film = np.median(again.frame[again.labels == 0])
    assert np.median(again.frame[again.labels > 0]) / film - 1 == pytest.approx(contrast, rel=0.2, abs=0.04)


@pytest.mark.parametrize(
    ("labels", "size", "message"),
    [
        (np.zeros((64, 64), np.int32), 0.5, "0 whole particles"),
        (np.zeros((64, 64), np.int32), None, "pixel size is not known"),
        (np.zeros((64, 64), np.int32), (0.5, 0.7), "expected square ones"),
    ],
)
def test_frames_that_no_scene_can_be_like(labels, size, message):
    with pytest.raises(InputError, match=message):
        scene_like(np.ones((64, 64)), Instances(labels, pixel_size_nm=size))


def test_the_command_writes_the_plan_its_pictures_and_the_scan(tmp_path, capsys, monkeypatch):
    scene = tmp_path / "scene.toml"
    scene.write_text(SCENE_TOML)
    out = tmp_path / "out"
    options = ["plan", "--scene", str(scene), "--target", "f1>0.5", "--shape", "96", "128", "--out", str(out), *OPTIONS]
    assert main(options) == 0
    told = capsys.readouterr().out
    record = json.loads((out / "plan.json").read_text())
    assert record["reached"]
    assert record["answer"] in told
    assert record["dose_unit"] == "e-/Å²"
    path = read_scan(out / "scan.csv")
    assert path.shape == (96, 128)
    assert path.ratio == pytest.approx(record["best"]["ratio"], rel=0.01)
    np.testing.assert_array_equal(np.load(out / "scan.npy"), np.stack([path.cols, path.rows], axis=1))
    np.testing.assert_allclose(path.dwells_us, record["best"]["dwell_us"], rtol=1e-3)
    for name in ("tradeoff.png", "preview.png"):
        assert (out / name).stat().st_size > 10_000
    assert main([*options, "--schemes", "adaptive"]) == 0
    assert not (out / "scan.csv").exists(), "the scan of another plan"
    assert not (out / "scan.npy").exists()
    assert main([*options, "--max-dose", "1e-9"]) == 2
    assert "no scan of the study is within the budgets" in capsys.readouterr().err
    for name in ("plan.json", "tradeoff.png"):
        (out / name).unlink()
    monkeypatch.setattr("segmentation.study.plan_output.tradeoff_figure", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(options)
    assert json.loads((out / "plan.json").read_text())["reached"], "a picture that fails does not cost the plan"


def test_promises_are_judged_on_scenes_that_no_plan_has_seen(planned):
    folder = planned[0]
    table = keep_promises(CONFIG, [Target("f1", 0.5), Target("ssim", 1.0)], folder, held_out=2)
    assert list(table["target"]) == ["f1>0.5"] * 2
    assert list(table["least"]) == ["dose", "time"]
    held = read_rows(folder / "held-out")
    assert set(held["frame"]) == {f"scene-{10_000 + index}" for index in range(2)}
    assert set(held["frame"]).isdisjoint(read_rows(folder)["frame"])
    one = table.iloc[0]
    planned = held[np.isclose(held["dose_e_per_A2"], one["cost"])]
    assert planned["f1@0.5"].mean() == pytest.approx(one["measured"])
    inside = planned["f1@0.5"].between(one["low"], one["high"])
    assert inside.mean() == pytest.approx(one["covered"])
    brute = read_rows(folder / "brute-force")
    reached = brute.groupby(["scheme", "ratio", "peak_counts", "recon"])[["f1@0.5", "dose_e_per_A2"]].mean()
    assert one["brute_cost"] == pytest.approx(reached.loc[reached["f1@0.5"] >= 0.5, "dose_e_per_A2"].min())
    assert {0.1, 0.2, 0.4, 1.0} == set(brute["ratio"])
    assert one["brute_ratio"] == pytest.approx(one["cost"] / one["brute_cost"])
    assert one["steady_cost"] >= one["brute_cost"]
    nothing = keep_promises(CONFIG, [Target("ssim", 1.0)], folder, held_out=2)
    assert list(nothing) == list(table)
    assert not len(nothing)


def test_a_setting_that_reaches_a_target_by_chance_is_no_steady_one():
    way = dict(zip(WAY, ("random", "linear", "threshold", "reconstruct"), strict=True))
    f1 = {(0.1, 5): 0.85, (0.1, 20): 0.7, (0.1, 80): 0.9, (0.4, 5): 0.82, (0.4, 20): 0.9, (0.4, 80): 0.95}
    rows = pd.DataFrame([
        {**way, "ratio": ratio, "peak_counts": counts, "f1@0.5": value, "dose_e_per_A2": ratio * counts, "error": ""}
        for (ratio, counts), value in f1.items()
    ])  # fmt: skip
    assert cheapest(rows, Target("f1", 0.8), "dose") == pytest.approx((0.5, 2.0))
    assert cheapest(rows, Target("f1", 0.99), "dose") == (np.inf, np.inf)
    full = rows[rows["ratio"] == 0.4].assign(ratio=1.0, **{"f1@0.5": 0.0})
    assert cheapest(pd.concat([rows, full]), Target("f1", 0.8), "dose") == pytest.approx((0.5, 2.0)), "another way"
    more = pd.concat([rows, rows.assign(error="failed", dose_e_per_A2=np.nan, **{"f1@0.5": np.nan})])
    assert cheapest(more, Target("f1", 0.3), "dose") == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "f1<0.5"], "better the other way round"),
        (["--target", "f2>0.5"], "did you mean 'f1'"),
        (["--target", "f1>0.5", "--schemes", "randm"], "did you mean 'random'"),
        (["--target", "f1>0.5", "--workers", "0"], "--workers"),
        (["--target", "f1>0.5", "--scene", "nowhere.toml"], "nowhere.toml"),
        (["--target", "f1>0.5", "--like", "nowhere.tif"], "nowhere.tif"),
        (["--target", "f1>0.5", "--max-dose", "-1"], "max_dose"),
        (["--target", "f1>0.5", "--real-folder", "nowhere"], "nowhere"),
        (["--target", "f1>0.5", "--seed", "-1"], "--seed is -1"),
        (["--target", "f1>0.5", "--shape", "128", "0"], "--shape, width is 0"),
        (["--target", "f1>0.5", "--pixel-size-nm", "0"], "pixel size is 0"),
        (["--target", "f1>0.5", "--pixel-size-nm", "0.5"], "a scene has its own"),
        (["--target", "f1>0.5", "--beam-current-pA", "0"], "no beam current"),
        (["--target", "f1>0.5", "--real-folder", "nowhere", "--frames", "3"], "give one of them"),
        ([], "--target"),
    ],
)
def test_bad_options_are_one_line(options, message, tmp_path, capsys):
    assert main(["plan", "--out", str(tmp_path / "out"), *options]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error


def test_a_study_of_which_nothing_succeeded_gives_no_plan(planned, tmp_path, monkeypatch):
    _, _, rows = planned
    failed = rows.assign(error="InputError: iterations is -1")
    monkeypatch.setattr("segmentation.study.planning.sweep", lambda *_, **__: failed)
    with pytest.raises(InputError, match="every case of the study failed: InputError: iterations is -1"):
        plan(CONFIG, WISH, tmp_path, rounds=0)


def test_a_case_that_failed_does_not_change_the_unit_of_dose(planned, tmp_path, monkeypatch):
    _, found, rows = planned
    rows = rows.copy()
    rows.loc[rows.index[3], ["error", "pixel_size_nm"]] = ["InputError: no room for particles", np.nan]
    monkeypatch.setattr("segmentation.study.planning.sweep", lambda *_, **__: rows)
    again, _ = plan(CONFIG, WISH, tmp_path, rounds=0)
    assert again.dose_unit == found.dose_unit == "e-/Å²"


def test_rows_of_other_studies_in_the_folder_do_not_disturb(planned):
    folder, found, _ = planned
    sweep(replace(CONFIG, ratios=(0.2,), doses=(0.0,)), folder)
    again, _ = plan(CONFIG, WISH, folder, rounds=1)
    assert again.best == found.best


@pytest.mark.parametrize("frames", [None, 6])
@pytest.mark.parametrize("source", ["--scene", "--like"])
def test_a_scene_takes_the_place_of_a_studys_folders(tmp_path, monkeypatch, source, frames):
    (tmp_path / "scene.toml").write_text(SCENE_TOML)
    (tmp_path / "study.toml").write_text('[frames]\nn = 0\nfolders = ["real"]\n')
    scene = make_scene(SCENE, rng=0)
    monkeypatch.setattr(
        "segmentation.cli.plan._particles", lambda _: (scene.frame, Instances(scene.labels, pixel_size_nm=0.5))
    )
    options = ["plan", str(tmp_path / "study.toml"), source, str(tmp_path / "scene.toml"), "--target", "f1>0.5"]
    config, _ = _study(command_line_parser().parse_args(options + (["--frames", str(frames)] if frames else [])))
    assert config.frames.folders == ()
    assert config.frames.n == (frames or preset("plan").frames.n)
