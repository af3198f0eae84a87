"""Files from the network into a cache: resumed where they stopped, hashed, and whole or not there at all.

For release archives, single weight files, and the large files of Hugging Face's hub.
"""

import base64
import contextlib
import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import IO

from origcli.errors import ModelError, StorageError
from origcli.runtime import interrupts
from origcli.runtime.atomic import make_directory, storage_error, write_json
from origcli.runtime.locks import locked
from origcli.runtime.progress import Progress, Task
from origcli.runtime.provenance import hash_file

ATTEMPTS = 5
TIMEOUT_S = 30.0
LONGEST_WAIT_S = 60.0
PARTIAL_SUFFIX = ".download"  # has a fixed name, unlike other partial files: the next run goes on with it

_CHUNK = 1 << 20
_WORTH_ANOTHER_TRY = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class RemoteFile:
    """A file that somebody publishes.

    Attributes:
        url: where it is; https.
        size: exact bytes, where known beforehand.
        sha256: where known beforehand; else what arrives is what its user has to record.
        authorization: header of that name, for the URL's own host: a redirection is followed without it.
        mirrored: whether `$ORIGCLI_MIRROR` may serve it.
    """

    url: str
    size: int | None = None
    sha256: str | None = None
    authorization: str | None = field(default=None, repr=False)
    mirrored: bool = True

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return urllib.parse.unquote(urllib.parse.urlsplit(self.url).path.rpartition("/")[2])

    @property
    def source(self) -> str:
        """The URL, or where `$ORIGCLI_MIRROR` serves the same file name."""
        mirror = os.environ.get("ORIGCLI_MIRROR") if self.mirrored else None
        return f"{mirror.rstrip('/')}/{urllib.parse.quote(self.name)}" if mirror else self.url


class _TryAgain(Exception):
    """A failure that another attempt may solve."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class _Meter:
    """Tells a task how many bytes there are, also where an attempt starts over."""

    def __init__(self, task: Task) -> None:
        self.task, self.position = task, 0

    def at(self, position: int) -> None:
        self.task.advance(position - self.position)
        self.position = position


def download(remote: RemoteFile, target: Path, progress: Progress) -> str:
    """Fetches a file to `target`, which appears whole and verified or not at all.

    A connection that breaks, a 429 and a 5xx are tried again up to `ATTEMPTS` times, going on at the
    byte where it stopped if the server's file is still the same. A broken run's part is used by the next.
    A target that is there already stays, unless its hash is not the one expected.

    Returns:
        The file's sha256.

    Raises:
        ModelError: refused, gone, or still broken after all attempts; or its hash is not the one expected.
        StorageError: the disk is full or `target` cannot be written.
        Interrupted: a signal came; the part that arrived is kept.
    """
    make_directory(target.parent)
    partial = target.with_name(f".{target.name}{PARTIAL_SUFFIX}")
    _check_scheme(remote.source)
    with (
        locked(partial.with_name(f"{partial.name}.lock")),
        progress.task(f"downloading {remote.name}", remote.size) as task,
    ):
        if target.is_file() and (digest := hash_file(target)) == (remote.sha256 or digest):
            return digest
        meter = _Meter(task)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                _receive(remote, partial, meter)
                digest = _verified(remote, partial)
                break
            except _TryAgain as failure:
                if attempt == ATTEMPTS:
                    raise ModelError(
                        f"{remote.source}: {failure} (tried {ATTEMPTS} times)",
                        "run the same command again: it resumes the download",
                    ) from failure
                wait = min(
                    LONGEST_WAIT_S, failure.wait_s if failure.wait_s is not None else 2.0 ** (attempt - 1)
                )
                progress.say(f"{remote.name}: {failure}; trying again in {wait:.0f} s")
                _pause(wait)
        _keep(partial, target)
    return digest


def announced_size(remote: RemoteFile) -> int | None:
    """Bytes that the server says the file has, to tell before fetching; `None` where it does not say."""
    _check_scheme(remote.source)
    request = _request(remote, {"User-Agent": "origcli"}, "HEAD")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            length = response.headers.get("Content-Length", "")
    except (http.client.HTTPException, OSError):
        return remote.size  # the download itself will tell what is wrong
    return int(length) if length.isdecimal() else remote.size


def _check_scheme(url: str) -> None:
    """urllib opens file: and ftp: too, which no published file needs."""
    if urllib.parse.urlsplit(url).scheme not in ("https", "http"):
        raise ModelError(f"{url}: not an http or https address", "check ORIGCLI_MIRROR")


def _request(remote: RemoteFile, headers: dict[str, str], method: str = "GET") -> urllib.request.Request:
    """A request to the file's server; credentials go to that server alone, not to where it redirects.

    A user and a password in the address (`https://user:password@host`) are sent, not taken for a host.
    """
    parts = urllib.parse.urlsplit(remote.source)
    user, at, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(parts._replace(netloc=host).geturl(), headers=headers, method=method)
    authorization = remote.authorization
    if at:
        word = base64.b64encode(urllib.parse.unquote(user).encode()).decode("ascii")
        authorization = f"Basic {word}"
    if authorization:
        request.add_unredirected_header("Authorization", authorization)
    return request


def _pause(seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        interrupts.check()
        time.sleep(min(left, 0.2))


def _receive(remote: RemoteFile, partial: Path, meter: _Meter) -> None:
    """One attempt: appends to the partial file what is missing of it."""
    if partial.is_symlink():  # in a cache that others write to, it could lead anywhere
        partial.unlink()
    validator = _validator(partial)
    start = partial.stat().st_size if validator and partial.exists() else 0
    headers = {"User-Agent": "origcli", "Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    request = _request(remote, headers)
    with _answer(request, partial) as response:
        resumed = response.status == 206
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            _forget(partial)
            raise _TryAgain("the server answered with another part of the file")
        start = start if resumed else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length is not None and length.isdecimal() else remote.size
        _check_disk(partial, (total or 0) - start)
        _write_validator(partial, response.headers)
        received = _copy(response, partial, start, meter)
    if total is not None and received != total:
        raise _TryAgain(f"the connection broke after {received:,} of {total:,} bytes")


@contextlib.contextmanager
def _answer(request: urllib.request.Request, partial: Path) -> Iterator[http.client.HTTPResponse]:
    """The server's answer; what goes wrong with it becomes `_TryAgain` or a ModelError."""
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            yield response
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the partial file is longer than the server's
            _forget(partial)
            raise _TryAgain("the file on the server has changed") from error
        if error.code in _WORTH_ANOTHER_TRY:
            wait = error.headers.get("Retry-After", "")
            raise _TryAgain(
                f"the server answered {error.code} {error.reason}", float(wait) if wait.isdecimal() else None
            ) from error
        raise ModelError(
            f"{request.full_url}: the server answered {error.code} {error.reason}",
            "check the network and ORIGCLI_MIRROR",
        ) from error
    except (http.client.HTTPException, OSError) as error:  # URLError, time-outs and resets are OSErrors
        raise _TryAgain(f"the connection failed: {getattr(error, 'reason', None) or error}") from error


def _copy(response: IO[bytes], partial: Path, start: int, meter: _Meter) -> int:
    """Writes the body behind the first `start` bytes; the length of the file then."""
    try:
        file = partial.open("r+b" if start else "wb")
    except OSError as error:
        raise storage_error(partial, error) from error
    with file:
        file.seek(start)
        meter.at(start)
        while chunk := response.read(_CHUNK):
            try:
                file.write(chunk)
            except OSError as error:
                raise storage_error(partial, error) from error
            meter.at(file.tell())
            interrupts.check()
        return file.tell()


def _check_disk(partial: Path, needed: int) -> None:
    free = shutil.disk_usage(partial.parent).free
    if needed > free:
        raise StorageError(
            f"{partial.parent}: {needed:,} bytes are needed and {free:,} are free",
            "free some space, or set ORIGCLI_CACHE and HF_HOME to another disk",
        )


def _validator_path(partial: Path) -> Path:
    return partial.with_name(partial.name + ".json")


def _validator(partial: Path) -> str:
    """The ETag or date of the file that the part is of; empty where unknown, so that it starts over."""
    try:
        value = json.loads(_validator_path(partial).read_bytes())["validator"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return value if isinstance(value, str) else ""


def _write_validator(partial: Path, headers: Message) -> None:
    etag = headers.get("ETag", "")
    strong = etag if not etag.startswith("W/") else ""  # a weak one does not promise equal bytes
    value = strong or headers.get("Last-Modified", "")
    write_json(_validator_path(partial), {"validator": value})


def _forget(partial: Path) -> None:
    partial.unlink(missing_ok=True)
    _validator_path(partial).unlink(missing_ok=True)


def _verified(remote: RemoteFile, partial: Path) -> str:
    """The sha256 of what arrived; anything else than what was expected is thrown away."""
    digest = hash_file(partial)
    size = partial.stat().st_size
    if remote.sha256 is not None and digest != remote.sha256:
        _forget(partial)
        raise _TryAgain(f"its sha256 is {digest[:16]}…, not {remote.sha256[:16]}…")
    if size == 0 or (remote.size is not None and size != remote.size):
        _forget(partial)
        raise _TryAgain(f"{size:,} bytes arrived, not {remote.size or 'some'}")
    return digest


def _keep(partial: Path, target: Path) -> None:
    try:
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        raise storage_error(target, error) from error
    _validator_path(partial).unlink(missing_ok=True)
