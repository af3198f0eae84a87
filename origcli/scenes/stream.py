"""Random numbers of images: a stream an image, so that counts, workers and resuming change nothing."""

import numpy as np

_BUFFER = 16


class Stream:
    """Uniform numbers of each image of a set: the counter-based Philox, keyed by the set and the index.

    Args:
        key: of the set, 0 to 2**64 − 1.
    """

    def __init__(self, key: int) -> None:
        self._bits = np.random.Philox(key=np.array([key, 0], dtype=np.uint64))
        self._start = self._bits.state
        self._generator = np.random.Generator(self._bits)
        self._ready: list[float] = []

    def begin(self, index: int) -> None:
        """Goes to the first number of an image. Making a new generator would cost five times as much."""
        self._start["state"]["key"][1] = index
        self._bits.state = self._start
        self._ready.clear()

    def unit(self) -> float:
        """Uniform in [0, 1)."""
        if not self._ready:
            self._ready = self._generator.random(_BUFFER).tolist()
            self._ready.reverse()
        return self._ready.pop()

    def below(self, bound: int) -> int:
        """Uniform in 0 … bound − 1."""
        return int(self.unit() * bound)
