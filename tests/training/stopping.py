"""Stops a training in this process as a signal does, after a number of its steps."""

from collections.abc import Iterator
from contextlib import contextmanager

from origcli.runtime import interrupts
from origcli.runtime.progress import SilentProgress, Task


class StopAfter(SilentProgress):
    """Progress that sets SIGTERM's flag after some steps of one task."""

    def __init__(self, steps: int, name: str) -> None:
        self.steps, self.name = steps, name

    @contextmanager
    def task(self, description: str, total: int | None, start: int = 0, phases: int = 0) -> Iterator[Task]:
        with super().task(description, total, start) as silent:
            yield self if description == self.name else silent

    def advance(self, steps: int = 1, **fields: float | str) -> None:
        self.steps -= steps
        if self.steps == 0:
            interrupts._received.append(15)
