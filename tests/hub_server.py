"""A hub on the loopback that speaks as much of Hugging Face's protocol as its client asks for."""

import hashlib
import json
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from tests.serving import serving

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repository:
    """Files of a repository at one commit; `.safetensors` are stored as large files."""

    files: dict[str, bytes]
    commit: str = COMMIT
    gated: bool = False

    @classmethod
    def of(cls, directory: Path, commit: str = COMMIT) -> "Repository":
        """What is in a directory."""
        paths = [path for path in directory.rglob("*") if path.is_file()]
        return cls({path.relative_to(directory).as_posix(): path.read_bytes() for path in paths}, commit)


@dataclass
class Hub:
    """Repositories by id, what goes wrong next, and what was asked.

    Attributes:
        faults: one a GET request, oldest first: a status, `("cut", n)` or `("flip", i)`.
            `only` restricts them to paths that end in it.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    faults: list[Any] = field(default_factory=list)
    only: str = ""
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def downloads(self, ending: str) -> int:
        """How often a file's content was asked for."""
        paths = [request.split()[:2] for request in self.requests]
        return sum(method == "GET" and path.endswith(ending) for method, path in paths)


def _blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        asked = (self.command, path, self.headers.get("Range", ""), self.headers.get("Authorization", ""))
        self.hub.requests.append(" ".join(asked).rstrip())
        fault = None
        if self.hub.faults and self.command == "GET" and path.endswith(self.hub.only):
            fault = self.hub.faults.pop(0)
        if isinstance(fault, int):
            self.send(fault, b"", {"Retry-After": "0"})
        elif path.startswith("/api/models/"):
            self.facts(path.removeprefix("/api/models/"))
        else:
            self.content(path.strip("/"), fault)

    def facts(self, path: str) -> None:
        owner, name, kind, revision = path.split("/", 3)
        repository = self.hub.repositories.get(f"{owner}/{name}")
        if repository is None:
            return self.refuse(404, "RepoNotFound")
        if revision not in ("main", repository.commit):
            return self.refuse(404, "RevisionNotFound")
        if kind == "tree":
            entries = [
                {
                    "type": "file",
                    "path": name,
                    "size": len(data),
                    "oid": _blob_id(data),
                    **self.large(name, data, "oid"),
                }
                for name, data in repository.files.items()
            ]
            return self.send_json(entries)
        siblings = [
            {
                "rfilename": name,
                "size": len(data),
                "blobId": _blob_id(data),
                **self.large(name, data, "sha256"),
            }
            for name, data in repository.files.items()
        ]
        self.send_json({"id": f"{owner}/{name}", "sha": repository.commit, "siblings": siblings, "tags": []})

    @staticmethod
    def large(name: str, data: bytes, key: str) -> dict[str, Any]:
        if not name.endswith(".safetensors"):
            return {}
        return {"lfs": {key: hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}}

    def content(self, path: str, fault: Any) -> None:
        owner, name, _, _revision, file = path.split("/", 4)
        repository = self.hub.repositories.get(f"{owner}/{name}")
        if repository is None:
            return self.refuse(404, "RepoNotFound")
        if repository.gated:
            return self.refuse(403, "GatedRepo")
        if file not in repository.files:
            return self.refuse(404, "EntryNotFound")
        data = repository.files[file]
        large = file.endswith(".safetensors")
        etag = hashlib.sha256(data).hexdigest() if large else _blob_id(data)
        wanted = self.headers.get("Range", "")
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": repository.commit}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        if isinstance(fault, tuple) and fault[0] == "flip":
            data = data[: fault[1]] + bytes([data[fault[1]] ^ 1]) + data[fault[1] + 1 :]
        cut = fault[1] if isinstance(fault, tuple) and fault[0] == "cut" else None
        self.send(206 if start else 200, data[start:], headers, cut)

    def refuse(self, status: int, code: str) -> None:
        self.send(status, b"", {"X-Error-Code": code})

    def send_json(self, value: Any) -> None:
        self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def send(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:cut])
            self.close_connection = cut is not None


def point_to(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """What HF_ENDPOINT does, for a client that is imported already."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@contextmanager
def hub_server(repositories: dict[str, Repository]) -> Iterator[Hub]:
    """Serves repositories; its `url` is an HF_ENDPOINT."""
    hub = Hub(dict(repositories))
    with serving(type("HubHandler", (_Handler,), {"hub": hub})) as hub.url:
        yield hub
