"""Which device computes, and in which precision."""

import contextlib
from contextlib import AbstractContextManager

import torch

from origcli.errors import DeviceError, UsageError

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def select_device(name: str = "auto") -> torch.device:
    """`auto` is cuda, else mps, else cpu; else a device by name, e.g. `cuda:1`.

    Raises:
        UsageError: no such kind of device.
        DeviceError: this machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"no device is called {name!r}", "choose auto, cpu, mps, cuda or cuda:N") from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise DeviceError(
                f"{name}: this torch sees no CUDA device",
                "use --device cpu, or install torch for CUDA",
            )
        index = device.index or 0
        if index >= torch.cuda.device_count():
            raise DeviceError(f"{name}: there are {torch.cuda.device_count()} CUDA devices, from cuda:0")
        return torch.device("cuda", index)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("mps: this torch sees no Metal device", "use --device cpu")
    if device.type not in ("cpu", "mps"):
        raise UsageError(f"no device is called {name!r}", "choose auto, cpu, mps, cuda or cuda:N")
    return device


def select_dtype(device: torch.device, name: str = "auto") -> torch.dtype:
    """The dtype of the frozen models: on CUDA bf16 where the card computes in it, else fp16; fp32 elsewhere.

    Learned embeddings and optimiser states are fp32 whatever this says.
    """
    if name != "auto":
        return DTYPES[name]
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Mixed precision around a forward pass; nothing in fp32."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def memory_format(device: torch.device) -> torch.memory_format:
    """channels_last, which tensor cores want and which paid a little on CPUs too; not on mps."""
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def configure_backends(device: torch.device, deterministic: bool, threads: int | None) -> None:
    """TF32 for what stays in fp32 on CUDA; repeatable kernels when asked; the number of threads."""
    if threads is not None:
        torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = not deterministic
    # warn_only: a kernel with no repeatable form is better than no run.
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    # Filling every new tensor costs time and only hides reads of uninitialised memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
