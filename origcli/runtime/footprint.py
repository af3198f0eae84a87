"""Device memory at the peak of a computation, without the device: it runs on tensors without data."""

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of all storages that are alive while the context is open.

    What kernels take for themselves while they run, and what an allocator loses between blocks, is not in it.

    Attributes:
        current, peak: bytes; what was there before the context counts once it is used or `hold` names it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.current = self.peak = 0
        self._alive: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        for value in tree_leaves(output):
            if isinstance(value, Tensor):
                self._count(value)
        return output

    def hold(self, *modules: nn.Module) -> None:
        """Counts the weights of modules."""
        for module in modules:
            for tensor in (*module.parameters(), *module.buffers()):
                self._count(tensor)

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._alive:
            return
        size = storage.nbytes()

        def gone(_: Any) -> None:
            del self._alive[key]
            self.current -= size

        self._alive[key] = weakref.ref(storage, gone)
        self.current += size
        self.peak = max(self.peak, self.current)


@contextlib.contextmanager
def stand_in_tensors(device: str, dtype: torch.dtype) -> Iterator[None]:
    """New tensors have no data, are floating point of `dtype`, and say that they are on `device`.

    A tensor of the CPU among them is an error, as it would be on the device.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with FakeTensorMode(), torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)
