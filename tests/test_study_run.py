"""A study that is stopped, fails in part or runs out of disk keeps what it has, and goes on with nothing done twice."""

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from segmentation.cli import main
from segmentation.study import FrameChoice, StudyConfig, cell_means, expand, inline, read_rows, run_job, sweep
from segmentation.study import store as store_module
from simulate import InputError

CONFIG = StudyConfig(
    schemes=("random", "lines"),
    ratios=(0.005, 0.2),
    doses=(50,),
    reconstructors=("linear",),
    segmenters=("threshold", "threshold:level=otsu"),
    frames=FrameChoice(n=2, size=64),
)
"""On 64 rows 0.5 % is less than one line, so that a quarter of the cases fail."""
TIMES = ["seconds_reconstruct", "seconds_segment"]


class Recorder:
    """An executor that keeps a list of the cases it runs, and stops by an error after so many jobs."""

    def __init__(self, stop_after=None):
        self.ran, self.stop_after = [], stop_after

    def __call__(self, jobs, work):
        for index, (job, rows) in enumerate(inline(jobs, work)):
            if index == self.stop_after:
                raise KeyboardInterrupt
            self.ran += [case.key for case in job]
            yield job, rows


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return sweep(CONFIG, tmp_path_factory.mktemp("study"))


def same(rows, expected):
    pd.testing.assert_frame_equal(rows.drop(columns=TIMES), expected.drop(columns=TIMES))


def test_rows_come_in_order_and_failures_are_rows(expected):
    assert expected["key"].tolist() == [case.key for case in expand(CONFIG)]
    failed = expected["error"] != ""
    assert failed.tolist() == ((expected["scheme"] == "lines") & (expected["ratio"] == 0.005)).tolist()
    assert 0 < failed.sum() < len(expected)
    assert expected.loc[failed, "error"].str.startswith("InputError: ").all()
    assert expected.loc[~failed, ["psnr_db", "average_precision@0.5", "frame_time_ms"]].notna().all(axis=None)


def test_a_stopped_study_goes_on_with_nothing_done_twice(tmp_path, expected):
    first, second, third = Recorder(stop_after=3), Recorder(), Recorder()
    with pytest.raises(KeyboardInterrupt):
        sweep(CONFIG, tmp_path, executor=first)
    assert set(read_rows(tmp_path)["key"]) == set(first.ran)
    same(sweep(CONFIG, tmp_path, executor=second), expected)
    assert sorted(first.ran + second.ran) == sorted(expected["key"])
    same(sweep(CONFIG, tmp_path, executor=third), expected)
    assert third.ran == []


def test_a_killed_process_loses_only_what_ran(tmp_path, expected):
    config = tmp_path / "study.toml"
    config.write_text(
        "schemes = ['random', 'lines']\nratios = [0.005, 0.2]\ndoses = [50]\nreconstructors = ['linear']\n"
        "segmenters = ['threshold', 'threshold:level=otsu']\n[frames]\nn = 2\nsize = 64\n"
    )
    code = f"from segmentation.cli import main; main(['study', {str(config)!r}, '--out', {str(tmp_path / 'out')!r}])"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    parts = tmp_path / "out" / "parts"
    while process.poll() is None and not list(parts.glob("part-*")):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = read_rows(tmp_path / "out")
    assert set(kept["key"]) <= set(expected["key"])
    rest = Recorder()
    same(sweep(CONFIG, tmp_path / "out", executor=rest), expected)
    assert sorted([*kept["key"], *rest.ran]) == sorted(expected["key"])


def test_failures_are_run_again_only_if_asked_to(tmp_path, expected):
    sweep(CONFIG, tmp_path)
    again = Recorder()
    same(sweep(CONFIG, tmp_path, executor=again, retry=True), expected)
    assert sorted(again.ran) == sorted(expected.loc[expected["error"] != "", "key"])


def test_only_cases_that_are_missing_are_run_where_a_study_grows(tmp_path):
    sweep(CONFIG, tmp_path)
    larger = dataclasses.replace(CONFIG, segmenters=(*CONFIG.segmenters, "threshold:level=half-height"))
    run = Recorder()
    rows = sweep(larger, tmp_path, executor=run)
    assert len(rows) == len(expand(larger))
    assert len(run.ran) == len(expand(larger)) - len(expand(CONFIG))
    assert len(sweep(CONFIG, tmp_path)) == len(expand(CONFIG))


def test_a_full_disk_is_one_clear_error_and_the_rows_so_far_are_kept(tmp_path, monkeypatch, expected):
    import pyarrow.parquet as pq

    write, written = pq.write_table, []

    def full_after_two(table, path):
        if len(written) == 2:
            Path(path).write_bytes(b"half of it")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.extend(table["key"].to_pylist()[:1])
        write(table, path)

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", full_after_two)
        with pytest.raises(InputError, match="No space left on device; the rows so far are kept"):
            sweep(CONFIG, tmp_path)
    kept = read_rows(tmp_path)
    assert set(written) < set(kept["key"])
    assert len(kept) == 4
    rest = Recorder()
    same(sweep(CONFIG, tmp_path, executor=rest), expected)
    assert not set(rest.ran) & set(kept["key"])


def test_a_kill_between_merging_and_tidying_leaves_no_row_twice(tmp_path, monkeypatch, expected):
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda self, missing_ok=False: None)
        sweep(CONFIG, tmp_path)
    assert list((tmp_path / store_module.PARTS).glob("part-*"))
    assert sorted(read_rows(tmp_path)["key"]) == sorted(expected["key"])
    run = Recorder()
    same(sweep(CONFIG, tmp_path, executor=run), expected)
    assert run.ran == []
    assert not list((tmp_path / store_module.PARTS).glob("part-*"))


def test_files_that_are_no_rows_are_refused(tmp_path):
    with pytest.raises(InputError, match="no rows of a study"):
        read_rows(tmp_path)
    (tmp_path / "rows.parquet").write_text("text")
    with pytest.raises(InputError, match="no readable Parquet file"):
        sweep(CONFIG, tmp_path)
    pd.DataFrame({"key": ["a"]}).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(InputError, match="other columns"):
        sweep(CONFIG, tmp_path)


def test_means_leave_failures_out(expected):
    table = cell_means(expected, ("psnr_db",))
    assert table["frames"].sum() == (expected["error"] == "").sum()
    assert table["psnr_db"].notna().all()


def test_an_error_that_nobody_foresaw_is_a_row_too(monkeypatch):
    def broken(*args, **options):
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr("segmentation.study.evaluate.reconstruct", broken)
    job = tuple(case for case in expand(CONFIG) if case.scan.ratio == 0.2)[:2]
    assert [row["error"] for row in run_job(job)] == ["ZeroDivisionError: by zero"] * 2


def test_the_command_runs_a_study_and_tells_of_failures(tmp_path, capsys):
    config = tmp_path / "study.toml"
    config.write_text(
        "ratios = [0.2]\nschemes = ['random', 'lines']\nreconstructors = ['linear']\nsegmenters = ['threshold']\n"
        "[frames]\nn = 1\nsize = 64\n"
    )
    assert main(["study", str(config), "--out", str(tmp_path / "out")]) == 0
    assert "lines 0.2, 50 counts: linear > threshold" in capsys.readouterr().out
    assert len(pd.read_parquet(tmp_path / "out" / "rows.parquet")) == 2
    config.write_text(config.read_text().replace("0.2", "0.005"))
    assert main(["study", str(config), "--out", str(tmp_path / "out")]) == 0
    assert "1 failed: InputError" in capsys.readouterr().err
    config.write_text(config.read_text().replace("'linear'", "'tv:iterations=-1'"))
    assert main(["study", str(config), "--out", str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert "failed: InputError: iterations is -1" in error
    assert error.splitlines()[-1].startswith("cs-stem: error: every case failed; the 2 rows are kept in")
    assert len(pd.read_parquet(tmp_path / "none" / "rows.parquet")) == 2


def test_the_summary_tells_units_and_counts_whole(tmp_path, capsys):
    config = tmp_path / "study.toml"
    config.write_text(
        "ratios = [0.2]\nreconstructors = ['linear']\nsegmenters = ['threshold']\n[frames]\nn = 2\nsize = 64\n"
    )
    assert main(["study", str(config), "--out", str(tmp_path / "out"), "--no-report"]) == 0
    header, _, cells = ([cell.strip() for cell in line.split("|")] for line in capsys.readouterr().out.splitlines()[:3])
    told = dict(zip(header, cells, strict=True))
    rows = pd.read_parquet(tmp_path / "out" / "rows.parquet")
    assert told["frames"] == "2"
    assert told["count_error (particles)"] == f"{rows['count_error'].mean():g}"
    assert told["diameter_bias (relative)"] == f"{rows['diameter_bias'].mean():.3f}"
    assert {"count_error", "diameter_bias"} <= set(rows.columns)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected either a configuration file or --preset"),
        (["--preset", "quik"], "did you mean 'quick'"),
        (["study.toml", "--preset", "quick"], "expected either"),
        (["nowhere.toml"], "cannot read the configuration"),
        (["--preset", "quick", "--workers", "0"], "--workers is 0"),
        (["--preset", "quick", "--workers", "2", "--scheduler", "tcp://a:1"], "expected one of them"),
        (["--preset", "quick", "--scheduler", ""], "--scheduler is empty"),
    ],
)
def test_bad_arguments_are_one_line(tmp_path, capsys, arguments, message):
    assert main(["study", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
