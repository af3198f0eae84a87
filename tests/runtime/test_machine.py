"""Limits of containers and jobs: what their control groups say, in both versions."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from origcli.runtime import device, machine
from origcli.runtime.device import backends

GB = 10**9
JOB = "system.slice/job_5/step_0"


@pytest.fixture(autouse=True)
def a_large_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_ROOT", tmp_path)
    memory = SimpleNamespace(total=256 * GB, available=200 * GB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))


def write(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")


def test_without_limits_it_is_the_machine(tmp_path: Path) -> None:
    assert machine.memory_facts() == {"total": 256 * GB, "available": 200 * GB} and machine.cores() == 64
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/",
            "sys/fs/cgroup/memory.max": "max",
            "sys/fs/cgroup/cpu.max": "max 100000",
        },
    )
    assert machine.memory_facts()["total"] == 256 * GB and machine.cores() == 64


@pytest.mark.fault(14, "the limits of a job's own control group are read, and those above it")
def test_a_job_of_version_2(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/cgroup": f"0::/{JOB}/task_0",
            f"sys/fs/cgroup/{JOB}/task_0/memory.max": "max",
            f"sys/fs/cgroup/{JOB}/memory.max": str(8 * GB),
            f"sys/fs/cgroup/{JOB}/memory.current": str(5 * GB),
            f"sys/fs/cgroup/{JOB}/memory.stat": f"anon 1\ninactive_file {2 * GB}",
            "sys/fs/cgroup/system.slice/memory.max": str(100 * GB),
            f"sys/fs/cgroup/{JOB}/cpu.max": "250000 100000",
        },
    )
    assert machine.memory_facts() == {"total": 8 * GB, "available": 5 * GB}
    assert machine.cores() == 3


def test_a_job_of_version_1(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/cgroup": "9:memory:/slurm/uid_1/job_5\n4:cpu,cpuacct:/slurm/uid_1/job_5\n1:name=x:/y",
            "sys/fs/cgroup/memory/slurm/uid_1/job_5/memory.limit_in_bytes": str(16 * GB),
            "sys/fs/cgroup/memory/slurm/uid_1/job_5/memory.usage_in_bytes": str(20 * GB),
            "sys/fs/cgroup/memory/memory.limit_in_bytes": str((1 << 63) - 4096),
            "sys/fs/cgroup/cpu,cpuacct/slurm/uid_1/job_5/cpu.cfs_quota_us": "50000",
            "sys/fs/cgroup/cpu,cpuacct/slurm/uid_1/job_5/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
        },
    )
    assert machine.memory_facts() == {"total": 16 * GB, "available": 0}
    assert machine.cores() == 1


def test_a_container_that_sees_the_paths_of_its_host(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/../../docker/abc",
            "sys/fs/cgroup/memory.max": str(4 * GB),
            "sys/fs/cgroup/cpu.max": "200000 100000",
        },
    )
    assert machine.memory_facts()["total"] == 4 * GB and machine.cores() == 2


def test_torch_takes_no_more_threads_than_the_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = [8]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda count: threads.__setitem__(0, count))
    monkeypatch.setattr(device, "cores", lambda: 2)
    with backends(torch.device("cpu"), True, None):
        assert threads == [2]
    assert threads == [8]
    with backends(torch.device("cpu"), True, 6):
        assert threads == [6], "what the user asked for stays"
