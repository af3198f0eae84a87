"""Independent units of work over a Ray cluster (extra `ray`): scheduling and retries are Ray's."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from origcli.errors import DeviceError, Interrupted, ModelError, OrigError, UsageError
from origcli.runtime import interrupts
from origcli.runtime.waiting import wait_asleep

Unit = TypeVar("Unit")
Result = TypeVar("Result")

AUTO = "auto"
RETRIES = 3  # of a unit whose worker died
_LOOK = 1.0  # seconds between two looks for a signal


@contextmanager
def ray_cluster(address: str) -> Iterator[Any]:
    """A connection to a cluster, closed at the end; gives the module `ray`.

    Args:
        address: of a running cluster; `auto` is the one that this machine belongs to, else a new one
            on this machine alone.

    Raises:
        ModelError: Ray is not installed.
        UsageError: no cluster answers there.
    """
    try:
        import ray
    except ImportError as error:
        raise ModelError("--ray needs Ray, which is not installed", "pip install 'origcli[ray]'") from error
    # By itself a cluster lowers its workers' priority: they would starve beside other work.
    os.environ.setdefault("RAY_worker_niceness", "0")  # read where one is started
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        with interrupts.restored_handlers():  # Ray would end the process at once, with a trace
            try:
                ray.init(address=address, **quiet)
            except ConnectionError:
                if address != AUTO:
                    raise
                ray.init(address="local", include_dashboard=False, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"--ray {address}: no cluster answers: {error}", "start one: ray start --head"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def ray_map(
    ray: Any,
    open_worker: Callable[[], Callable[[Unit], Result]],
    units: Iterable[Unit],
    *,
    workers: int,
    gpus: float = 0,
    cpus: float = 1,
    failed: Callable[[Unit, DeviceError], Result] | None = None,
) -> Iterator[Result]:
    """What a worker makes of each unit, in the order of the units; a free worker takes the next in any case.

    Each worker is a process that opens its models once. If it dies or is stopped, Ray starts it again
    and gives it the unit again, up to `RETRIES` times.

    Args:
        ray: from `ray_cluster`.
        open_worker: runs in the worker's process and gives the function that does a unit. It is sent by
            pickle, as the units and results are.
        workers: how many processes.
        gpus, cpus: that each of them holds.
        failed: what is given for a unit whose worker died again and again; without it, that is raised.

    Raises:
        OrigError: as the worker raised it.
        DeviceError: a unit's worker died again and again.
        Interrupted: a signal came; the next run resumes what the workers were doing.
    """

    class Worker:
        def __init__(self, packed: bytes) -> None:
            wait_asleep()
            self.work = ray.cloudpickle.loads(packed)()  # loads torch

        def run(self, unit: Unit) -> Result:
            try:
                return self.work(unit)
            except Interrupted:  # its machine is taken away, which is no answer: as a dead one it is replaced
                os._exit(1)

    actor = ray.remote(Worker).options(
        num_gpus=gpus, num_cpus=cpus, max_restarts=-1, max_task_retries=RETRIES
    )
    packed = ray.cloudpickle.dumps(open_worker)
    free = [actor.remote(packed) for _ in range(workers)]
    waiting = list(units)
    running: dict[Any, tuple[int, Any]] = {}  # reference to a result -> place of its unit, worker
    done: dict[int, Any] = {}  # place -> reference, of those that wait for one before them
    begun = 0
    for place, unit in enumerate(waiting):
        while place not in done:
            while free and begun < len(waiting):
                worker = free.pop()
                running[worker.run.remote(waiting[begun])] = (begun, worker)
                begun += 1
            interrupts.check()
            for reference in ray.wait(list(running), num_returns=1, timeout=_LOOK)[0]:
                ended, worker = running.pop(reference)
                done[ended] = reference
                free.append(worker)
        try:
            yield ray.get(done.pop(place))
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, OrigError):
                raise error.cause from error
            raise
        except ray.exceptions.RayActorError as error:
            problem = DeviceError(
                f"a worker of the cluster died {RETRIES + 1} times over the same work: "
                f"{getattr(error, 'cause', None) or error}",
                "look at the workers' logs: /tmp/ray/session_latest/logs",
            )
            if failed is None:
                raise problem from error
            yield failed(unit, problem)
