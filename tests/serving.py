"""A file server on the loopback that misbehaves on request: for downloads that break."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Files:
    """What a server serves, what it does wrong, and what it was asked.

    Attributes:
        content: path -> bytes.
        faults: one a request, oldest first; after them it behaves. A number is a status; `("cut", n)` closes
            after n bytes of the answer; `("flip", i)` changes byte i; "whole" ignores Range; `("to", url)`
            sends elsewhere.
        ranges, authorizations: these headers of the requests, "" where there was none.
        etags: whether it tells versions of files apart.
    """

    content: dict[str, bytes] = field(default_factory=dict)
    faults: list[Any] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    etags: bool = True
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    files: Files
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        files = self.files
        path = self.path.partition("?")[0]
        files.paths.append(path)
        files.ranges.append(self.headers.get("Range", ""))
        files.authorizations.append(self.headers.get("Authorization", ""))
        fault = files.faults.pop(0) if files.faults else None
        if isinstance(fault, int):
            self.send_response(fault)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if isinstance(fault, tuple) and fault[0] == "to":
            self.send_response(302)
            self.send_header("Location", fault[1])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if path not in files.content:
            self.send_error(404)
            return
        data = files.content[path]
        etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        wanted = self.headers.get("Range", "")
        same = files.etags and self.headers.get("If-Range") == etag
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and same and fault != "whole" else 0
        if start >= len(data) > 0:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if files.etags:
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if not body:
            return
        data = data[start:]
        match fault:
            case ("cut", count):
                self.wfile.write(data[:count])
                self.close_connection = True
                return
            case ("flip", index):
                data = data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :]
        self.wfile.write(data)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, address: Any) -> None:
        """A client that leaves in the middle of an answer is part of the tests."""


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server on a free port of the loopback; its URL."""
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def file_server(content: dict[str, bytes] | None = None) -> Iterator[Files]:
    """Serves `content`; the yielded `Files` can be changed while it serves."""
    files = Files(dict(content or {}))
    with serving(type("Handler", (_Handler,), {"files": files})) as files.url:
        yield files
