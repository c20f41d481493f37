"""The same study inline, on local processes and on a Dask cluster gives the same rows, also if a worker is killed."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from segmentation.cli import main
from segmentation.study import FrameChoice, StudyConfig, inline, local_processes, on_dask, sweep
from simulate import InputError

CONFIG = StudyConfig(
    schemes=("random", "lines"),
    ratios=(0.005, 0.2),
    doses=(50,),
    reconstructors=("linear",),
    segmenters=("threshold", "threshold:level=otsu"),
    frames=FrameChoice(n=4, size=64),
)
ROOT = Path(__file__).parents[1]
TIMES = ["seconds_reconstruct", "seconds_segment"]


@pytest.fixture(scope="module")
def cluster():
    """A local Dask cluster of two worker processes."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=logging.CRITICAL
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


class KillOne:
    """An executor on Dask that kills a worker when the first rows have come, and counts the jobs that come back."""

    def __init__(self, client):
        self.client, self.killed, self.jobs = client, None, []

    def __call__(self, jobs, work):
        for job, rows in on_dask(self.client)(jobs, work):
            if self.killed is None:
                self.killed = min(self.client.run(os.getpid).values())
                os.kill(self.killed, signal.SIGKILL)
            self.jobs.append(job[0].key)
            yield job, rows


@pytest.fixture(params=["inline", "processes", "dask", "dask by address", "dask with a worker killed"])
def executor(request):
    """Every executor in turn."""
    if request.param == "inline":
        return inline
    if request.param == "processes":
        return local_processes(2)
    client = request.getfixturevalue("cluster")
    if request.param == "dask by address":
        return on_dask(client.scheduler.address)
    return KillOne(client) if "killed" in request.param else on_dask(client)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return sweep(CONFIG, tmp_path_factory.mktemp("study"))


def test_every_executor_gives_the_same_rows(executor, tmp_path, expected):
    rows = sweep(CONFIG, tmp_path, executor=executor)
    pd.testing.assert_frame_equal(rows.drop(columns=TIMES), expected.drop(columns=TIMES))
    if isinstance(executor, KillOne):
        assert executor.killed is not None
        assert len(executor.jobs) == len(set(executor.jobs)) == 16


def die_on_the_second(job):
    """Work that ends its process in one job, as if it had taken all memory."""
    if job[0].scan.scheme == "lines" and job[0].frame.name == "ordinary-1":
        os._exit(9)
    return [{"key": case.key, "error": ""} for case in job]


def test_a_job_that_kills_its_process_is_a_row_with_an_error_and_the_rest_go_on():
    from segmentation.study import expand, jobs_of

    jobs = jobs_of(expand(CONFIG))[2:8]
    before = dict(os.environ)
    rows = [row for _, new in local_processes(1)(jobs, die_on_the_second) for row in new]
    assert dict(os.environ) == before
    assert sorted(row["key"] for row in rows) == sorted(case.key for job in jobs for case in job)
    failed = {row["key"] for row in rows if row["error"]}
    assert failed == {
        case.key for job in jobs for case in job if case.scan.scheme == "lines" and case.frame.name == "ordinary-1"
    }


def processes_of(job):
    return [{"key": case.key, "error": "", "process": os.getpid()} for case in job]


def test_processes_stay_for_the_next_study_in_a_with_statement_and_end_with_it():
    from segmentation.study import expand, jobs_of

    jobs = jobs_of(expand(CONFIG))
    with local_processes(1) as workers:
        first, second = ({row["process"] for _, new in workers(jobs, processes_of) for row in new} for _ in range(2))
        assert first == second
        dead = [row for _, new in workers(jobs[2:8], die_on_the_second) for row in new]
        assert any(row["error"] for row in dead)
        third = workers(jobs, processes_of)
        (one,) = {row["process"] for row in next(third)[1]}
        third.close()
        assert {one} == {row["process"] for _, new in workers(jobs, processes_of) for row in new} != first
        os.kill(one, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(one, 0)
    alone = local_processes(1)
    first, second = ({row["process"] for _, new in alone(jobs, processes_of) for row in new} for _ in range(2))
    assert first != second


ORPHANING = """
import os, time
from segmentation.study import local_processes

def slow(job):
    time.sleep(0.3)
    return [{"process": os.getpid()}]

if __name__ == "__main__":
    for _, rows in local_processes(1)([[number] for number in range(1000)], slow):
        print(rows[0]["process"], flush=True)
"""


def runs(process):
    """Whether a process is there and no zombie, which a container's first process may never bury."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes as Linux shows them")
def test_workers_end_with_a_study_that_is_killed(tmp_path):
    script = tmp_path / "study.py"
    script.write_text(ORPHANING)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    study = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment)
    assert study.stdout is not None
    worker = int(study.stdout.readline())
    assert runs(worker)
    study.kill()
    study.wait()
    study.stdout.close()
    for _ in range(100):
        if not runs(worker):
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    raise AssertionError("the worker outlived its study")


def test_an_executor_that_is_closed_stops_its_workers():
    from segmentation.study import expand, jobs_of

    done = local_processes(1)(jobs_of(expand(CONFIG)), die_on_the_second)
    next(done)
    done.close()
    with pytest.raises(StopIteration):
        next(done)


def test_a_scheduler_that_does_not_answer_is_one_line(tmp_path, capsys):
    pytest.importorskip("distributed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(InputError, match="no Dask scheduler answers at"):
        list(on_dask(address, timeout_s=0.5)([], die_on_the_second))
    with pytest.raises(InputError, match="no Dask scheduler answers at"):
        list(on_dask("nonsense://x", timeout_s=0.5)([], die_on_the_second))
    assert main(["study", "--preset", "quick", "--out", str(tmp_path), "--scheduler", "nonsense://x"]) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("cs-stem: error: no Dask scheduler answers")


def test_dask_that_is_not_installed_is_told_of(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install 'cs-stem\[dask\]'"):
        list(on_dask("tcp://127.0.0.1:1")([], die_on_the_second))


def test_a_number_of_workers_is_checked():
    with pytest.raises(InputError, match="number of workers is 0"):
        local_processes(0)
