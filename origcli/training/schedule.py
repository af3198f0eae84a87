"""Which samples a step sees, and at what learning rate: functions of the seed and the step alone."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from origcli.runtime.seeding import derive_seed
from origcli.settings import OptimizerSettings


def steps_in(epochs: float, size: int, batch_size: int) -> int:
    """Optimizer steps in a number of epochs; at least one."""
    return max(1, math.ceil(epochs * size / batch_size))


def learning_rate(settings: OptimizerSettings, step: int, steps: int) -> float:
    """The learning rate of a step: linear warm-up, then constant, or cosine to zero at `steps`."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    if settings.schedule == "constant":
        return settings.learning_rate
    done = (step - settings.warmup_steps) / max(1, steps - settings.warmup_steps)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def sample_indices(seed: int, step: int, batch_size: int, size: int) -> list[int]:
    """The samples of a step: each epoch is one permutation, batches run on across its end."""
    first = step * batch_size
    indices: list[int] = []
    for position in range(first, first + batch_size):
        epoch, place = divmod(position, size)
        indices.append(int(_permutation(seed, epoch, size)[place]))
    return indices


_permutations: dict[tuple[int, int, int], np.ndarray[Any, Any]] = {}


def _permutation(seed: int, epoch: int, size: int) -> np.ndarray[Any, Any]:
    key = (seed, epoch, size)
    if key not in _permutations:
        while len(_permutations) > 2:
            _permutations.pop(next(iter(_permutations)))
        _permutations[key] = np.random.default_rng(derive_seed(seed, "order", epoch)).permutation(size)
    return _permutations[key]


class Steps:
    """The batch sampler: this process's part of the samples of each step that is still to do."""

    def __init__(self, seed: int, start: int, stop: int, batch_size: int, size: int, part: slice) -> None:
        self.arguments, self.start, self.stop, self.part = (seed, batch_size, size), start, stop, part

    def __iter__(self) -> Iterator[list[int]]:
        seed, batch_size, size = self.arguments
        for step in range(self.start, self.stop):
            yield sample_indices(seed, step, batch_size, size)[self.part]

    def __len__(self) -> int:
        return self.stop - self.start
