"""Images at http and https addresses: bounded in size and time, and kept out of private networks.

An address that the user typed may be on this machine or in a private network. One that comes out of a list,
or that a server redirects to, may not: it would let others reach what only this machine can. Each name is
looked up once, and the connection goes to the address that was checked. Behind a proxy (`https_proxy`), it is
the proxy that looks names up and decides.
"""

import base64
import hashlib
import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from origcli.errors import InputError, without_secrets
from origcli.runtime import interrupts, network

MAX_BYTES = 64 << 20
MAX_REDIRECTS = 5
TIMEOUT_S = 15.0  # of a connection, and between two pieces of an answer
LONGEST_S = 120.0  # of an image

_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_CHUNK = 1 << 16
_MOVED = {301, 302, 303, 307, 308}
_PORTS = {"http": 80, "https": 443}
_HEADERS = {"User-Agent": "origcli", "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"}


def is_address(text: str) -> bool:
    """Whether a text is an http or https address."""
    return _ADDRESS.match(text) is not None


@dataclass(frozen=True)
class WebImage:
    """An image at an address; downloaded each time it is read, and kept nowhere.

    Attributes:
        url: http or https.
        typed: whether the user typed it, and it did not come out of a list.
    """

    url: str
    typed: bool = True

    @property
    def where(self) -> str:
        """The address without what may be secret in it: password and query, for which a hash stands."""
        shown = without_secrets(self.url).encode("utf-8", "backslashreplace").decode()
        if shown == self.url:
            return shown
        digest = hashlib.sha256(self.url.encode("utf-8", "backslashreplace")).hexdigest()
        return f"{shown.partition('?')[0]}#{digest[:8]}"

    @property
    def stem(self) -> str:
        """The name of its file, else that of the server."""
        parts = urllib.parse.urlsplit(self.url)
        name = urllib.parse.unquote(parts.path.rstrip("/").rpartition("/")[2])
        return name.rpartition(".")[0] or name or parts.hostname or ""

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            InputError: the network is off, the server refuses, the answer is too large or too slow, or the
                address is one that may not be reached.
        """
        if network.is_off():
            raise InputError(
                f"{self.where}: not downloaded: {network.REASON}",
                "leave out --offline, or give the file",
            )
        try:
            return _download(self)
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or repr(error)
            raise InputError(f"{self.where}: cannot be downloaded: {reason}") from error


def _download(image: WebImage) -> bytes:
    url, until = image.url, time.monotonic() + LONGEST_S
    for _ in range(MAX_REDIRECTS + 1):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme.lower() not in _PORTS or not parts.hostname:
            raise InputError(f"{image.where}: redirected to something else than an http or https address")
        private = image.typed and _server(url) == _server(image.url)
        with _open_until(until, image, _connection(image, parts, private)) as connection:
            connection.request("GET", _target(parts), headers=_headers(parts, url == image.url))
            answer = connection.getresponse()
            if answer.status in _MOVED and (place := answer.headers.get("Location")):
                url = _redirected(image, url, place)
                continue
            if answer.status != 200:
                raise InputError(f"{image.where}: the server answered {answer.status} {answer.reason}")
            return _body(image, answer)
    raise InputError(f"{image.where}: more than {MAX_REDIRECTS} redirects")


@contextmanager
def _open_until(
    until: float, image: WebImage, connection: http.client.HTTPConnection
) -> Iterator[http.client.HTTPConnection]:
    """Connects, and ends the connection at a time of the monotonic clock, whatever the server still sends.

    `TIMEOUT_S` is not enough: it begins again with every byte of a status line or of headers.

    Raises:
        InputError: the time is over.
    """
    sockets: list[socket.socket] = []  # `http.client` lets go of a socket before it has read from it

    def end() -> None:
        for one in (*sockets, connection.sock):
            with suppress(OSError, AttributeError):
                one.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(until - time.monotonic(), end)
    timer.daemon = True
    timer.start()
    try:
        connection.connect()
        sockets.append(connection.sock)
        yield connection
    except (OSError, http.client.HTTPException, ValueError, InputError):
        _check_time(until, image)
        raise
    else:
        # What ends in the middle of its headers, or has no length, reads like a whole answer.
        _check_time(until, image)
    finally:
        timer.cancel()
        connection.close()


def _check_time(until: float, image: WebImage) -> None:
    if time.monotonic() > until:
        raise InputError(f"{image.where}: not complete after {LONGEST_S:.0f} s, given up")


def _redirected(image: WebImage, url: str, place: str) -> str:
    """Where a redirect leads.

    Raises:
        InputError: from https to http.
    """
    target = urllib.parse.urljoin(url, place)
    if url.lower().startswith("https:") and not target.lower().startswith("https:"):
        raise InputError(f"{image.where}: redirected from https to {urllib.parse.urlsplit(target).scheme}")
    return target


def _body(image: WebImage, answer: http.client.HTTPResponse) -> bytes:
    announced = answer.headers.get("Content-Length", "")
    too_large = InputError(
        f"{image.where}: larger than {MAX_BYTES >> 20} MiB, refused", "download it, and give the file"
    )
    if announced.isdecimal() and int(announced) > MAX_BYTES:
        raise too_large
    parts: list[bytes] = []
    size = 0
    while chunk := answer.read1(_CHUNK):
        interrupts.check()
        parts.append(chunk)
        size += len(chunk)
        if size > MAX_BYTES:
            raise too_large
    if announced.isdecimal() and size < int(announced):
        raise InputError(f"{image.where}: the connection ended after {size} of {announced} bytes")
    return b"".join(parts)


def _connection(
    image: WebImage, parts: urllib.parse.SplitResult, private: bool
) -> http.client.HTTPConnection:
    """A connection to make to a server, whose address was looked at first.

    Args:
        private: whether it may be in a private network.
    """
    scheme, host = parts.scheme.lower(), parts.hostname or ""
    port = parts.port or _PORTS[scheme]
    if proxy := _proxy(scheme, host):
        return _through(proxy, scheme, host, port)
    address = _looked_up(image, host, port, private)
    connection = (
        http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=ssl.create_default_context())
        if scheme == "https"
        else http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    )

    def connect(_: object, timeout: float, source: object) -> socket.socket:
        return socket.create_connection((address, port), timeout)

    connection._create_connection = connect  # type: ignore[attr-defined]
    return connection


def _looked_up(image: WebImage, host: str, port: int, private: bool) -> str:
    """The first address of a server, if all of its addresses may be reached.

    Raises:
        InputError: one may not.
    """
    addresses = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for text in addresses:
        address = ipaddress.ip_address(text.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        inside = address.is_private or address.is_loopback
        never = address.is_link_local or address.is_multicast or address.is_unspecified
        if never or not (address.is_global or (private and inside)):
            raise InputError(
                f"{image.where}: leads to {address}, an address of this machine or of a private network",
                "download it, and give the file; such an address is read only if it is given itself",
            )
    return addresses[0]


def _server(url: str) -> tuple[str | None, int | None]:
    parts = urllib.parse.urlsplit(url)
    return parts.hostname, parts.port or _PORTS.get(parts.scheme.lower())


def _proxy(scheme: str, host: str) -> str | None:
    if urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(scheme)


def _through(proxy: str, scheme: str, host: str, port: int) -> http.client.HTTPConnection:
    """A connection through a proxy, as a tunnel."""
    parts = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port or 80, timeout=TIMEOUT_S)
    headers = {}
    if parts.username:
        headers["Proxy-Authorization"] = _basic(parts)
    connection.set_tunnel(host, port, headers)
    return connection


def _headers(parts: urllib.parse.SplitResult, is_first: bool) -> dict[str, str]:
    """A password in the address goes to the server that it names alone."""
    return {**_HEADERS, "Authorization": _basic(parts)} if is_first and parts.username else _HEADERS


def _basic(parts: urllib.parse.SplitResult) -> str:
    user = urllib.parse.unquote(f"{parts.username}:{parts.password or ''}")
    return f"Basic {base64.b64encode(user.encode()).decode()}"


def _target(parts: urllib.parse.SplitResult) -> str:
    """Path and query as they go into a request; characters that may not are escaped."""
    path = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = urllib.parse.quote(parts.query, safe="/?%:@!$&'()*+,;=~-._[]")
    return f"{path}?{query}" if query else path
