"""Switches of the whole process, shared by all that compute at one time, in whatever thread."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

State = TypeVar("State")


class Shared(Generic[State]):
    """Something that holds for the whole process, changed while anybody needs it.

    The first to come notes what was there, and the last to go gives it back. Were each to do so, the order in
    which threads come and go would decide what stays.

    Args:
        read: gives what is set.
        write: sets it again.
    """

    def __init__(self, read: Callable[[], State], write: Callable[[State], None]) -> None:
        self._read, self._write = read, write
        self._lock = threading.Lock()
        self._changes: list[Callable[[], None]] = []  # of those that are inside
        self._before: list[State] = []  # at most one

    @contextmanager
    def changed(self, change: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Makes a change that holds while the context is open; who is still inside then gets theirs again."""

        def own() -> None:
            change()

        with self._lock:
            if not self._changes:
                self._before = [self._read()]
            self._changes.append(own)
            own()
        try:
            yield
        finally:
            with self._lock:
                self._changes.remove(own)
                for other in self._changes:
                    other()
                if not self._changes:
                    self._write(self._before.pop())
