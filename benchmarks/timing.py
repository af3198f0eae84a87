"""Seconds of the clock and of the processor, for benchmarks whose ways run in turn.

On a machine that does other work too, CPU seconds on one thread are the ones to compare.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

CLOCKS = ("cpu", "wall")


@dataclass(frozen=True)
class Seconds:
    """Wall and CPU seconds of some work."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> "Seconds":
        return cls(time.perf_counter(), time.process_time())

    def __sub__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.wall - other.wall, self.cpu - other.cpu)


def timed(work: Callable[[], Any]) -> Seconds:
    """How long a call takes."""
    began = Seconds.now()
    work()
    return Seconds.now() - began


def median(times: Sequence[Seconds], clock: str) -> float:
    """The median by one clock."""
    return statistics.median(getattr(seconds, clock) for seconds in times)


def ratio(above: Sequence[Seconds], below: Sequence[Seconds], clock: str) -> float:
    """The median over steps of one way's time over another's, of what ran one after the other."""
    pairs = zip(above, below, strict=True)
    return statistics.median(getattr(a, clock) / getattr(b, clock) for a, b in pairs)


def matmul_rate() -> dict[str, float]:
    """GFLOP/s of an fp32 matrix product by each clock: the rate that shares are taken of."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    a @ b
    took = timed(lambda: [a @ b for _ in range(10)])
    return {clock: 10 * 2 * 1024**3 / getattr(took, clock) / 1e9 for clock in CLOCKS}
