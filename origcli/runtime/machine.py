"""What this machine has: devices, memory, disk."""

import math
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from origcli.errors import DeviceError

if TYPE_CHECKING:
    import torch

_ROOT = Path("/")
_NO_LIMIT = 1 << 62
_DEVICE_SHARE = 0.9
_MEMORY_SHARE = 0.25


def require_posix() -> None:
    """Looks for what Windows lacks, before anything that needs it is loaded.

    Raises:
        DeviceError: Python has no POSIX file locks here.
    """
    try:
        import fcntl  # noqa: F401
    except ImportError:
        raise DeviceError(
            "this system is not supported: its Python has no POSIX file locks (module fcntl)",
            "on Windows, install WSL (wsl --install), and origcli inside it",
        ) from None


def memory_facts() -> dict[str, int]:
    """Bytes of main memory, and how many are free to use; limits of the container and of the job count."""
    import psutil

    memory = psutil.virtual_memory()
    total, available = memory.total, memory.available
    for group in _control_groups("memory"):
        limit = _number(group / "memory.max") or _number(group / "memory.limit_in_bytes")
        if limit is None:
            continue
        used = _number(group / "memory.current") or _number(group / "memory.usage_in_bytes") or 0
        # Pages of files are given up when memory is needed.
        pages = _statistics(group / "memory.stat").get("inactive_file", 0)
        total = min(total, limit)
        available = min(available, max(0, limit - max(0, used - pages)))
    return {"total": total, "available": available}


def cores() -> int:
    """CPU cores that this process may use: by its affinity, and by the quota of its container or job."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for group in _control_groups("cpu"):
        quota, period = _cpu_quota(group)
        if quota and period:
            allowed = min(allowed, max(1, math.ceil(quota / period)))
    return allowed


def _cpu_quota(group: Path) -> tuple[int | None, int | None]:
    """Microseconds of CPU time in a period, and the period; `None` where there is no limit."""
    words = _read(group / "cpu.max").split()
    if len(words) == 2:
        return _as_number(words[0]), _as_number(words[1])
    return _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")


def _control_groups(controller: str) -> list[Path]:
    """The control group of this process, and all above it: each may set a limit.

    Version 2 has one tree for all controllers, version 1 one for each. In a container without a namespace of
    control groups, the paths are those of the host, and its own group is what is mounted at the root.
    """
    groups = []
    for line in _read(_ROOT / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            roots = [_ROOT / "sys/fs/cgroup", _ROOT / "sys/fs/cgroup/unified"]
        elif controller in controllers.split(","):
            roots = [_ROOT / "sys/fs/cgroup" / controller, _ROOT / "sys/fs/cgroup" / controllers]
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        groups += [root.joinpath(*parts[:depth]) for root in roots for depth in range(len(parts), -1, -1)]
    return groups


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except (OSError, ValueError):
        return ""


def _as_number(text: str) -> int | None:
    """A limit; `None` for `max`, −1 and what version 1 says for none: more than any machine has."""
    return int(text) if text.isdecimal() and int(text) < _NO_LIMIT else None


def _number(path: Path) -> int | None:
    return _as_number(_read(path).strip())


def _statistics(path: Path) -> dict[str, int]:
    pairs = (line.split() for line in _read(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def free_disk(path: Path) -> int:
    """Bytes free where a path is, or would be made."""
    while not os.access(path, os.F_OK):
        path = path.parent
    return shutil.disk_usage(path).free


def usable_bytes(device: "torch.device") -> int:
    """How many bytes a first batch may fill: 0.9 of what is free on a CUDA device, else a quarter of all.

    A GPU that is filled too far says so, and the batch is halved. Host memory gives no error but ends the
    process. It is counted whole, because the size of a batch changes last digits: equal runs on one machine,
    and a resumed run, compute in equal batches however much is free at the time. What is
    promised is equal bytes there, and on CUDA, where others may take memory, equality to rounding.
    """
    if device.type != "cuda":
        return int(memory_facts()["total"] * _MEMORY_SHARE)
    import torch

    return int(torch.cuda.mem_get_info(device)[0] * _DEVICE_SHARE)


def device_facts() -> list[dict[str, Any]]:
    """Every device that torch can compute on, the preferred one first, with its memory in bytes."""
    import torch

    devices: list[dict[str, Any]] = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(index)
        devices.append(
            {
                "device": f"cuda:{index}",
                "name": torch.cuda.get_device_name(index),
                "memory_total": total,
                "memory_available": free,
                "dtypes": ["fp32", "fp16"] + (["bf16"] if _has_bf16(index) else []),
            }
        )
    memory = memory_facts()
    host = {"memory_total": memory["total"], "memory_available": memory["available"]}
    if torch.backends.mps.is_available():
        devices.append({"device": "mps", "name": "Metal", **host, "dtypes": ["fp32", "fp16"]})
    return [*devices, {"device": "cpu", "name": f"{cores()} cores", **host, "dtypes": ["fp32", "bf16"]}]


def _has_bf16(index: int) -> bool:
    import torch

    return torch.cuda.get_device_capability(index) >= (8, 0)
