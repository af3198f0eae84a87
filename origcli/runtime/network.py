"""Keeps a process off the network: no library asks a server, whatever a file or a default leads it to."""

import os
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

REASON = "the network is off"

_VARIABLES = (
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_DATASETS_OFFLINE",
)  # heard by child processes, too
_LOOPBACK = ("localhost", "127.0.0.1", "::1", "", "0.0.0.0", "::")

_lock = threading.Lock()
_users = 0  # contexts that are open, in all threads
_restore: list[tuple[Any, str, Any]] = []
_environment: dict[str, str | None] = {}


@contextmanager
def no_network() -> Iterator[None]:
    """While the context is open, this process and those that it starts ask no server for anything.

    huggingface_hub, transformers, diffusers and datasets are offline; urllib, with it torch.hub, is refused;
    names of other hosts are not looked up. Connections within this machine stay, and those of native code
    (Ray, torch.distributed), which go to hosts that the user named.
    """
    _close()
    try:
        yield
    finally:
        _open()


def is_off() -> bool:
    """Whether a `no_network` is open, in any thread."""
    return _users > 0


def _close() -> None:
    global _users
    with _lock:
        _users += 1
        if _users > 1:
            return
        # Imported first: it reads the variables once, and would stay offline after this context.
        from huggingface_hub import constants

        _environment.update({name: os.environ.get(name) for name in _VARIABLES})
        os.environ.update(dict.fromkeys(_VARIABLES, "1"))
        for owner, name, value in (
            (constants, "HF_HUB_OFFLINE", True),
            (urllib.request.OpenerDirector, "open", _refuse_url),
            (socket, "getaddrinfo", _only_this_machine(socket.getaddrinfo)),
        ):
            _restore.append((owner, name, getattr(owner, name)))
            setattr(owner, name, value)


def _open() -> None:
    global _users
    with _lock:
        _users -= 1
        if _users:
            return
        while _restore:
            setattr(*_restore.pop())
        for name, value in _environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _refuse_url(opener: Any, url: Any, *arguments: Any, **options: Any) -> Any:
    address = url if isinstance(url, str) else url.full_url
    raise urllib.error.URLError(f"{REASON}; {address.partition('?')[0]} is not asked")


def _only_this_machine(look_up: Any) -> Any:
    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
        if name is not None and name not in (*_LOOPBACK, socket.gethostname()):
            raise socket.gaierror(socket.EAI_FAIL, f"{REASON}; {name} is not looked up")
        return look_up(host, *arguments, **options)

    return getaddrinfo
