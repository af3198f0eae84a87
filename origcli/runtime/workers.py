"""Runs independent units of work in this process or in several, and stops them at once when asked to."""

import gc
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.context import BaseContext
from typing import Any, TypeVar

from origcli.errors import DeviceError
from origcli.runtime import interrupts

Check = Callable[[], None]
Unit = TypeVar("Unit")
Result = TypeVar("Result")
_POLL_S = 0.2

# Of a worker: the event that its parent sets; what opens its work, until that is open; its work.
_stopping: Any = None
_open_work: Callable[[], Callable[[Any], Any]] | None = None
_work: Any = None


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
    with _closed(pool, stopping):
        yield from _run_in_pool(pool, work, jobs, 2 * workers)


@contextmanager
def _closed(pool: ProcessPoolExecutor, stopping: Any) -> Iterator[None]:
    """Stops the workers at the end.

    Raises:
        Interrupted: a signal came.
        DeviceError: a worker was killed.
    """
    try:
        yield
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


def map_units(
    open_worker: Callable[[], Callable[[Unit], Result]], units: Sequence[Unit], workers: int
) -> Iterator[Result]:
    """What processes make of each unit, in the order of the units; a free one takes the next in any case.

    Args:
        open_worker: runs once in each process and gives the function that does a unit. It is sent by pickle,
            as the units and results are. What it opens is stopped as by a signal (`interrupts`).
        workers: processes.

    Raises:
        OrigError: as the worker raised it.
        Interrupted: a signal came; the workers have come to their next safe points.
        DeviceError: a worker was killed.
    """
    context = get_context("spawn")
    stopping = context.Event()
    pool = ProcessPoolExecutor(workers, context, _begin_follower, (stopping, open_worker))
    with _closed(pool, stopping):
        futures = deque(pool.submit(_do_unit, unit) for unit in units)
        while futures:
            interrupts.check()
            if wait([futures[0]], _POLL_S).done:
                yield futures.popleft().result()


def _begin_follower(stopping: Any, open_worker: Callable[[], Callable[[Any], Any]]) -> None:
    """The parent alone answers signals; a worker whose parent was killed ends too."""
    global _open_work
    _open_work = open_worker
    interrupts.follow()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threading.Thread(target=_stop_with_parent, args=(stopping,), daemon=True).start()


def _stop_with_parent(stopping: Any) -> None:
    while not stopping.is_set():  # to set it would take forever once a process was killed that waits for it
        time.sleep(_POLL_S)
    interrupts.stop()


def _do_unit(unit: Any) -> Any:
    global _open_work, _work
    if _open_work is not None:  # here, where what goes wrong is told
        _work, _open_work = _open_work(), None
    interrupts.check()
    return _work(unit)
