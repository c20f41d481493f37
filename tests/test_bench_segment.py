"""The benchmarks of segmentation: frames, comparison, robustness, transfer and speed, at toy size."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.ndimage import binary_dilation

from segmentation.bench import robustness, transfer
from segmentation.bench.compare import Condition, Model, compare, comparison_table, relative_to_full, shipped_models
from segmentation.bench.frames import GENERATORS, real_frames, simulated_frames
from segmentation.bench.sizes import frame_figures, judge_sizes, sizes_table
from segmentation.bench.speed import speed
from segmentation.cli.main import main
from segmentation.models.settings import MaskRCNNConfig
from segmentation.train_segment import MaskRCNNTraining
from segmentation.training_data import LabelledScenes, SceneData
from simulate import InputError

FLOOR = Model("threshold")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Labelled images of two bright squares each, of every split."""
    root = tmp_path_factory.mktemp("real")
    rng = np.random.default_rng(0)
    for part in ("images", "labels"):
        (root / part).mkdir()
    for name in "abcdefghijklmnopqrstuvwxyz":
        labels = np.zeros((80, 90), np.uint16)
        labels[10:40, 10:36], labels[50:70, 40:80] = 1, 2
        image = 60 + 120 * (labels > 0) + rng.normal(0, 5, labels.shape)
        Image.fromarray(image.astype(np.uint8)).save(root / "images" / f"{name}.png")
        Image.fromarray(labels).save(root / "labels" / f"{name}.png")
    return str(root)


@pytest.mark.parametrize("generator", GENERATORS)
def test_frames_are_the_same_for_ever_and_differ_by_split(generator):
    first, again, other = (
        next(iter(simulated_frames(1, split, 64, generator))) for split in ("test", "test", "validation")
    )
    np.testing.assert_array_equal(first.image, again.image)
    assert not np.array_equal(first.image, other.image)
    scan = first.scan(0.1, 30)
    np.testing.assert_array_equal(scan.values, again.scan(0.1, 30).values)
    assert scan.ratio == pytest.approx(0.1, abs=0.01)
    assert first.scan(1.0, 30).mask.all()
    assert first.scan(0.1, 30, "poisson-disc").path.scheme == "poisson-disc"


def test_an_adaptive_scan_crowds_around_the_particles_and_is_the_same_each_time():
    frame = next(simulated_frames(1, size=96))
    first, again = (frame.scan(0.1, 50, "adaptive") for _ in range(2))
    np.testing.assert_array_equal(first.values, again.values)
    assert first.ratio == pytest.approx(0.1, abs=0.001)
    near = binary_dilation(frame.labels > 0, iterations=2)
    assert first.mask[near].mean() > 1.5 * first.mask[~near].mean()
    even = frame.scan(0.1, 50, "jittered-grid")
    assert even.mask[near].mean() < 1.2 * even.mask[~near].mean()
    assert frame.scan(1.0, 50, "adaptive").mask.all()


def test_training_draws_none_of_the_frames_it_is_judged_on():
    data = SceneData(size=64, real_share=0.0, sparse_share=0.0, noisy_share=0.0, blur_share=0.0, inverted_share=0.0)
    seen = LabelledScenes(data, 21, 9, mapping="sparse")
    judged = [frame.image for frame in simulated_frames(3, "test", 64, "hard")]
    assert not any(np.array_equal(seen[index].seen.values, image) for index in range(3) for image in judged)


def test_the_comparison_has_a_row_for_every_frame_condition_and_model(folder):
    frames = [*simulated_frames(2, size=64), *real_frames(folder)]
    conditions = [Condition(1.0, 0.0), Condition(0.2, 50.0)]
    models = [FLOOR, Model("mask-rcnn")]
    rows = compare(frames, models, conditions)
    assert len(rows) == len(frames) * 4
    table = comparison_table(rows, models)
    assert len(table) == 8
    assert set(table["kind"]) == {"simulated", "real"}
    assert (table.loc["mask-rcnn", "parameters_M"] > 1).all()
    assert (table.loc["threshold", "parameters_M"] == 0).all()
    full = rows[(rows.ratio == 1) & (rows.kind == "real") & (rows.model == "threshold")]
    assert full["average_precision@0.5"].min() == 1, "two bright squares"
    share = relative_to_full(rows)
    np.testing.assert_allclose(share["share", 1.0].dropna(), 1)
    assert set(relative_to_full(rows[rows.ratio < 1]).columns.get_level_values(0)) == {"AP@0.5"}


def test_models_are_named_by_method_and_mapping():
    assert Model.parse("mask-rcnn").name == "mask-rcnn"
    assert Model.parse("u-net:features:file.safetensors") == Model("u-net", "features", "file.safetensors")
    assert Model.parse("u-net:features").name == "u-net-features"
    assert Model.parse("u-net:features:own.safetensors").name == "u-net-features (own.safetensors)"
    with pytest.raises(InputError, match="did you mean 'mask-rcnn'"):
        Model.parse("mask-rcn")
    assert {"threshold", "mask-rcnn"} <= {model.name for model in shipped_models()}


def test_robustness_varies_one_figure_at_a_time(monkeypatch, tmp_path):
    knobs = tuple(dataclasses.replace(knob, values=knob.values[:: len(knob.values) - 1]) for knob in robustness.KNOBS)
    monkeypatch.setattr(robustness, "KNOBS", knobs)
    rows = robustness.robustness([FLOOR], frames=2, size=96)
    assert len(rows) == 2 * 2 * len(knobs)
    table = robustness.robustness_table(rows)
    assert table.loc["peak_counts 300", "threshold"] >= table.loc["peak_counts 3", "threshold"]
    robustness.robustness_figure(rows, tmp_path / "curves.png")
    assert np.asarray(Image.open(tmp_path / "curves.png").convert("L")).std() > 5


def test_robustness_frames_differ_in_their_knob_alone():
    low, high = (robustness.frame_with("peak_counts", counts, 0, 96) for counts in (5, 1000))
    np.testing.assert_array_equal(low[0].image, high[0].image)
    assert (low[1], high[1]) == (5, 1000)
    sharp, blurred = (robustness.frame_with("blur_px", blur, 0, 96)[0] for blur in (0, 4))
    np.testing.assert_array_equal(sharp.labels, blurred.labels)
    assert np.abs(np.diff(blurred.image)).max() < 0.5 * np.abs(np.diff(sharp.image)).max()


@pytest.mark.slow
def test_the_transfer_experiment_runs_every_run(folder, tmp_path, monkeypatch):
    small = MaskRCNNConfig(widths=(8, 8, 8, 8), pyramid=8)
    monkeypatch.setattr(
        transfer, "MaskRCNNTraining", lambda **fields: MaskRCNNTraining(network=small, **fields), raising=True
    )
    monkeypatch.setattr(transfer, "choose_operating_point", lambda *_, **__: (0.5, 0.0))
    plan = transfer.TransferPlan(folder, folder, first_steps=2, steps=2, unfreeze_every=1)
    monkeypatch.setattr(transfer, "SceneData", lambda **fields: SceneData(size=64, **fields))
    rows = transfer.transfer_experiment(plan, tmp_path, device=torch.device("cpu"))
    table = transfer.transfer_table(rows)
    assert list(table.index) == [
        "nuclei only", "from scratch", "from nuclei, all stages", "from nuclei, last stages first",
    ]  # fmt: skip


def test_speed_tells_what_came_out():
    found = speed([FLOOR], side=96, particles=8, repeats=1)
    assert found.loc[0, "particles"] == 8
    assert 0 < found.loc[0, "full_s"] < found.loc[0, "scan_to_labels_s"]
    assert (found[["stream_per_s", "stream_scale_1_per_s"]] > 0).all(axis=None)


def test_streams_are_timed_as_they_are_and_at_full_size(monkeypatch):
    asked = []

    def told(scans, **options):
        asked.append((scans, options))
        return []

    monkeypatch.setattr("segmentation.bench.speed.stream", told)
    speed([Model("mask-rcnn", scale=0.5)], side=64, particles=2, repeats=1, batch_size=3)
    assert [options["segment_options"]["scale"] for _, options in asked] == [0.5, 0.5, 1.0, 1.0]
    assert [len(scans) for scans, _ in asked] == [6, 18, 6, 18]
    monkeypatch.setattr("segmentation.bench.speed.WHOLE_PIXELS", 64 * 64 - 1)
    large = speed([Model("mask-rcnn")], side=64, particles=2, repeats=1)
    assert len(asked) == 4
    assert large[["stream_per_s", "stream_scale_1_per_s"]].isna().all(axis=None)


def test_sizes_pair_what_is_found_with_the_truth():
    frames = list(simulated_frames(2, "validation", 128))
    rows = judge_sizes(frames, ratio=1.0, peak_counts=0.0, recon="linear", method="threshold")
    for frame in frames:
        own = rows[rows["frame"] == frame.name]
        true = 2 * np.sqrt(np.bincount(frame.labels.ravel())[1:] / np.pi)
        np.testing.assert_allclose(sorted(own["true_px"].dropna()), sorted(true[true > 0]))
    paired = rows.dropna(subset=["true_px", "found_px"])
    assert len(paired) > 0.5 * rows["true_px"].count()
    assert (np.abs(np.log2(paired["found_px"] / paired["true_px"])) <= 0.5).all(), "pairs overlap by a half"


def test_the_table_of_sizes_counts_what_it_says():
    rows = pd.DataFrame({
        "frame": ["a", "a", "a", "b", "b"],
        "true_px": [6.0, 10.0, 20.0, 20.0, np.nan],
        "found_px": [6.5, 10.2, np.nan, 20.2, 30.0],
        "low_px": [6.2, 9.0, np.nan, 20.0, 29.0],
        "high_px": [7.0, 11.0, np.nan, 21.0, 31.0],
    })  # fmt: skip
    table = sizes_table(rows)
    everything = table.loc["all"]
    assert everything[["true", "found", "matched"]].tolist() == [4, 4, 3]
    assert everything["within interval"] == pytest.approx(2 / 3)
    assert everything["median error"] == pytest.approx((10.2 + 20.2) / 2 / 15 - 1)
    assert table.loc["0 to 8 px", "within interval"] == 0
    assert table.loc["16 px and more", ["true", "found"]].tolist() == [2, 2]
    figures = frame_figures(rows)
    assert figures["count within 5%"] == 0
    assert figures["mean count error"] == pytest.approx((2 / 3 - 1 + 1) / 2)


def test_the_command_draws_its_tables(folder, tmp_path, capsys):
    arguments = ["compare", "--models", "threshold", "--frames", "1", "--size", "64", "--ratios", "1,0.3"]
    assert main([*arguments, "--real-folder", folder, "--out", str(tmp_path)]) == 0
    assert "| threshold | simulated |" in capsys.readouterr().out
    names = {"compare-simulated", "compare-simulated-ratios", "compare-real", "compare-real-ratios"}
    assert {file.stem for file in tmp_path.glob("*.md")} == names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "--frames", "0"], "expected frames to judge on"),
        (["compare", "--models", "threshold", "--scheme", "poison-disc"], "did you mean 'poisson-disc'"),
        (["compare", "--models", "threshold", "--scheme", "variable-density"], "'variable-density' needs a prior"),
        (["compare", "--models", "unet"], "did you mean 'u-net'"),
        (["compare", "--models", "threshold:features"], "'threshold' is no network"),
        (["compare", "--models", "mask-rcnn:feature"], "did you mean 'features'"),
        (["bench", "sizes", "--real-folder", "x"], "--real-folder"),
        (["compare", "--ratios", "2"], "sampling ratio is 2"),
        (["compare", "--generator", "hrd", "--models", "threshold"], "did you mean 'hard'"),
        (["bench", "robustness", "--frames", "0"], "--frames"),
        (["bench", "sizes", "--ratio", "0"], "sampling ratio is 0"),
    ],
)
def test_bad_arguments_are_one_line(arguments, message, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench", "segment-speed", "--models", "threshold", "--repeats", "0"], "--repeats is 0"),
        (["bench", "segment-speed", "--models", "threshold", "--batch-size", "0"], "--batch-size is 0"),
        (["compare", "--models", "threshold", "--frames", "1", "--peak-counts", "-5"], "--peak-counts is -5"),
        (["compare", "--models", "threshold", "--frames", "1", "--peak-counts", "nan"], "--peak-counts is nan"),
        (["compare", "--models", "threshold", "--frames", "1", "--ratios", ""], "--ratios names none"),
        (["bench", "sizes", "--frames", "1", "--peak-counts", "-5"], "--peak-counts is -5"),
    ],
)
def test_impossible_benches_are_one_line(capsys, arguments, message):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_sizes_without_intervals_are_not_outside_of_them():
    rows = judge_sizes(simulated_frames(1, size=96), recon="linear", method="threshold", ratio=0.4)
    assert sizes_table(rows)["matched"].sum() > 0
    assert sizes_table(rows)["within interval"].isna().all()
