"""What a denoiser is given of prompts: text states, and where a family has them, pooled vectors and masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """The conditioning of n prompts.

    Attributes:
        parts: by name, each (n, ...). Masks are of an integer or boolean type; what they hide is padding.
    """

    parts: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.parts.values())))

    def __getitem__(self, rows: slice | Tensor | Sequence[int]) -> "Conditioning":
        """The conditioning of some of the prompts."""
        return self._each(lambda part: part[rows])

    def repeated(self, times: int) -> "Conditioning":
        """Each prompt `times` times, one after the other."""
        return self._each(lambda part: part.repeat_interleave(times, 0))

    def expanded(self, size: int) -> "Conditioning":
        """`size` prompts: these, or this one for all."""
        return self if len(self) == size else self._each(lambda part: part.expand(size, *part.shape[1:]))

    def to(self, device: torch.device, dtype: torch.dtype) -> "Conditioning":
        """On a device; numbers in a dtype, masks as they are."""
        return self._each(lambda part: part.to(device, dtype if part.is_floating_point() else part.dtype))

    def learnable(self) -> "Conditioning":
        """A copy whose numbers require a gradient."""

        def own(part: Tensor) -> Tensor:
            copy = part.detach().clone()
            return copy.requires_grad_() if part.is_floating_point() else copy

        return self._each(own)

    def leaf(self) -> "Conditioning":
        """A copy, numbers in fp32, where the graph of the denoiser ends and gradients gather."""

        def cut(part: Tensor) -> Tensor:
            own = part.detach()
            return own.float().requires_grad_(part.requires_grad) if part.is_floating_point() else own

        return self._each(cut)

    def backward(self, leaf: "Conditioning") -> None:
        """Sends the gradients that gathered in `leaf` on to where this conditioning came from."""
        learned = [name for name, part in leaf.parts.items() if part.grad is not None]
        torch.autograd.backward(
            [self.parts[name] for name in learned],
            [_gradient(leaf.parts[name]).to(self.parts[name].dtype) for name in learned],
        )

    def _each(self, change: Any) -> "Conditioning":
        return Conditioning({name: change(part) for name, part in self.parts.items()})


def _gradient(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


def joined(several: Sequence[Conditioning]) -> Conditioning:
    """One conditioning of all prompts; sequences of several lengths are padded to the longest with zeros."""
    names = several[0].parts
    return Conditioning(
        {name: _joined([conditioning.parts[name] for conditioning in several]) for name in names}
    )


def _joined(parts: Sequence[Tensor]) -> Tensor:
    length = max(part.shape[1] for part in parts)
    if all(part.shape[1] == length for part in parts):
        return torch.cat(list(parts))
    return torch.cat([padded(part, length) for part in parts])


def padded(part: Tensor, length: int) -> Tensor:
    """(n, length, ...) of (n, l, ...), with zeros behind."""
    short = length - part.shape[1]
    return torch.cat([part, part.new_zeros(len(part), short, *part.shape[2:])], 1) if short else part
