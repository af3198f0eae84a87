"""Which tensors of a file went into which tensors of a model.

A conversion renames, cuts and turns tensors. It is run once on tensors without values, while every operation
is watched; so what it leaves out in silence is known before a byte of weights is read.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Watch(TorchDispatchMode):
    """Remembers of every storage the names of the tensors that went into it."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.names = {_storage(tensor): frozenset({name}) for name, tensor in tensors.items()}
        self.kept: list[Tensor] = []  # else a later storage could take the address of one that is gone

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        sources = frozenset[str]().union(
            *(self.of(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
        )
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.kept.append(leaf)
                self.names[_storage(leaf)] = self.of(leaf) | sources
        return result

    def of(self, tensor: Tensor) -> frozenset[str]:
        """The names of what went into a tensor."""
        return self.names.get(_storage(tensor), frozenset())


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def trace(
    tensors: Mapping[str, Tensor], convert: Callable[[dict[str, Tensor]], Mapping[str, Tensor]]
) -> tuple[dict[str, Tensor], set[str]]:
    """Runs a conversion on tensors without values.

    Args:
        tensors: on the meta device, each with a storage of its own.
        convert: may change the dictionary that it is given.

    Returns:
        What it made, and the names of the tensors that went into that.
    """
    with _Watch(tensors) as watch:
        made = dict(convert(dict(tensors)))
        used = {name for tensor in made.values() for name in watch.of(tensor)}
    return made, used
