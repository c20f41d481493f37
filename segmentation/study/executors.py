"""Where the jobs of a study run: here, in local processes, or on a Dask cluster.

An executor is a callable from jobs and the work to be done on each to an iterator of jobs with their rows, in the order
in which they are done. Rows come back to one process, which alone writes them: nothing is done twice.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import TYPE_CHECKING, Any, Protocol

import torch

from segmentation.study.evaluate import failed_rows
from simulate.errors import InputError, check_count

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from segmentation.study.cases import Job
    from segmentation.study.evaluate import Row

Done = tuple["Job", "list[Row]"]
AHEAD = 2
"""Jobs given out for each worker: one runs and the next waits, so that an interrupted study has little to wait for."""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_KILLED = "the process that computed it was killed, perhaps for want of memory"


class Executor(Protocol):
    """What runs jobs; the iterator it returns can be closed at any time, which stops the work."""

    def __call__(self, jobs: Sequence[Job], work: Callable[[Job], list[Row]]) -> Generator[Done]: ...  # noqa: D102


def inline(jobs: Sequence[Job], work: Callable[[Job], list[Row]]) -> Generator[Done]:
    """Run jobs one after another in this process."""
    for job in jobs:
        yield job, work(job)


class local_processes:  # noqa: N801 - called like the other executors
    """An executor of `n` processes on this machine, each with its share of the cores.

    A process that is killed costs its job and no other: the jobs that ran when it died are run again one at a time, and
    the one that kills its process again gives rows with an error.

    A script that uses it must start its work under ``if __name__ == "__main__":``, for processes are spawned. Each
    study starts its own, which takes seconds; in a ``with`` statement they stay for the next one, until its end:

    >>> with local_processes(2) as workers:  # doctest: +SKIP
    ...     found, rows = plan(config, wish, "plan", executor=workers)

    Parameters
    ----------
    n : int
        How many.
    """

    def __init__(self, n: int) -> None:
        check_count(n, "number of workers", 1)
        self.n, self._keeps = int(n), False
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> local_processes:
        self._keeps = True
        return self

    def __exit__(self, *_: object) -> None:
        self._keeps = False
        self._stop()

    def __call__(self, jobs: Sequence[Job], work: Callable[[Job], list[Row]]) -> Generator[Done]:
        """Run the jobs; see `Executor`."""
        queue = deque(jobs)
        with _limited_threads(max(1, (os.cpu_count() or 1) // self.n)) as threads:
            while queue:
                self._pool = self._pool or _start(self.n, threads)
                try:
                    suspects = deque((yield from _run(self._pool, queue, work, ahead=AHEAD * self.n)))
                finally:
                    if not self._keeps:
                        self._stop()
                if suspects:
                    self._stop()
                while suspects:
                    # One at a time, so that it is sure which of them kills its process.
                    pool = _start(1, threads)
                    try:
                        killers = yield from _run(pool, suspects, work, ahead=1)
                    finally:
                        pool.shutdown(wait=True, cancel_futures=True)
                    for job in killers:
                        yield job, failed_rows(job, _KILLED)

    def _stop(self) -> None:
        pool, self._pool = self._pool, None
        if pool:
            pool.shutdown(wait=True, cancel_futures=True)


def on_dask(scheduler: Any, *, timeout_s: float = 10.0) -> Executor:
    """Return an executor on a Dask cluster, whose workers must have this package installed.

    A worker that dies is made up for by the others. A job that kills its workers again and again gives rows with an
    error.

    Parameters
    ----------
    scheduler : str or distributed.Client
        ``"tcp://host:8786"``, or a client of your own.
    timeout_s : float
        How long to wait for the scheduler, and for its first worker.

    Raises
    ------
    InputError
        When it is run: if Dask is not installed, the scheduler cannot be reached or has no workers, or is lost.
    """

    def run(jobs: Sequence[Job], work: Callable[[Job], list[Row]]) -> Generator[Done]:
        distributed = _distributed()
        own = isinstance(scheduler, str)
        client = _connect(distributed, scheduler, timeout_s) if own else scheduler
        try:
            yield from _on_client(distributed, client, jobs, work, timeout_s)
        finally:
            if own:
                client.close(timeout=timeout_s)

    return run


def _start(n: int, threads: int) -> ProcessPoolExecutor:
    pool = ProcessPoolExecutor(n, get_context("spawn"), _start_worker, (threads,))
    try:
        _check_that_it_works(pool)
    except BaseException:
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    return pool


def _run(
    pool: ProcessPoolExecutor, queue: deque[Job], work: Callable[[Job], list[Row]], *, ahead: int
) -> Generator[Done, None, list[Job]]:
    """Run the queue in a pool of processes; return the jobs that were given out if one of the processes died."""
    running: dict[Future[list[Row]], Job] = {}
    try:
        while queue or running:
            while queue and len(running) < ahead:
                running[pool.submit(work, queue[0])] = queue[0]
                queue.popleft()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                rows = future.result()
                yield running.pop(future), rows
    except BrokenProcessPool:
        for future, job in list(running.items()):
            if future.done() and future.exception() is None:
                yield job, future.result()
                del running[future]
        return list(running.values())
    finally:
        for future in running:
            future.cancel()
    return []


def _check_that_it_works(pool: ProcessPoolExecutor) -> None:
    try:
        pool.submit(os.getpid).result()
    except BrokenProcessPool:
        raise InputError(
            "processes die as they start; in a script, call sweep under \"if __name__ == '__main__':\""
        ) from None


@contextmanager
def _limited_threads(threads: int) -> Iterator[int]:
    """Let processes that start meanwhile use so many threads: libraries read these variables as they are imported."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, str(threads)))
    try:
        yield threads
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _start_worker(threads: int) -> None:
    torch.set_num_threads(threads)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the one that started it is gone: killed, it cannot tell its workers to stop."""
    if parent := parent_process():
        parent.join()
        os._exit(1)


def _on_client(
    distributed: Any, client: Any, jobs: Sequence[Job], work: Callable[[Job], list[Row]], timeout_s: float
) -> Generator[Done]:
    try:
        client.wait_for_workers(1, timeout=timeout_s)
    except TimeoutError:
        raise InputError(
            f"the Dask scheduler has no workers after {timeout_s:g} s; start one with 'dask worker ADDRESS'"
        ) from None
    slots = max(1, sum(client.nthreads().values()))
    queue = iter(jobs)
    running: dict[Any, Job] = {}
    try:
        ready = distributed.as_completed()
        for job in islice(queue, AHEAD * slots):
            running[future := _submit(client, job, work)] = job
            ready.add(future)
        for future in ready:
            job = running.pop(future)
            yield job, _result(distributed, future, job)
            for following in islice(queue, 1):
                running[future := _submit(client, following, work)] = following
                ready.add(future)
    finally:
        if running:
            client.cancel(list(running), force=True)


def _submit(client: Any, job: Job, work: Callable[[Job], list[Row]]) -> Any:
    return client.submit(work, job, key=f"cs-stem-{job[0].key}-{len(job)}", pure=False)


def _result(distributed: Any, future: Any, job: Job) -> list[Row]:
    from concurrent.futures import CancelledError

    try:
        return future.result()
    except distributed.KilledWorker:
        return failed_rows(job, _KILLED)
    except (CancelledError, OSError) as error:
        raise InputError(
            f"the Dask scheduler was lost ({error}); the rows so far are kept, run again to go on"
        ) from None
    except Exception as error:  # the work itself catches everything, so this is a worker that cannot begin it
        raise InputError(
            f"a Dask worker cannot run the study ({type(error).__name__}: {error}); install the same cs-stem there"
        ) from error


def _connect(distributed: Any, address: str, timeout_s: float) -> Any:
    try:
        return distributed.Client(address, timeout=timeout_s)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at {address!r} within {timeout_s:g} s ({type(error).__name__}); expected an "
            "address like tcp://host:8786"
        ) from None


def _distributed() -> Any:
    try:
        import distributed
    except ImportError:
        raise InputError("Dask is not installed; install it with: pip install 'cs-stem[dask]'") from None
    return distributed
