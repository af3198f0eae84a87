"""What this machine has: devices, memory, disk."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_DEVICE_SHARE = 0.9
_MEMORY_SHARE = 0.25


def memory_facts() -> dict[str, int]:
    """Bytes of main memory, and how many are free to use; the limit of the container counts."""
    import psutil

    memory = psutil.virtual_memory()
    limits = [memory.total]
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(name).read_text("ascii")))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    total = min(limits)
    return {"total": total, "available": min(memory.available, total)}


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_disk(path: Path) -> int:
    """Bytes free where a path is, or would be made."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def usable_bytes(device: "torch.device") -> int:
    """How many bytes a first batch may fill: 0.9 of what is free on a CUDA device, else a quarter of all.

    A GPU that is filled too far says so, and the batch is halved. Host memory gives no error but ends the
    process. It is counted whole, because the size of a batch changes last digits: equal runs on one machine,
    and a run that is gone on with, compute in equal batches however much is free at the time. What is
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
