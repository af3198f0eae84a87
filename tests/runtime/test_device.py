"""Devices and dtypes, with machines that are not here."""

import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from origcli.errors import DeviceError, UsageError
from origcli.runtime.context import open_runtime
from origcli.runtime.device import (
    autocast,
    backends,
    compiling,
    learning_kernels,
    memory_format,
    require_compiler,
    select_device,
    select_dtype,
)
from origcli.settings import RuntimeSettings

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda", 0), torch.device("mps")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Sets what torch says of the machine."""

    def say(cuda: int = 0, mps: bool = False, bf16: tuple[int, ...] = ()) -> None:
        current = [0]

        class Within:
            def __init__(self, device: torch.device) -> None:
                self.index = device.index or 0

            def __enter__(self) -> None:
                current.append(self.index)

            def __exit__(self, *words: Any) -> None:
                current.pop()

        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "device", Within)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: current[-1] in bf16)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return iter([say])


@pytest.mark.parametrize(
    ("cuda", "mps", "name", "expected"),
    [
        (0, False, "auto", CPU),
        (0, True, "auto", MPS),
        (2, True, "auto", CUDA),
        (2, False, "cuda", CUDA),
        (2, False, "cuda:1", torch.device("cuda", 1)),
        (2, False, "cpu", CPU),
        (0, False, "cpu:0", CPU),
        (0, True, "mps", MPS),
    ],
)
def test_devices(machine: Iterator[Any], cuda: int, mps: bool, name: str, expected: torch.device) -> None:
    next(machine)(cuda=cuda, mps=mps)
    assert select_device(name) == expected


def test_each_process_of_a_launch_has_a_card_of_its_own(
    machine: Iterator[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    next(machine)(cuda=2)
    address = {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert select_device("auto") == CUDA, "without a launch it counts for nothing"
    for name, value in {"WORLD_SIZE": "3", "RANK": "1", **address}.items():
        monkeypatch.setenv(name, value)
    assert select_device("auto") == select_device("cuda") == torch.device("cuda", 1)
    assert select_device("cuda:0") == CUDA
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(DeviceError):
        select_device("cuda")


@pytest.mark.parametrize(("cuda", "name"), [(0, "cuda"), (0, "cuda:1"), (2, "cuda:2"), (0, "mps")])
def test_a_device_that_is_not_there(machine: Iterator[Any], cuda: int, name: str) -> None:
    next(machine)(cuda=cuda)
    with pytest.raises(DeviceError, match=name) as caught:
        select_device(name)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:-1", "", "meta", "xla", "CPU"])
def test_a_device_that_is_no_device(name: str) -> None:
    with pytest.raises(UsageError, match="unknown device") as caught:
        select_device(name)
    assert "cuda:N" in caught.value.hint


def test_dtypes(machine: Iterator[Any]) -> None:
    next(machine)(cuda=2, bf16=(1,))
    assert select_dtype(torch.device("cuda", 0)) == torch.float16, "the first card has no bf16"
    assert select_dtype(torch.device("cuda", 1)) == torch.bfloat16, "the second has"
    assert select_dtype(CPU) == select_dtype(MPS) == torch.float32
    assert select_dtype(CPU, "bf16") == torch.bfloat16
    assert select_dtype(CUDA, "fp32") == torch.float32


def test_the_precision_of_a_launch_is_taken_where_none_is_asked_for(
    machine: Iterator[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    next(machine)(cuda=1, bf16=(0,))
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert select_dtype(CPU) == torch.bfloat16 and select_dtype(CPU, "fp32") == torch.float32
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    assert select_dtype(CUDA) == torch.float16
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")  # what a launch without the option says
    assert select_dtype(CUDA) == torch.bfloat16
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp8")
    with pytest.raises(UsageError, match="fp8"):
        select_dtype(CUDA)


def test_mixed_precision_is_on_inside_only() -> None:
    layer, x = torch.nn.Linear(4, 4), torch.ones(2, 4)
    with autocast(CPU, torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    with autocast(CPU, torch.float32):
        assert layer(x).dtype == torch.float32
    assert layer.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("dtype", "queries", "keys", "fused"),
    [
        (torch.bfloat16, 64, 64, False),
        (torch.bfloat16, 256, 77, False),
        (torch.bfloat16, 256, 256, True),
        (torch.float32, 64, 64, True),
    ],
)
def test_attention_on_a_cpu_is_fused_where_its_way_back_is_fast(
    dtype: torch.dtype, queries: int, keys: int, fused: bool
) -> None:
    query, key = (torch.ones(1, 1, n, 8, dtype=dtype, requires_grad=True) for n in (queries, keys))
    attend = torch.nn.functional.scaled_dot_product_attention
    with learning_kernels(CPU, dtype):
        for output in (attend(query, key, key), attend(query=query, key=key, value=key)):
            assert output.grad_fn is not None and ("Flash" in output.grad_fn.name()) == fused
    assert torch.backends.cuda.flash_sdp_enabled()


def test_attention_on_cuda_is_as_torch_chooses() -> None:
    with learning_kernels(CUDA, torch.bfloat16):
        assert torch.backends.cuda.flash_sdp_enabled()


def test_learning_on_a_card_is_strict_where_it_is_to_repeat() -> None:
    for deterministic, strictness in ((True, [1, 2, 1]), (False, [0, 0, 0])):
        with backends(CPU, deterministic, None):
            modes = [torch.get_deterministic_debug_mode()]
            with learning_kernels(CUDA, torch.bfloat16):
                modes.append(torch.get_deterministic_debug_mode())
            assert [*modes, torch.get_deterministic_debug_mode()] == strictness


def test_a_kernel_that_does_not_repeat_is_refused_with_a_way_out() -> None:
    with backends(CPU, True, None):
        with pytest.raises(DeviceError, match="put_") as refused, learning_kernels(CUDA, torch.float32):
            torch.zeros(2).put_(torch.tensor([0, 0]), torch.ones(2))
        assert "deterministic = false" in str(refused.value.hint)
        with pytest.raises(RuntimeError, match="another"), learning_kernels(CUDA, torch.float32):
            raise RuntimeError("another")
        assert torch.get_deterministic_debug_mode() == 1


def test_memory_formats() -> None:
    assert memory_format(CPU) == memory_format(CUDA) == torch.channels_last
    assert memory_format(MPS) == torch.contiguous_format


def switches() -> tuple[Any, ...]:
    return (
        torch.get_num_threads(),
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.benchmark,
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("device", [CPU, CUDA])
def test_switches_are_set_inside_and_given_back(
    device: torch.device, deterministic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = switches()
    with pytest.raises(ZeroDivisionError), backends(device, deterministic, threads=1):
        assert torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled() == deterministic
        if device.type == "cuda":
            assert torch.get_float32_matmul_precision() == "high"
            assert torch.backends.cudnn.benchmark != deterministic
            assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) == deterministic
        raise ZeroDivisionError
    assert switches() == before


@pytest.mark.parametrize("word", ["--no-compile", "--compile"])
def test_the_compiler_is_imported_where_it_is_used_alone(word: str) -> None:
    """It takes two seconds, which each command would begin with."""
    program = """
import sys
import torch
from origcli.runtime.device import backends
with backends(torch.device("cpu"), True, None, compiled=sys.argv[1] == "--compile"):
    assert torch.are_deterministic_algorithms_enabled()
print("torch._inductor" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program, word], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(word == "--compile")


@pytest.mark.gpu
def test_the_card_that_is_here_computes_in_its_dtype() -> None:
    device = select_device("auto")
    assert device.type == "cuda"
    with backends(device, True, None), autocast(device, select_dtype(device)):
        x = torch.randn(64, 64, device=device)
        assert torch.equal(x @ x, x @ x)


# -- compilers -------------------------------------------------------------------------------------


@pytest.mark.fault(33, "exit 5 before any work, with the remedy")
@pytest.mark.parametrize(("device", "wanted"), [(CPU, "a C++ compiler"), (CUDA, "a C compiler")])
def test_compiling_without_a_compiler_is_told_first(
    device: torch.device, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("origcli.runtime.device.find_spec", lambda name: object())
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match=f"--compile needs {re.escape(wanted)}") as caught:
        require_compiler(device)
    assert caught.value.exit_code == 5 and "leave out --compile" in caught.value.hint
    settings = RuntimeSettings(device="cpu", compile=True)
    with pytest.raises(DeviceError), open_runtime(settings, tmp_path / "run"):
        raise AssertionError
    assert not (tmp_path / "run").exists()

    program = tmp_path / "mine"
    program.touch(mode=0o755)
    for name in ("CC", "CXX"):
        monkeypatch.setenv(name, f"{program} -O2")
    require_compiler(device)


def test_what_the_compiler_says_is_told() -> None:
    class Broken(RuntimeError):
        pass

    Broken.__module__ = "torch._inductor.exc"
    with pytest.raises(DeviceError, match=r"could not be compiled: g\+\+ said no$"), compiling():
        raise Broken("g++ said no\nand much more")
    with pytest.raises(ZeroDivisionError), compiling():
        raise ZeroDivisionError


# -- threads and random states ---------------------------------------------------------------------


def test_random_states_are_given_back() -> None:
    def drawn() -> list[float]:
        return [random.random(), float(np.random.rand()), float(torch.rand(()))]

    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    expected = drawn()
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    with backends(CPU, True, None):
        drawn()
    assert drawn() == expected


def test_threads_that_come_and_go_leave_nothing_behind() -> None:
    """The first to come is the first to go: the second keeps its switches, and the process its own."""
    assert torch.get_deterministic_debug_mode() == 0
    first, second = backends(CPU, True, 1), backends(CPU, True, 1)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert torch.get_deterministic_debug_mode() == 1
    second.__exit__(None, None, None)
    assert torch.get_deterministic_debug_mode() == 0


def test_a_context_inside_another_gives_back_what_the_outer_set() -> None:
    with backends(CPU, True, 1):
        with backends(CPU, False, 1):
            assert torch.get_deterministic_debug_mode() == 0
        assert torch.get_deterministic_debug_mode() == 1
