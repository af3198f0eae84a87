"""Which device computes, and in which precision."""

import contextlib
import os
import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from origcli.errors import DeviceError, UsageError
from origcli.runtime.distributed import local_rank
from origcli.runtime.machine import cores
from origcli.runtime.switches import Shared

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_OR_NOT = "or leave out --compile"
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
        raise UsageError(f"unknown device {name!r}", _DEVICES) from error
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
        raise UsageError(f"unknown device {name!r}", _DEVICES)
    return torch.device(device.type)


def select_dtype(device: torch.device, name: str = "auto") -> torch.dtype:
    """The dtype of the frozen models: on CUDA bf16 where the card computes in it, else fp16; fp32 elsewhere.

    `auto` follows `accelerate launch --mixed_precision`. Its `no` is also what a launch says that was told
    nothing, and changes nothing here.

    Learned embeddings and optimizer states are fp32 whatever this says.

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

    - bf16 on CPUs: going back, fused attention is slow where it is over little (`_PlainAttention`).
    - CUDA, where runs are to repeat: fused attention goes back in a fixed order of sums only if torch is
      strict; if it merely warns, attention warns that it could and does not.
    """
    if device.type == "cpu" and dtype == torch.bfloat16:
        return _PlainAttention()
    if device.type == "cuda" and torch.are_deterministic_algorithms_enabled():
        return _strict()
    return contextlib.nullcontext()


class _PlainAttention(TorchFunctionMode):
    """Attention over little is done by plain matrix products, the rest as torch does it.

    In bf16 and with gradients, torch's fused kernel on a CPU takes 1.6 to 8 times as long at 64 queries or
    fewer and as long at 256 × 256, and plain products 2.4 to 2.8 times as long at 1024 × 1024
    (benchmarks/attention.py).
    """

    _FUSED = 256 * 256  # queries times keys from which the fused kernel is as fast

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is scaled_dot_product_attention:
            query = args[0] if args else kwargs["query"]
            key = args[1] if len(args) > 1 else kwargs["key"]
            if query.shape[-2] * key.shape[-2] < self._FUSED:
                with sdpa_kernel(SDPBackend.MATH):
                    return func(*args, **kwargs)
        return func(*args, **kwargs)


@contextmanager
def _strict() -> Iterator[None]:
    """Kernels that do not repeat are refused, not warned of.

    Raises:
        DeviceError: there is no other.
    """
    try:
        with _debug_mode.changed(lambda: torch.set_deterministic_debug_mode("error")):
            yield
    except RuntimeError as problem:
        if "deterministic" not in str(problem):
            raise
        raise DeviceError(
            f"this model's gradients differ from run to run here: {str(problem).splitlines()[0]}",
            "allow it with deterministic = false under [runtime] in a file for --config",
        ) from problem


def memory_format(device: torch.device) -> torch.memory_format:
    """channels_last, which tensor cores want and which paid a little on CPUs too; not on mps."""
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def require_compiler(device: torch.device) -> None:
    """Makes sure that models can be compiled for a device, before any work is done.

    Raises:
        DeviceError: there is no compiler for what torch writes.
    """
    if device.type == "cuda":
        if find_spec("triton") is None:
            raise DeviceError(
                "--compile needs triton, which is not installed", f"pip install triton, {_OR_NOT}"
            )
        wanted, program = "a C compiler", _program("CC", ("gcc", "clang", "cl"))
    else:
        wanted, program = "a C++ compiler", _program("CXX", ("g++", "clang++", "cl"))
    if program is None:
        raise DeviceError(
            f"--compile needs {wanted}, and none was found", f"install g++ (apt install g++), {_OR_NOT}"
        )


def _program(variable: str, names: Sequence[str]) -> str | None:
    """The path of the program that a variable names, else of the first that is found."""
    named = os.environ.get(variable, "").split()
    return next(filter(None, map(shutil.which, named[:1] or names)), None)


@contextmanager
def compiling() -> Iterator[None]:
    """What goes wrong in torch's compiler is said, with the way around it.

    Raises:
        DeviceError: a model could not be compiled.
    """
    try:
        yield
    except Exception as problem:
        if not type(problem).__module__.startswith(("torch._dynamo", "torch._inductor", "triton")):
            raise
        first = next(iter(str(problem).splitlines()), type(problem).__name__)
        raise DeviceError(
            f"the model could not be compiled: {first}", f"check the compiler, {_OR_NOT}"
        ) from problem


@contextmanager
def backends(
    device: torch.device, deterministic: bool, threads: int | None, compiled: bool = False
) -> Iterator[None]:
    """TF32 for what stays in fp32 on CUDA; repeatable kernels when asked; the number of threads.

    These are switches of the whole process. A notebook that called us gets back what it had, its random
    state included. What it set for itself, such as another default dtype or `torch.no_grad`, holds no longer
    inside.
    """

    def change() -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        elif torch.get_num_threads() > cores():  # torch does not know the quota of a job
            torch.set_num_threads(cores())
        if device.type == "cuda":
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.allow_tf32 = True
            torch.backends.cudnn.benchmark = not deterministic
        # It warns: a kernel with no repeatable form is better than no run; `learning_kernels` is stricter,
        # since what is learned goes into files that others go on with. `use_deterministic_algorithms` tells
        # the compiler, too, and so imports it, which takes two seconds.
        torch.set_deterministic_debug_mode("warn" if deterministic else "default")
        if compiled:
            torch.use_deterministic_algorithms(deterministic, warn_only=True)
        # Filling every new tensor costs time and only hides reads of uninitialized memory.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.set_default_dtype(torch.float32)

    if device.type == "cuda" and deterministic:
        # Read when cuBLAS is first used: without it its kernels differ from run to run.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with (
        _random_states.changed(),
        _switches.changed(change),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        yield


def _read_switches() -> tuple[Any, ...]:
    cudnn = torch.backends.cudnn
    return (
        torch.get_num_threads(),
        torch.get_float32_matmul_precision(),
        cudnn.allow_tf32,
        cudnn.benchmark,
        torch.get_deterministic_debug_mode(),
        torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
        torch.get_default_dtype(),
    )


def _write_switches(before: tuple[Any, ...]) -> None:
    torch.set_num_threads(before[0])
    torch.set_float32_matmul_precision(before[1])
    torch.backends.cudnn.allow_tf32 = before[2]
    torch.backends.cudnn.benchmark = before[3]
    torch.set_deterministic_debug_mode(before[4])
    torch.utils.deterministic.fill_uninitialized_memory = before[5]  # type: ignore[attr-defined]
    torch.set_default_dtype(before[6])


def _read_random() -> tuple[Any, ...]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda


def _write_random(before: tuple[Any, ...]) -> None:
    random.setstate(before[0])
    np.random.set_state(before[1])
    torch.set_rng_state(before[2])
    if before[3] is not None:
        torch.cuda.set_rng_state_all(before[3])


_switches = Shared(_read_switches, _write_switches)
_random_states = Shared(_read_random, _write_random)
_debug_mode = Shared(torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode)
