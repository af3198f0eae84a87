"""Which device computes, and in which precision."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from origcli.errors import DeviceError, UsageError
from origcli.runtime.distributed import local_rank

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_DEVICES = "choose auto, cpu, mps, cuda or cuda:N"


def select_device(name: str = "auto") -> torch.device:
    """`auto` is cuda, else mps, else cpu; else a device by name, e.g. `cuda:1`.

    `auto` and `cuda` are a card of its own for each process that was launched on this machine.

    Raises:
        UsageError: no such kind of device.
        DeviceError: this machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return select_device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"no device is called {name!r}", _DEVICES) from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise DeviceError(
                f"{name}: this torch sees no CUDA device",
                "use --device cpu, or install torch for CUDA",
            )
        index = local_rank() if device.index is None else device.index
        if index >= torch.cuda.device_count():
            raise DeviceError(f"{name}: there are {torch.cuda.device_count()} CUDA devices, from cuda:0")
        return torch.device("cuda", index)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("mps: this torch sees no Metal device", "use --device cpu")
    if device.type not in ("cpu", "mps"):
        raise UsageError(f"no device is called {name!r}", _DEVICES)
    return torch.device(device.type)


def select_dtype(device: torch.device, name: str = "auto") -> torch.dtype:
    """The dtype of the frozen models: on CUDA bf16 where the card computes in it, else fp16; fp32 elsewhere.

    `auto` follows `accelerate launch --mixed_precision`. Its `no` is also what a launch says that was told
    nothing, and changes nothing here.

    Learned embeddings and optimiser states are fp32 whatever this says.

    Raises:
        UsageError: the launch asks for a precision that there is not.
    """
    if name != "auto":
        return DTYPES[name]
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "").strip().lower() or "no"
    if launched != "no":
        if launched not in DTYPES:
            raise UsageError(
                f"ACCELERATE_MIXED_PRECISION={launched}: a mixed precision that is not supported",
                "configure accelerate for bf16, fp16 or no",
            )
        return DTYPES[launched]
    if device.type != "cuda":
        return torch.float32
    with torch.cuda.device(device):  # the question is asked about the current device
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float16


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A copy on the device that the host does not wait for; the tensor itself where it is there already."""
    if device.type != "cuda" or tensor.device == device:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Mixed precision around a forward pass; nothing in fp32."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def learning_kernels(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Which kernels a forward pass and its way back take: torch's choice, with two exceptions.

    - bf16 on CPUs: fused attention is fast forward alone. Going back, it took a third of the time of an
      inversion's step; with plain matrix products a step takes 0.78 times as long (benchmarks/training.py,
      `ways`).
    - CUDA, where runs are to repeat: fused attention goes back in a fixed order of sums only if torch is
      strict; if it merely warns, attention warns that it could and does not.
    """
    if device.type == "cpu" and dtype == torch.bfloat16:
        return sdpa_kernel(SDPBackend.MATH)
    if device.type == "cuda" and torch.are_deterministic_algorithms_enabled():
        return _strict()
    return contextlib.nullcontext()


@contextmanager
def _strict() -> Iterator[None]:
    """Kernels that do not repeat are refused, not warned of.

    Raises:
        DeviceError: there is no other.
    """
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error")
    try:
        yield
    except RuntimeError as problem:
        if "deterministic" not in str(problem):
            raise
        raise DeviceError(
            f"this model's gradients differ from run to run here: {str(problem).splitlines()[0]}",
            "allow it with deterministic = false under [runtime] in a file for --config",
        ) from problem
    finally:
        torch.set_deterministic_debug_mode(before)


def memory_format(device: torch.device) -> torch.memory_format:
    """channels_last, which tensor cores want and which paid a little on CPUs too; not on mps."""
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


@contextmanager
def backends(
    device: torch.device, deterministic: bool, threads: int | None, compiled: bool = False
) -> Iterator[None]:
    """TF32 for what stays in fp32 on CUDA; repeatable kernels when asked; the number of threads.

    These are torch's own global switches; a notebook that called us gets back what it had.
    """
    switches = torch.backends.cudnn
    before = (
        torch.get_num_threads(),
        torch.get_float32_matmul_precision(),
        switches.allow_tf32,
        switches.benchmark,
        torch.get_deterministic_debug_mode(),
        torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
    )
    if threads is not None:
        torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        switches.allow_tf32 = True
        switches.benchmark = not deterministic
        if deterministic:
            # Read when cuBLAS is first used: without it its kernels differ from run to run.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # It warns: a kernel with no repeatable form is better than no run; `learning_kernels` is stricter, since
    # what is learned goes into files that others go on with. `use_deterministic_algorithms` tells
    # the compiler, too, and so imports it, which takes two seconds.
    torch.set_deterministic_debug_mode("warn" if deterministic else "default")
    if compiled:
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
    # Filling every new tensor costs time and only hides reads of uninitialised memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.set_float32_matmul_precision(before[1])
        switches.allow_tf32 = before[2]
        switches.benchmark = before[3]
        torch.set_deterministic_debug_mode(before[4])
        torch.utils.deterministic.fill_uninitialized_memory = before[5]  # type: ignore[attr-defined]
