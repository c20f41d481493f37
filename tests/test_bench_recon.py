"""The reconstruction benchmark: held-out frames, rows that survive a kill, oracle and margins, peers, speed."""

import dataclasses
import inspect
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cs_recon import reconstructors
from cs_recon.bench import gpu, kernels, peers, settings, summary
from cs_recon.bench import run as bench_module
from cs_recon.bench.frames import GENERATORS, FrameSource, bench_config, frame_sources, real_frame
from cs_recon.bench.memory import measured
from cs_recon.bench.rows import COLUMNS, KEY, append_rows, read_rows
from cs_recon.bench.run import BenchPlan, bench, scan_of
from cs_recon.bench.summary import score_table
from cs_recon.metrics import psnr
from cs_recon.real_images import split_of
from segmentation.cli import main
from simulate import InputError, random_config

PLAN = BenchPlan(methods=("nearest", "linear"), ratios=(0.1, 0.3), doses=(20.0, 0.0))
SOURCES = frame_sources(2, size=32)


@pytest.fixture
def few_settings(monkeypatch):
    monkeypatch.setattr(settings, "SETTINGS", {"linear": [{"smooth_px": 0.0}, {"smooth_px": 2.0}]})


def keys(rows):
    return [tuple(row) for row in rows[list(KEY)].itertuples(index=False)]


def fields_of(config):
    return {**dataclasses.asdict(config), **dataclasses.asdict(config.support)}


class TestFrames:
    def test_scenes_differ_from_trainings_in_their_parameters(self):
        """No film, size distribution or number of shapes of training's generator is drawn here."""
        ours = [fields_of(bench_config(np.random.default_rng(seed))) for seed in range(40)]
        theirs = [fields_of(random_config(np.random.default_rng(seed))) for seed in range(40)]
        for name in ("material", "size_distribution"):
            assert not {one[name] for one in ours} & {one[name] for one in theirs}
        assert {len(one["shapes"]) for one in ours} <= {3, 4}
        assert len({one["arrangement"] for one in ours}) == 4

    @pytest.mark.parametrize("generator", list(GENERATORS))
    def test_frames_are_reproducible_distinct_and_have_contrast(self, generator):
        first, second = (source.make() for source in frame_sources(2, generator=generator, size=64))
        np.testing.assert_array_equal(first, FrameSource(generator, 0, 64).make())
        assert np.ptp(first) > 0
        assert np.abs(first - second).max() > 0

    def test_a_real_frame_is_the_mean_of_four_pixels(self):
        image = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)
        expected = image[:32, :32].reshape(16, 2, 16, 2).mean(axis=(1, 3)) / 255
        np.testing.assert_allclose(real_frame(image, 16), expected, atol=1e-6)

    def test_real_frames_are_of_the_test_split_and_never_enlarged(self, tmp_path):
        for part in ("images", "labels"):
            (tmp_path / part).mkdir()
        names = [f"frame{index}" for index in range(40)]
        for index, name in enumerate(names):
            side = 64 if index % 2 else 40
            Image.fromarray(np.full((side, side), index, np.uint8)).save(tmp_path / "images" / f"{name}.png")
            Image.fromarray(np.zeros((side, side), np.uint8)).save(tmp_path / "labels" / f"{name}.png")
        tests = [index for index, name in enumerate(names) if split_of(name) == "test" and index % 2]
        sources = frame_sources(0, size=32, real_folder=str(tmp_path), n_real=100)
        found = sorted(round(255 * float(source.make()[0, 0])) for source in sources)
        assert found == sorted(tests)
        with pytest.raises(InputError, match="sides of 1024"):
            frame_sources(0, size=512, real_folder=str(tmp_path))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"n_frames": 0}, "no frames"),
            ({"n_frames": -1}, "number of frames is -1"),
            ({"n_frames": 1, "generator": "bnch"}, "did you mean 'bench'"),
            ({"n_frames": 1, "size": 2}, "frame size is 2"),
        ],
    )
    def test_bad_asks(self, options, message):
        with pytest.raises(InputError, match=message):
            frame_sources(**options)


@pytest.mark.usefixtures("few_settings")
class TestRows:
    def test_each_case_has_its_rows_and_scores_of_the_method_itself(self, tmp_path):
        rows = bench(SOURCES, PLAN, csv=tmp_path / "rows.csv")
        assert len(rows) == len(set(keys(rows))) == 2 * 2 * 2 * (1 + 3)
        assert (rows.error == "").all()
        frame = SOURCES[1].make()
        scan = scan_of(frame, 1, "random", 0.3, 20.0)
        chosen = rows[(rows.frame == SOURCES[1].name) & (rows.ratio == 0.3) & (rows.peak_counts == 20)]
        row = chosen[(chosen.method == "linear") & (chosen.setting == "smooth_px=2.0")].iloc[0]
        image = settings.run_method(scan, "linear", {"smooth_px": 2.0}, "cpu").image
        assert row.psnr_db == pytest.approx(psnr(frame, image))
        assert row.coverage == scan.mask.mean()
        assert row.peak_mb >= 0 or np.isnan(row.peak_mb)

    def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been(self, tmp_path, monkeypatch):
        whole = bench(SOURCES, PLAN)
        file, ran = tmp_path / "rows.csv", []
        real = bench_module.run_case

        def killed(case, device):
            if len(ran) == 6:
                raise KeyboardInterrupt
            ran.append(case)
            return real(case, device)

        monkeypatch.setattr(bench_module, "run_case", killed)
        with pytest.raises(KeyboardInterrupt):
            bench(SOURCES, PLAN, csv=file)
        text = file.read_bytes()
        lines = text.count(b"\n") - 1
        file.write_bytes(text[:-30])  # the last row half-written
        assert len(read_rows(file)) == lines - 1
        monkeypatch.setattr(bench_module, "run_case", lambda case, device: ran.append(case) or real(case, device))
        resumed = bench(SOURCES, PLAN, csv=file)
        assert sorted(keys(resumed)) == sorted(keys(whole))
        assert len(read_rows(file)) == len(whole)
        again = [case.settings for case in ran if case == dataclasses.replace(ran[5], settings=case.settings)]
        assert again[0] == ran[5].settings
        assert len(again[1]) == 1 < len(again[0])  # of the case that was cut, the lost setting alone
        scores = resumed.set_index(list(KEY)).psnr_db.sort_index()
        pd.testing.assert_series_equal(scores, whole.set_index(list(KEY)).psnr_db.sort_index())

    def test_other_cases_of_the_file_are_not_returned(self, tmp_path):
        bench(SOURCES, PLAN, csv=tmp_path / "rows.csv")
        less = bench(SOURCES[:1], BenchPlan(("linear",), (0.1,), (0.0,)), csv=tmp_path / "rows.csv")
        assert set(less.method) == {"linear"}
        assert set(less.ratio) == {0.1}

    def test_a_failure_is_a_row_with_its_reason_and_is_tried_again(self, tmp_path, monkeypatch):
        real, file = bench_module.run_method, tmp_path / "rows.csv"

        def broken(scan, method, options, device):
            if method == "nearest":
                raise ValueError("two\nlines")
            return real(scan, method, options, device)

        plan = BenchPlan(("nearest", "linear"), (0.2,), (0.0,))
        monkeypatch.setattr(bench_module, "run_method", broken)
        said = []
        rows = bench(SOURCES[:1], plan, csv=file, progress=said.append)
        failed = rows[rows.method == "nearest"]
        assert set(failed.error) == {"ValueError: two lines"}
        assert failed.psnr_db.isna().all()
        assert (rows[rows.method == "linear"].error == "").all()
        assert "FAILED: ValueError: two lines" in said[0]
        table = summary.failure_table(rows)
        assert table.loc["nearest", "runs"] == len(failed)
        monkeypatch.setattr(bench_module, "run_method", real)
        rows = bench(SOURCES[:1], plan, csv=file)
        assert (rows.error == "").all()
        assert len(rows) == len(pd.read_csv(file))

    def test_a_frame_that_cannot_be_made_is_a_row_too(self, monkeypatch):
        monkeypatch.setattr(bench_module, "scan_of", lambda *args: 1 / 0)
        bench_module._scan.cache_clear()
        rows = bench(SOURCES[:1], BenchPlan(("nearest",), (0.2,), (0.0,)))
        assert rows.error.str.startswith("ZeroDivisionError").all()

    @pytest.mark.slow
    def test_processes_give_the_same_rows(self, tmp_path):
        plan = BenchPlan(("linear",), (0.3,), (20.0,), processes=2)
        both = bench(SOURCES, plan, csv=tmp_path / "rows.csv").set_index(list(KEY)).psnr_db.sort_index()
        one = bench(SOURCES, dataclasses.replace(plan, processes=1)).set_index(list(KEY)).psnr_db.sort_index()
        pd.testing.assert_series_equal(both, one)

    def test_slow_methods_run_on_the_first_frames(self, monkeypatch):
        monkeypatch.setattr(bench_module, "SLOW", ("nearest",))
        rows = bench(SOURCES, dataclasses.replace(PLAN, slow_frames=1))
        assert set(rows[rows.method == "nearest"].frame) == {SOURCES[0].name}
        assert set(rows[rows.method == "linear"].frame) == {source.name for source in SOURCES}
        table = summary.score_table(rows[rows.peak_counts == 0])
        assert "(1 frames)" in table.loc["nearest"].iloc[0]
        assert "frames" not in table.loc["linear"].iloc[0]

    def test_progress_counts_and_tells_the_time_left(self):
        said = []
        bench(SOURCES[:1], PLAN, progress=said.append)
        assert [line.split(",")[0] for line in said] == [f"{n}/8" for n in range(1, 9)]
        assert "0 min left" in said[-1]
        assert "9.96% of the pixels" in said[0]  # 102 of 1024, as the mask has it

    def test_a_file_of_something_else_is_refused(self, tmp_path):
        (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
        with pytest.raises(InputError, match="other columns"):
            bench(SOURCES, PLAN, csv=tmp_path / "rows.csv")
        append_rows(tmp_path / "new.csv", [dict.fromkeys(COLUMNS, "x") | {"error": ""}])
        with pytest.raises(InputError, match="none of this"):
            read_rows(tmp_path / "new.csv")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"methods": ("linaer",)}, "did you mean 'linear'"),
            ({"ratios": (1.5,)}, "at most 1"),
            ({"ratios": ()}, "no ratio"),
            ({"doses": (-3.0,)}, "peak counts"),
            ({"schemes": ("randon",)}, "did you mean 'random'"),
            ({"processes": 0}, "processes"),
            ({"slow_frames": -1}, "slow"),
            ({"device": "gpu"}, "auto, cpu or cuda"),
        ],
    )
    def test_bad_plans(self, options, message):
        with pytest.raises(InputError, match=message):
            BenchPlan(**options)


def row(frame, method, setting, value, ratio=0.1):
    scores = dict.fromkeys(("psnr_db", "ssim", "frc_px", "seconds", "cpu_seconds", "peak_mb"), value)
    return {
        "frame": frame, "scheme": "random", "ratio": ratio, "peak_counts": 20.0, "method": method, "setting": setting,
        "kind": "bench", "coverage": 0.099, **scores, "error": "",
    }  # fmt: skip


MADE_UP = pd.DataFrame([
    *(row(f, "linear", "automatic", v) for f, v in (("a", 20.0), ("b", 22.0), ("c", 30.0))),
    *(row(f, "linear", "smooth_px=0.0", v) for f, v in (("a", 19.0), ("b", 21.0), ("c", 29.0))),
    *(row(f, "linear", "smooth_px=2.0", v) for f, v in (("a", 24.0), ("b", 21.5), ("c", 25.0))),
    *(row(f, "tv", "automatic", v) for f, v in (("a", 23.0), ("b", 25.0), ("c", 24.0))),
    *(row(f, "inpainting", "automatic", v) for f, v in (("a", 25.0), ("b", 24.0), ("c", 28.0))),
])  # fmt: skip


class TestTables:
    def test_medians_automatic_and_oracle(self):
        """By hand: linear's own 20, 22, 30; its best of each frame 24, 22, 30; tv has no settings."""
        table = summary.score_table(MADE_UP)
        assert list(table.columns) == ["10% (9.90%)"]
        assert table.loc["linear"].iloc[0] == "22.00 / 24.00"
        assert table.loc["tv"].iloc[0] == "24.00"

    def test_less_is_better_for_resolution(self):
        """linear's least of each frame: 20, 21, 25."""
        assert summary.score_table(MADE_UP, "frc_px").loc["linear"].iloc[0] == "22.00 / 21.00"

    def test_margins_by_hand(self):
        """inpainting 25, 24, 28 (median 25); best classical medians 24 (both); each frame's best 24, 25, 30."""
        (line,) = summary.margin_table(MADE_UP).to_dict("records")
        assert line["over the best classical method (dB)"].startswith("+1.00")
        assert line["over each frame's best (dB)"] == "-1.00"
        assert line["worse than each frame's best"] == "2 of 3"
        assert line["worse than linear"] == "1 of 3"
        assert line["worse than smoothed linear"] == "1 of 3"

    def test_a_method_on_fewer_frames_is_compared_on_those(self):
        rows = pd.concat([MADE_UP, pd.DataFrame([row("b", "gp", "automatic", 24.5)])])
        (line,) = summary.margin_table(rows).to_dict("records")
        assert line["over the best classical method (dB)"] == "-0.50 (gp)"

    def test_every_dose_has_its_tables(self):
        other = MADE_UP.assign(peak_counts=0.0)
        names = [stem for stem, _, _ in summary.tables(pd.concat([MADE_UP, other]))]
        assert len(names) == len(set(names)) == 10
        assert {"bench-random-20-counts-psnr", "bench-random-noise-free-margins"} <= set(names)


class TestSettings:
    @pytest.mark.parametrize("method", list(settings.SETTINGS))
    def test_the_oracles_options_are_the_methods_own(self, method):
        options = {name for setting in settings.SETTINGS[method] for name in setting}
        assert options <= set(inspect.signature(reconstructors[method]).parameters)
        names = [settings.setting_name(one) for one in settings.sweep(method)]
        assert len(names) == len(set(names))
        assert names[0] == "automatic"

    def test_every_registered_method_is_compared(self):
        assert set(reconstructors.names) - set(settings.NOT_COMPARED) <= set(settings.bench_methods())
        assert set(settings.LEARNED) <= set(settings.bench_methods())


@pytest.mark.parametrize("name", [name for name in peers.installed_peers() if name not in settings.SLOW])
def test_peers_beat_the_mean_and_follow_the_unit(name):
    frame = FrameSource("bench", 4, 64).make()
    scan = scan_of(frame, 0, "random", 0.3, 100.0)
    image = settings.run_method(scan, name, {}, "cpu").image
    assert psnr(frame, image) > psnr(frame, np.full_like(frame, frame.mean())) + 4
    other = dataclasses.replace(
        scan, values=1e3 * scan.values - 5, counts_per_unit=scan.counts_per_unit / 1e3, black_level=-5.0
    )
    np.testing.assert_allclose(
        settings.run_method(other, name, {}, "cpu").image, 1e3 * image - 5, atol=5e-3 * 1e3 * np.ptp(frame)
    )
    assert name not in reconstructors.names


def test_peak_memory_is_that_of_the_block():
    with measured(torch.device("cpu")) as cost:
        np.ones(20_000_000)  # 160 MB, and gone
    if not Path("/proc/self/status").exists():
        assert np.isnan(cost.peak_mb)
    else:
        assert cost.peak_mb == pytest.approx(160, rel=0.1)
    assert cost.seconds > 0


def test_peak_memory_is_not_hidden_by_what_ran_before():
    """Small blocks come from a heap that stays resident when they are let go of: a later job would find it there."""
    found, kept = [], []
    for _ in range(3):
        with measured(torch.device("cpu")) as cost:
            blocks = [bytearray(64_000) for _ in range(3125)]  # 200 MB
        kept.append(blocks.pop())  # what lies above them keeps the heap from shrinking by itself
        del blocks
        found.append(cost.peak_mb)
    if Path("/proc/self/status").exists():
        assert found == pytest.approx([200] * 3, rel=0.1)


def test_peak_memory_without_the_kernels_mark(monkeypatch):
    monkeypatch.setattr("cs_recon.bench.memory._CLEAR", Path(os.devnull) / "not-there")
    with measured(torch.device("cpu")) as cost:
        block = np.ones(20_000_000)
        block.sort()
    if Path("/proc/self/status").exists():
        assert cost.peak_mb == pytest.approx(160, rel=0.2)


def test_work_of_a_convolution_is_its_closed_form():
    """2 k k Cin Cout operations an output pixel; image, kernel and result are touched once each."""
    x, w = torch.ones(2, 3, 16, 16), torch.ones(5, 3, 3, 3)
    work = kernels.count_work(lambda: torch.nn.functional.conv2d(x, w, padding=1))
    assert work.flops == 2 * 9 * 3 * 5 * 2 * 16 * 16
    assert work.bytes == 4 * (x.numel() + w.numel() + 2 * 5 * 16 * 16)


def test_the_speed_table_runs_without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    table = gpu.bench_speed(side=32, large_side=64, repeats=1)
    assert "no GPU here" in table.attrs["title"]
    assert set(table.device) == {"cpu"}
    assert np.isfinite(table.value).all()
    presets = {
        "default",
        *(["fast"] if "preset" in inspect.signature(reconstructors["unrolled-ista"]).parameters else []),
    }
    assert set(gpu.presets()) == presets


def test_the_commands_write_their_tables(capsys, tmp_path):
    scans = ["--ratios", "0.2", "--doses", "20,0", "--frames", "2", "--size", "32"]
    arguments = ["bench", "recon", "--methods", "linear,unrolled-ista", *scans, "--device", "cpu", "--out"]
    assert main([*arguments, str(tmp_path)]) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert "bench frames (2), random, 20 counts: PSNR (dB)" in printed
    assert (tmp_path / "recon.md").read_text().strip() == printed.strip()
    assert (tmp_path / "recon-bench-random-noise-free-margins.csv").exists()
    rows = pd.read_csv(tmp_path / "recon-rows.csv")
    assert set(rows.method) == {"linear", "unrolled-ista"}
    assert main([*arguments, str(tmp_path)]) == 0
    assert capsys.readouterr().out == printed
    assert (
        main(["bench", "recon-gpu", "--side", "32", "--large-side", "0", "--repeats", "1", "--out", str(tmp_path)]) == 0
    )
    assert (tmp_path / "recon-speed.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [("--ratios ten", "--ratios"), ("--ratios 2", "at most 1"), ("--methods tvv", "unknown method 'tvv'")],
)
def test_bad_arguments_are_one_line(capsys, arguments, message):
    assert main(["bench", "recon", *arguments.split()]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def test_ratios_near_each_other_have_columns_of_their_own():
    rows = pd.DataFrame({
        "frame": "a", "scheme": "lines", "ratio": [0.1, 0.103], "peak_counts": 0.0, "method": "nearest",
        "setting": "automatic", "coverage": 0.0938, "psnr_db": [20.0, 21.0], "error": "",
    })  # fmt: skip
    assert list(score_table(rows).columns) == ["10% (9.38%)", "10.3% (9.38%)"]


def test_no_frames_for_slow_methods_alone(capsys):
    assert main(["bench", "recon", "--methods", "gp", "--slow-frames", "0", "--frames", "1", "--size", "32"]) == 2
    assert "slow ones alone" in capsys.readouterr().err
