"""Units of work over a local Ray cluster of two workers. Ray is an extra: without it these are skipped."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from origcli.errors import DeviceError, InputError, Interrupted, ModelError
from origcli.runtime.cluster import ray_cluster, ray_map

ray_module = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_WAIT_POLICY", "")  # not set, on a cluster that was started without origcli
        ray_module.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray_module
    ray_module.shutdown()


def test_results_come_in_the_order_of_the_units_from_two_processes(cluster: Any) -> None:
    def open_worker() -> Any:
        import time

        def work(unit: Any) -> Any:
            time.sleep(0.2 if unit == 0 else 0)  # the first is the last to be done
            return unit, os.getpid()

        return work

    found = list(ray_map(cluster, open_worker, range(6), workers=2))
    assert [unit for unit, _ in found] == list(range(6))
    assert len({process for _, process in found}) == 2 and os.getpid() not in {p for _, p in found}


def test_a_free_worker_does_not_wait_for_a_slow_unit_before_its_own(cluster: Any, tmp_path: Path) -> None:
    def open_worker(marks: Any = tmp_path) -> Any:
        import time

        def work(unit: Any) -> Any:
            Path(marks, str(unit)).touch()
            for _ in range(600):  # the first unit ends when the last has begun
                if unit or Path(marks, "5").exists():
                    return unit
                time.sleep(0.1)
            raise InputError("the first unit held the others up")

        return work

    assert list(ray_map(cluster, open_worker, range(6), workers=2)) == list(range(6))


def test_threads_of_a_worker_sleep_before_its_work_is_unpacked(cluster: Any) -> None:
    """Unpacking the work imports modules, torch among them."""

    def unpack() -> Any:
        policy = os.environ["OMP_WAIT_POLICY"]
        return lambda: lambda unit: policy

    class Work:
        def __reduce__(self) -> Any:
            return unpack, ()

    assert list(ray_map(cluster, Work(), [0], workers=1)) == ["PASSIVE"]  # type: ignore[arg-type]


STUDY = """
import sys, time
from pathlib import Path
from origcli.errors import Interrupted
from origcli.runtime.cluster import ray_cluster, ray_map
from origcli.runtime.interrupts import handled

def open_worker(begun=sys.argv[1]):
    def work(unit):
        Path(begun).touch()
        time.sleep(300)
    return work

with handled(), ray_cluster("local") as ray:
    try:
        list(ray_map(ray, open_worker, range(2), workers=1))
    except Interrupted as stopped:
        sys.exit(stopped.exit_code)
"""


@pytest.mark.fault(9, "a run that waits for the workers of a Ray cluster stops, too")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_run_that_waits_for_its_workers(tmp_path: Path, number: Any) -> None:
    begun = tmp_path / "begun"
    process = subprocess.Popen(
        [sys.executable, "-c", STUDY, str(begun)], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 120
        while not begun.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(number)
        said = process.communicate(timeout=120)[1]
    finally:
        process.kill()
    assert process.returncode == 128 + number
    assert "stopping at the next safe point" in said and "PC: @" not in said


@pytest.mark.fault(30, "it is replaced and its unit done again")
@pytest.mark.parametrize("stopped", [False, True])
def test_a_worker_that_dies_or_is_stopped_is_replaced_and_its_unit_done_again(
    cluster: Any, tmp_path: Path, stopped: bool
) -> None:
    def open_worker(marks: Any = tmp_path, stopped: Any = stopped) -> Any:
        def work(unit: Any) -> Any:
            mark = Path(marks, str(unit))
            if unit == 3 and not mark.exists():
                mark.touch()
                if stopped:
                    raise Interrupted(signal.SIGTERM)
                os._exit(1)
            return unit * 10

        return work

    assert list(ray_map(cluster, open_worker, range(6), workers=2)) == [0, 10, 20, 30, 40, 50]
    assert (tmp_path / "3").exists()


@pytest.mark.fault(30, "exit 5 when a unit kills each worker")
def test_a_unit_that_kills_every_worker_ends_the_run(cluster: Any) -> None:
    def open_worker() -> Any:
        return lambda unit: os._exit(1)

    with pytest.raises(DeviceError, match="died"):
        list(ray_map(cluster, open_worker, range(1), workers=1))


def test_a_unit_that_kills_every_worker_can_be_a_result(cluster: Any) -> None:
    def open_worker() -> Any:
        return lambda unit: os._exit(1) if unit == 1 else unit

    found = list(
        ray_map(cluster, open_worker, range(3), workers=1, failed=lambda unit, problem: (unit, problem))
    )
    assert found[0] == 0 and found[2] == 2
    assert found[1][0] == 1 and isinstance(found[1][1], DeviceError)


def test_errors_of_ours_come_through(cluster: Any) -> None:
    def open_worker() -> Any:
        def work(unit: Any) -> None:
            raise InputError(f"{unit}: no picture", "a hint")

        return work

    with pytest.raises(InputError, match="7: no picture") as caught:
        list(ray_map(cluster, open_worker, [7], workers=1))
    assert caught.value.hint == "a hint"


PRIORITIES = """
import os
from origcli.runtime.cluster import ray_cluster, ray_map

with ray_cluster("local") as ray:
    print(*ray_map(ray, lambda: lambda unit: os.nice(0), [0], workers=1), os.nice(0))
"""


def test_workers_of_a_cluster_of_its_own_have_the_priority_of_the_command() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "RAY_worker_niceness"}
    done = subprocess.run(
        [sys.executable, "-c", PRIORITIES], env=environment, stdout=subprocess.PIPE, timeout=120, check=True
    )
    worker, command = done.stdout.split()
    assert worker == command


def test_without_ray_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ModelError, match="not installed") as caught, ray_cluster("auto"):
        pass
    assert "origcli[ray]" in caught.value.hint
