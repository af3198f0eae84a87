"""SIGINT and SIGTERM: the first asks the loop to stop at its next safe point, the second stops at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from origcli.errors import Interrupted

_received: list[int] = []


def check() -> None:
    """The safe point of a loop.

    Raises:
        Interrupted: a signal has come since the last safe point.
    """
    if _received:
        raise Interrupted(_received[0])


def pending() -> bool:
    """Whether a signal has come: for loops that save before they stop."""
    return bool(_received)


def _receive(number: int, frame: FrameType | None) -> None:
    if _received:
        os._exit(128 + number)
    _received.append(number)


@contextmanager
def handled() -> Iterator[None]:
    """Signals set a flag while the context is open. Outside the main thread it does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _received.clear()
    before = {number: signal.signal(number, _receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
