"""Seeds: one generator a sample, so that batching, workers and resuming change nothing."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from any names and numbers, e.g. `derive_seed(run_seed, "draw", 3)`."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(*parts: int | str) -> "torch.Generator":
    """A CPU generator seeded by `derive_seed`: the same numbers whatever the device."""
    import torch

    return torch.Generator("cpu").manual_seed(derive_seed(*parts))


def noise(shape: tuple[int, ...], *parts: int | str) -> "torch.Tensor":
    """Standard normal fp32 noise of a shape, on the CPU, from its own generator."""
    import torch

    return torch.randn(shape, generator=generator(*parts))
