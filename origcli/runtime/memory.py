"""Memory back-off: a batch that does not fit is halved, and the effective batch kept."""

import gc
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import torch

from origcli.errors import DeviceError

T = TypeVar("T")

# How CUDA, cuBLAS, cuDNN, Metal and the CPU allocator say it where they do not raise OutOfMemoryError.
_MESSAGES = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "status_alloc_failed",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that device or host memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _MESSAGES)


def release() -> None:
    """Gives cached memory back before another try."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


class BatchSize:
    """The number of samples that go through a model at once. It only ever shrinks."""

    def __init__(self, size: int, say: Callable[[str], None] = lambda message: None) -> None:
        self.size = size
        self._say = say

    def attempt(self, work: Callable[[int], T]) -> T:
        """Calls `work(size)`, with half the size each time that memory runs out.

        `work` starts afresh at each call, so it must not have changed anything when it fails.

        Raises:
            DeviceError: memory runs out at a size of one.
        """
        while True:
            try:
                return work(self.size)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self.size == 1:
                    raise DeviceError(
                        "out of memory with one sample at a time",
                        "choose a smaller model or --dtype fp16, or free memory on the device",
                    ) from error
            # Outside the handler: the traceback, and the tensors it holds, are gone.
            release()
            self.size //= 2
            self._say(f"out of memory: going on with {self.size} at a time")

    def over(self, total: int, work: Callable[[slice], T]) -> Iterator[T]:
        """What `work` gives for consecutive parts of `total` samples, each as large as memory allows.

        Raises:
            DeviceError: memory runs out at a size of one.
        """
        done = 0
        while done < total:
            part, result = self.attempt(partial(_with_part, work, done, total))
            done = part.stop
            yield result


def _with_part(work: Callable[[slice], T], first: int, total: int, size: int) -> tuple[slice, T]:
    part = slice(first, min(first + size, total))
    return part, work(part)


def slices(total: int, size: int) -> Iterator[slice]:
    """[0, size), [size, 2 size) … up to `total`."""
    return (slice(start, min(start + size, total)) for start in range(0, total, size))
