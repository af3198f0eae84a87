"""A batch that does not fit is halved until it does."""

import gc
import weakref
from itertools import pairwise
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from origcli.errors import DeviceError
from origcli.runtime import memory
from origcli.runtime.memory import BatchSize, is_out_of_memory, slices

SHORTAGES = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB)"),
]
OTHERS = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    ValueError("out of memory"),
    KeyError("x"),
]


@pytest.mark.parametrize("error", SHORTAGES, ids=lambda error: str(error)[:30])
def test_shortages_are_known(error: BaseException) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", OTHERS, ids=lambda error: str(error)[:30])
def test_other_errors_are_no_shortage(error: BaseException) -> None:
    assert not is_out_of_memory(error)


def test_torch_and_numpy_say_what_we_listen_for() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    with pytest.raises(MemoryError) as numpys:
        np.empty(2**60, dtype=np.uint8)
    assert is_out_of_memory(numpys.value)


@given(size=st.integers(1, 300), fits=st.integers(1, 300))
def test_the_batch_shrinks_until_it_fits_and_stays_there(size: int, fits: int) -> None:
    said: list[str] = []
    tried: list[int] = []
    batch = BatchSize(size, said.append)

    def work(count: int) -> int:
        tried.append(count)
        if count > fits:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return count

    with patch.object(memory, "release"):  # collecting garbage takes a while, and there is none here
        assert batch.attempt(work) == batch.size <= fits
    assert tried == sorted(tried, reverse=True) and tried[0] == size
    assert all(later == earlier // 2 for earlier, later in pairwise(tried))
    assert len(said) == len(tried) - 1
    tried.clear()
    assert batch.attempt(work) == batch.size and tried == [batch.size]


@given(total=st.integers(0, 200), size=st.integers(1, 64), fits=st.integers(1, 64))
def test_every_sample_is_worked_on_once_however_little_fits(total: int, size: int, fits: int) -> None:
    def work(part: slice) -> list[int]:
        if part.stop - part.start > fits:
            raise MemoryError
        return list(range(part.start, part.stop))

    with patch.object(memory, "release"):
        parts = list(BatchSize(size).over(total, work))
    assert [number for part in parts for number in part] == list(range(total))
    assert all(0 < len(part) <= min(size, fits) for part in parts)


@pytest.mark.fault(14, "exit 5 when one sample does not fit")
def test_one_sample_that_does_not_fit_is_a_device_error() -> None:
    def work(count: int) -> None:
        raise MemoryError

    with pytest.raises(DeviceError, match="one sample at a time") as caught:
        BatchSize(8).attempt(work)
    assert caught.value.exit_code == 5 and caught.value.hint


@pytest.mark.parametrize("error", OTHERS, ids=lambda error: str(error)[:30])
def test_other_errors_pass_through(error: Exception) -> None:
    batch = BatchSize(8)

    def work(count: int) -> None:
        raise error

    with pytest.raises(type(error)):
        batch.attempt(work)
    assert batch.size == 8


def test_what_the_failed_try_held_is_free_before_the_next() -> None:
    alive: list[weakref.ref[torch.Tensor]] = []

    def work(count: int) -> int:
        assert all(reference() is None for reference in alive)
        tensor = torch.zeros(count)
        alive.append(weakref.ref(tensor))
        if count > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return count

    gc.disable()
    try:
        assert BatchSize(16).attempt(work) == 2
    finally:
        gc.enable()


def test_accumulation_over_slices_keeps_the_effective_batch() -> None:
    """The pattern of every training loop: one optimizer step over slices equals one over the whole."""
    x, y = torch.randn(12, 3), torch.randn(12, 1)

    def gradient(size: int) -> torch.Tensor:
        if size > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        weight = torch.ones(3, 1, requires_grad=True)
        for part in slices(len(x), size):
            loss = ((x[part] @ weight - y[part]) ** 2).sum() / len(x)
            loss.backward()
        assert weight.grad is not None
        return weight.grad

    whole = torch.ones(3, 1, requires_grad=True)
    ((x @ whole - y) ** 2).mean().backward()
    assert whole.grad is not None
    torch.testing.assert_close(BatchSize(12).attempt(gradient), whole.grad)


@given(total=st.integers(0, 200), size=st.integers(1, 50))
def test_slices_cover_everything_once(total: int, size: int) -> None:
    parts = [list(range(total))[part] for part in slices(total, size)]
    assert [index for part in parts for index in part] == list(range(total))
    assert all(1 <= len(part) <= size for part in parts)
