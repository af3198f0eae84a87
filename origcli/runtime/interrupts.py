"""SIGINT and SIGTERM: the first asks the loop to stop at its next safe point, the second stops at once."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from origcli.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_REMARK = b"origcli: stopping at the next safe point; press Ctrl-C again to stop now\n"
_SHOW_CURSOR = b"\x1b[?25h"

_received: list[int] = []
_owner = 0
_follows = False


def check() -> None:
    """The safe point of a loop.

    Raises:
        Interrupted: a signal has come since the context was opened.
    """
    if _received:
        raise Interrupted(_received[0])


def pending() -> bool:
    """Whether a signal has come: for loops that save before they stop."""
    return bool(_received)


def follow() -> None:
    """Leaves all signals, which reach a whole group of processes, to the parent; it calls for a `stop`."""
    global _follows
    _follows = True
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def stop() -> None:
    """Asks a process that follows its parent to stop at its next safe point."""
    _received.append(signal.SIGTERM)


def _receive(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _owner:
        # A forked worker has inherited this handler. Ctrl-C reaches it too, and its parent decides
        # what comes of that; SIGTERM is how its parent ends it.
        if number == signal.SIGTERM:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        return
    if _received:
        if os.isatty(2):
            _say(_SHOW_CURSOR)  # a live display hides it, and nothing else will show it again
        os._exit(128 + number)
    _received.append(number)
    if sys.stderr is not None:
        _say(_REMARK)


def _say(text: bytes) -> None:
    """Writes to stderr, where somebody may have stopped reading."""
    with suppress(OSError):
        os.write(2, text)


@contextmanager
def restored_handlers() -> Iterator[None]:
    """Undoes what a library does to the handlers of the signals while the context is open."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # else it was not set by Python, and Python cannot set it
                signal.signal(number, handler)  # even where it seems unchanged: some change it below Python


@contextmanager
def handled() -> Iterator[None]:
    """Signals set a flag while the context is open; inside another such context it changes nothing.

    Outside the main thread, where Python delivers no signals, it does nothing.
    """
    global _owner
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or _follows or signal.getsignal(signal.SIGINT) is _receive:
        yield
        return
    _owner = os.getpid()
    _received.clear()
    before = {number: signal.signal(number, _receive) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _received.clear()
