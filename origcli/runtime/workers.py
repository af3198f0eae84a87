"""Runs independent units of work in this process or in several, and stops them at once when asked to."""

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.context import BaseContext
from typing import Any

from origcli.errors import DeviceError
from origcli.runtime import interrupts

Check = Callable[[], None]
_POLL_S = 0.2

_stopping: Any = None  # the event that the parent sets, in a worker


class _Stopped(Exception):
    """The parent wants no more of this unit."""


def _check_in_worker() -> None:
    if _stopping.is_set():
        raise _Stopped


def _begin_worker(stopping: Any) -> None:
    """The parent alone answers Ctrl-C; a worker whose parent was killed ends too."""
    global _stopping
    _stopping = stopping
    gc.disable()  # the work makes no cycles, and looking for them takes a twentieth of the time
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _context() -> BaseContext:
    """Forking starts at once, but is safe only where no other thread runs."""
    alone = sys.platform == "linux" and threading.active_count() == 1 and "torch" not in sys.modules
    return get_context("fork" if alone else "spawn")


def _run_in_worker(work: Callable[..., int], job: tuple[Any, ...]) -> int:
    return work(*job, _check_in_worker)


def run_units(work: Callable[..., int], jobs: Sequence[tuple[Any, ...]], workers: int) -> Iterator[int]:
    """Runs `work(*job, check)` for every job and gives the results as they come, in no certain order.

    Args:
        work: calls `check()` often; it raises where the work is to stop.
        workers: processes; 1 works in this one.

    Raises:
        Interrupted: a signal came.
        DeviceError: a worker was killed.
    """
    context = _context()
    try:
        stopping = None if workers == 1 or len(jobs) < 2 else context.Event()
    except OSError:  # no shared memory (/dev/shm), over which processes speak: one does the same, later
        stopping = None
    if stopping is None:
        for job in jobs:
            yield work(*job, interrupts.check)
        return

    pool = ProcessPoolExecutor(min(workers, len(jobs)), context, _begin_worker, (stopping,))
    try:
        yield from _run_in_pool(pool, work, jobs, 2 * workers)
    except BrokenProcessPool as error:
        interrupts.check()  # a signal to the whole group ends the workers too
        raise DeviceError(
            "a worker process was killed", "resume with --resume, with fewer workers if memory ran out"
        ) from error
    finally:
        stopping.set()
        pool.shutdown(cancel_futures=True)


def _run_in_pool(
    pool: ProcessPoolExecutor, work: Callable[..., int], jobs: Sequence[tuple[Any, ...]], at_once: int
) -> Iterator[int]:
    waiting = iter(jobs)
    running: set[Future[int]] = set()
    while True:
        interrupts.check()
        while len(running) < at_once and (job := next(waiting, None)) is not None:
            running.add(pool.submit(_run_in_worker, work, job))
        if not running:
            return
        done, running = wait(running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()
