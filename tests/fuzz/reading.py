"""What a reader may do with bad input: answer, or raise an error of ours. Nothing else, and soon."""

import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from origcli.errors import OrigError

_LONGEST = 20  # seconds; readers take milliseconds
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_FORBIDDEN = (
    *("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.truncate"),
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen", "pty.spawn"),
    *("socket.connect", "socket.bind", "socket.getaddrinfo", "urllib.Request", "pickle.find_class"),
)
_watched: set[int] = set()  # threads
_seen: list[str] = []


def share(part: float) -> settings:
    """A part of the profile's number of inputs, for readers that take their time."""
    number = max(1, int(settings.default.max_examples * part))  # type: ignore[union-attr]
    return settings(max_examples=number, suppress_health_check=[HealthCheck.too_slow])


class Hang(BaseException):
    """A reader took too long."""


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    if threading.get_ident() in _watched and (
        event in _FORBIDDEN or (event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES)
    ):
        _seen.append(f"{event} {arguments[:2]}")


sys.addaudithook(_look)  # it stays until the process ends


def _stop(number: int, frame: FrameType | None) -> None:
    raise Hang


@contextmanager
def watched() -> Iterator[None]:
    """Holds the code inside to reading: no file written, no process, no network, no pickle, no hang."""
    before = signal.signal(signal.SIGALRM, _stop)
    signal.alarm(_LONGEST)
    _seen.clear()
    _watched.add(threading.get_ident())
    try:
        yield
    finally:
        _watched.discard(threading.get_ident())
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert not _seen, _seen


def survives(read: Callable[[], Any]) -> None:
    """Reads, and takes an error of ours for an answer."""
    with watched(), suppress(OrigError):
        read()


@contextmanager
def folder() -> Iterator[Path]:
    """An empty directory for one input."""
    with tempfile.TemporaryDirectory(prefix="origcli-fuzz-") as name:
        yield Path(name)


# -- inputs --------------------------------------------------------------------------------------

_ODD = st.sampled_from(
    [b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r\n", b'"', b"{", b"[" * 3000, b"9" * 5000]
)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes that were whole once: some overwritten, some put in, some taken out, or cut short."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        until = min(len(data), at + draw(st.sampled_from([0, 0, 1, 2, 4, 16, 256])))
        data[at:until] = draw(st.one_of(_ODD, st.binary(max_size=8)))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.integers(0, 3)) == 0 else bytes(data)


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.sampled_from([10**400, -1, 2**63, "../../x", "/etc/passwd", "a\0b", "\ud800", "<script>", "NaN"]),
        st.text(max_size=8),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _places(inner, (*path, key))


@st.composite
def altered(draw: st.DrawFn, whole: Any) -> Any:
    """A JSON value with another value, or none, in some places."""
    value = json.loads(json.dumps(whole))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(list(_places(value))))
        if not place:
            if draw(st.integers(0, 9)) == 0:
                return draw(VALUES)
            continue
        inside = value
        for key in place[:-1]:
            inside = inside[key]
        if draw(st.booleans()):
            inside[place[-1]] = draw(VALUES)
        else:
            del inside[place[-1]]
    return value


def json_bytes(whole: Any) -> st.SearchStrategy[bytes]:
    """Files of JSON: a value altered, or its text damaged."""
    text = json.dumps(whole).encode()
    return st.one_of(altered(whole).map(lambda value: json.dumps(value).encode()), damaged(text))
